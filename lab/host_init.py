# SPDX-License-Identifier: Apache-2.0
"""The first process of a host: gives it files of its own, answers on its ports, and reaps orphans.

Run as a program, as process 1 of fresh mount, host name, IPC and process namespaces, with its settings as JSON in
its first argument. Imports as little as it can; must never run outside such namespaces.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from mco_lab import mounts, ports

OVERLAID = ("etc", "var", "tmp")
# Without overlays: what can be small and empty, so that hosts do not see each other's files.
EMPTIED = ("/var/log", "/var/tmp")  # noqa: S108


def main() -> None:
    """Become the host described by the first argument, say so, and stay."""
    settings = json.loads(sys.argv[1])
    if os.getpid() != 1:
        sys.exit("host_init: not process 1 of a namespace; this program is started by `mco lab`")
    ready = settings["ready_fd"]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    socket.sethostname(settings["name"])
    note = make_private(settings)
    listeners = [ports.listen(port) for port in settings["services"]]
    if listeners and os.fork() == 0:
        os.close(ready)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        ports.serve(listeners, settings["name"].encode() + b"\n")
    for listener in listeners:
        listener.close()
    os.write(ready, f"READY {note}\n".encode())
    os.close(ready)
    reap_for_ever()


def make_private(settings: dict) -> str:  # type: ignore[type-arg]
    """Give this host its own /etc, /var, /tmp, /run, /sys and /dev/shm; return how."""
    # Opened before anything is covered; a path through its descriptor still finds it afterwards.
    kept = {target: os.open(source, os.O_PATH) for target, source in settings["binds"].items()}
    covered = tuple(f"/{name}/" for name in (*OVERLAID, "run"))
    kept |= {path: os.open(path, os.O_PATH) for path in settings["keep"] if path.startswith(covered)}
    mounts.become_private()
    note = "copy (as asked for)"
    if settings["private"] == "copy":
        _copy(settings["scratch"])
    else:
        note = _overlay_or_copy(settings["scratch"], settings["overlaid"])
    mounts.mount("tmpfs", "/run", "tmpfs", 0, mounts.TMPFS_OPTIONS)
    Path("/run/lock").mkdir(mode=0o1777)
    mounts.mount("sysfs", "/sys", "sysfs")
    if os.path.isdir("/dev/shm"):  # noqa: PTH112, S108
        mounts.mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777")  # noqa: S108
    for target, source in kept.items():
        if not os.path.exists(target):  # noqa: PTH110
            os.makedirs(target)  # noqa: PTH103
        mounts.mount(f"/proc/self/fd/{source}", target, "", mounts.BIND | mounts.REC)
        os.close(source)
    mounts.write(Path("/"), settings)
    return note


def reap_for_ever() -> None:
    """Collect whatever ends in this host, as its first process must."""
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue


def _overlay_or_copy(scratch: str, further: list[str]) -> str:
    try:
        _overlay(scratch, further)
    except OSError as e:
        if further:
            raise  # packages write to more than can be copied
        _copy(scratch)
        return f"copy (overlay on {e.filename}: {e.strerror})"
    return "overlay"


def _overlay(scratch: str, further: list[str]) -> None:
    """Cover folders with themselves: changes go to memory, and end with the host."""
    mounts.mount("tmpfs", scratch, "tmpfs", 0, mounts.TMPFS_OPTIONS)
    os.chdir(scratch)
    try:
        for name in (*OVERLAID, *further):
            mounts.overlay(".", name, f"/{name}", f"/{name}")
    finally:
        mounts.unmount(".")
        os.chdir("/")


def _copy(scratch: str) -> None:
    """Copy what a host writes to, where this file system allows no overlay."""
    mounts.mount("tmpfs", scratch, "tmpfs", 0, mounts.TMPFS_OPTIONS)
    subprocess.run(("cp", "-a", "/etc/.", scratch), check=True)
    mounts.mount(scratch, "/etc", "", mounts.BIND)
    mounts.unmount(scratch)
    for path in EMPTIED:
        if os.path.isdir(path):  # noqa: PTH112
            mounts.mount("tmpfs", path, "tmpfs", 0, mounts.TMPFS_OPTIONS)
