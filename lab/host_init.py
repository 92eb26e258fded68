# SPDX-License-Identifier: Apache-2.0
"""The first process of a host: gives it files of its own, answers on its ports, and reaps orphans.

Run as a program, as process 1 of fresh mount, host name, IPC and process namespaces, with its settings as JSON in
its first argument. Imports as little as it can; must never run outside such namespaces.
"""

import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

OVERLAID = ("etc", "var", "tmp")
# Without overlays: what can be small and empty, so that hosts do not see each other's files.
EMPTIED = ("/var/log", "/var/tmp")  # noqa: S108
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
_TMPFS_OPTIONS = "mode=755"


def main() -> None:
    """Become the host described by the first argument, say so, and stay."""
    settings = json.loads(sys.argv[1])
    if os.getpid() != 1:
        sys.exit("host_init: not process 1 of a namespace; this program is started by `mco lab`")
    ready = settings["ready_fd"]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    socket.sethostname(settings["name"])
    note = make_private(settings)
    listeners = [_listen(port) for port in settings["services"]]
    if listeners and os.fork() == 0:
        os.close(ready)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        serve(listeners, settings["name"].encode() + b"\n")
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
    mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _forget_other_networks()
    note = "copy (as asked for)"
    if settings["private"] == "copy":
        _copy(settings["scratch"])
    else:
        note = _overlay_or_copy(settings["scratch"])
    mount("tmpfs", "/run", "tmpfs", 0, _TMPFS_OPTIONS)
    Path("/run/lock").mkdir(mode=0o1777)
    mount("sysfs", "/sys", "sysfs")
    if os.path.isdir("/dev/shm"):  # noqa: PTH112, S108
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777")  # noqa: S108
    for target, source in kept.items():
        if not os.path.exists(target):  # noqa: PTH110
            os.makedirs(target)  # noqa: PTH103
        mount(f"/proc/self/fd/{source}", target, "", _MS_BIND | _MS_REC)
        os.close(source)
    for name, text in settings["etc"].items():
        path = Path("/etc", name)
        # It may be a link to what another service of the machine keeps elsewhere.
        path.unlink(missing_ok=True)
        path.write_text(text)
    return note


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system; the arguments are those of the system call."""
    words = (word.encode() for word in (source, target, kind))
    if _libc.mount(*words, flags, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def serve(listeners: list[socket.socket], answer: bytes) -> None:
    """Accept every connection, answer and close, for ever."""
    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                try:
                    connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    with connection:
                        connection.sendall(answer)
                except OSError:
                    continue  # the peer was gone before it was answered


def reap_for_ever() -> None:
    """Collect whatever ends in this host, as its first process must."""
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue


def _forget_other_networks() -> None:
    """Unmount the names of network namespaces, or this host would keep those of other labs alive."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, described = line.partition(" - ")
        if described.startswith("nsfs "):
            _libc.umount2(fields.split()[4].encode(), _MNT_DETACH)


def _overlay_or_copy(scratch: str) -> str:
    try:
        _overlay(scratch)
    except OSError as e:
        _copy(scratch)
        return f"copy (overlay on {e.filename}: {e.strerror})"
    return "overlay"


def _overlay(scratch: str) -> None:
    """Cover folders with themselves: changes go to memory, and end with the host."""
    mount("tmpfs", scratch, "tmpfs", 0, _TMPFS_OPTIONS)
    os.chdir(scratch)
    try:
        for name in OVERLAID:
            upper, work = f"{name}.upper", f"{name}.work"
            Path(upper).mkdir()
            Path(work).mkdir()
            shutil.copystat(f"/{name}", upper)
            options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
            mount("overlay", f"/{name}", "overlay", 0, options)
    finally:
        _libc.umount2(b".", _MNT_DETACH)
        os.chdir("/")


def _copy(scratch: str) -> None:
    """Copy what a host writes to, where this file system allows no overlay."""
    mount("tmpfs", scratch, "tmpfs", 0, _TMPFS_OPTIONS)
    subprocess.run(("cp", "-a", "/etc/.", scratch), check=True)
    mount(scratch, "/etc", "", _MS_BIND)
    _libc.umount2(scratch.encode(), _MNT_DETACH)
    for path in EMPTIED:
        if os.path.isdir(path):  # noqa: PTH112
            mount("tmpfs", path, "tmpfs", 0, _TMPFS_OPTIONS)


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    return socket.create_server(("", port), backlog=128)


_libc = ctypes.CDLL(None, use_errno=True)

if __name__ == "__main__":
    main()
