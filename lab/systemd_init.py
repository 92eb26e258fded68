# SPDX-License-Identifier: Apache-2.0
"""Boot a host whose first process is systemd: an overlay of the whole machine, in a container of systemd-nspawn.

Run as a program, in the network namespace of the host and in a mount namespace of its own, with its settings as JSON
in its first argument. Imports as little as it can; what the machine itself starts when it boots is not started.
"""

import json
import os
import select
import socket
import sys
import uuid
from pathlib import Path

from mco_lab import mounts

# In this mount namespace /run is empty and in memory: what nspawn leaves there goes with the host.
_SCRATCH = "/run"
_ROOT = f"{_SCRATCH}/root"
_READY_SOCKET = "\0mco-lab-host"
_UNITS = "etc/systemd/system"
# Of the machine's hardware, kernel or terminal, which a host has no part in.
_MASKED = (
    "console-getty.service",
    "getty.target",
    "systemd-logind.service",
    "systemd-sysctl.service",
    "systemd-udevd.service",
)
_READ_BYTES = 4096


def main() -> None:
    """Become the container that the first argument describes; a short-lived child says when it is up."""
    settings = json.loads(sys.argv[1])
    spaces = [os.readlink(f"/proc/{pid}/ns/mnt") for pid in ("self", os.getppid())]  # noqa: PTH115 - little is imported
    if spaces[0] == spaces[1]:
        sys.exit("systemd_init: not in a mount namespace of its own; this program is started by `mco lab`")
    for group in settings["cgroups"]:
        Path(group, "cgroup.procs").write_text("0")
    binds = make_root(settings)
    write_etc(settings)
    _announce(settings["ready_fd"])
    os.close(settings["ready_fd"])
    argv = [
        "systemd-nspawn",
        "--quiet",
        f"--directory={_ROOT}",
        # A path of this process: the one we came by is covered.
        "--network-namespace-path=/proc/self/ns/net",
        "--register=no",
        "--keep-unit",
        f"--machine={settings['name']}",
        f"--hostname={settings['name']}",
        "--console=pipe",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--notify-ready=yes",
        "--capability=CAP_NET_ADMIN",
        *binds,
        "--boot",
        "--",
        "--unit=multi-user.target",
    ]
    notify = {"NOTIFY_SOCKET": _READY_SOCKET.replace("\0", "@"), "SYSTEMD_NSPAWN_TMPFS_TMP": "0"}
    os.execvpe(argv[0], argv, {**os.environ, **notify})  # noqa: S606 - no shell is wanted


def make_root(settings: dict) -> list[str]:  # type: ignore[type-arg]
    """Show the machine's files at the root of the host, to be changed freely; return nspawn's options for the rest."""
    # Opened before /run is covered; a path through its descriptor still finds it afterwards.
    kept = {target: os.open(source, os.O_PATH) for target, source in settings["binds"].items()}
    # Seen as they are now, and not through an overlay: that may show anything once they have changed.
    live = [path for path in settings["keep"] if not _is_of_system(path)]
    kept |= {path: os.open(path, os.O_PATH) for path in live}
    others = [path for path in mounts.file_systems() if os.path.isdir(path)]  # noqa: PTH112
    mounts.become_private()
    mounts.mount("tmpfs", _SCRATCH, "tmpfs", 0, mounts.TMPFS_OPTIONS)
    Path(_ROOT).mkdir()
    mounts.overlay(_SCRATCH, "files", "/", _ROOT)
    for number, path in enumerate(others):
        try:
            mounts.overlay(_SCRATCH, f"files{number}", path, f"{_ROOT}{path}")
        except OSError:
            continue  # what overlays cannot show is not there
    options = []
    for number, (target, source) in enumerate(kept.items()):
        here = f"{_SCRATCH}/bind{number}"
        Path(here).mkdir()
        mounts.mount(f"/proc/self/fd/{source}", here, "", mounts.BIND | mounts.REC)
        os.close(source)
        options.append(f"--bind{'-ro' if target in live else ''}={here}:{target}")
    return options


def _is_of_system(path: str) -> bool:
    """Say whether packages may write below this folder."""
    return os.path.realpath(path) in ("/", "/usr", "/usr/local")


def write_etc(settings: dict) -> None:  # type: ignore[type-arg]
    """Give the host its names, and the units that it starts instead of the machine's."""
    root = Path(_ROOT)
    etc = {
        **settings["etc"],
        "machine-id": f"{uuid.uuid4().hex}\n",
        "fstab": "",
        # Debian's empties /tmp when it boots, and libdir may be there.
        "tmpfiles.d/tmp.conf": "d /tmp 1777 root root -\nd /var/tmp 1777 root root -\n",
    }
    mounts.write(root, {**settings, "etc": etc, "emptied": ["systemd/system", *settings["emptied"]]})
    for started in root.glob("etc/rc[2-5].d/S*"):
        started.unlink()
    for unit in _MASKED:
        (root / _UNITS / unit).symlink_to("/dev/null")
    wants = root / _UNITS / "multi-user.target.wants"
    wants.mkdir()
    for unit in settings["enabled"]:
        (wants / unit).symlink_to(f"/{_UNITS}/{unit}")


def _announce(ready_fd: int) -> None:
    """Leave a process behind that says when the host is up, and that ends without a word if it never is."""
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(_READY_SOCKET)
    host = os.pidfd_open(os.getpid())
    if (child := os.fork()) > 0:
        heard.close()
        os.close(host)
        os.waitpid(child, 0)
        return
    if os.fork() > 0:
        os._exit(0)
    os.closerange(0, 3)
    while heard.fileno() in select.select([heard.fileno(), host], [], [])[0]:
        if b"READY=1" in heard.recv(_READ_BYTES).split(b"\n"):
            os.write(ready_fd, b"READY overlay\n")
            break
    os._exit(0)
