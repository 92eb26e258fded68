# SPDX-License-Identifier: Apache-2.0
"""Network namespaces, one for the lab itself with the bridge and one for each host, and who runs in them.

The machine's own network is never touched: links are made inside the lab's namespaces.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import LabError
from .process import ProcessId, all_processes, system_environment
from .spec import Spec

BRIDGE = "br0"
_NAMES = Path("/run/netns")
_MAX_LINK_NAME = 15
_FAILED = re.compile(r"Command failed -:(\d+)")


def enter(namespace: str) -> tuple[str, ...]:
    """Return the words that make a command run in a network namespace."""
    return ("nsenter", f"--net={_NAMES / namespace}", "--")


def link_of(number: int, host: str) -> str:
    """Return the name of the bridge's end of the link to a host."""
    return f"v{number}-{host}"[:_MAX_LINK_NAME]


def create(spec: Spec, control: str, namespaces: Sequence[str]) -> None:
    """Make the namespaces and join the hosts, in the order of the spec, to the bridge in ``control``.

    Raises:
        LabError: a command failed.
    """
    ip(*(f"netns add {name}" for name in (control, *namespaces)))
    nodad = " nodad" if ":" in spec.gateway else ""
    links = []
    for number, (host, namespace) in enumerate(zip(spec.hosts, namespaces, strict=True)):
        link = link_of(number, host.name)
        links += [
            f"link add {link} type veth peer name eth0 netns {namespace}",
            f"link set {link} master {BRIDGE} up",
        ]
    ip(
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"addr add {spec.gateway}/{spec.prefix_length} dev {BRIDGE}{nodad}",
        f"link set {BRIDGE} up",
        *links,
        namespace=control,
    )
    filter_bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    if Path(filter_bridged).exists():
        _run((*enter(control), "tee", filter_bridged), "0\n")
    for host, namespace in zip(spec.hosts, namespaces, strict=True):
        ip(
            "link set lo up",
            f"addr add {host.address}/{spec.prefix_length} dev eth0{nodad}",
            "link set eth0 up",
            f"route add default via {spec.gateway}",
            namespace=namespace,
        )


def remove(namespaces: Iterable[str]) -> None:
    """Remove the names of namespaces, as far as they exist; with its last process a namespace is gone."""
    for name in namespaces:
        if (_NAMES / name).exists():
            # Someone else who tears the same lab down may be faster.
            _run(("ip", "netns", "delete", name))


def named(prefix: str) -> list[str]:
    """Return the names of namespaces that begin with ``prefix``."""
    return [path.name for path in _NAMES.glob(f"{prefix}*")]


def members(namespaces: Iterable[str]) -> list[ProcessId]:
    """Return every process that lives in one of the namespaces."""
    wanted = {_inode(_NAMES / name) for name in namespaces} - {None, _inode(Path("/proc/self/ns/net"))}
    found = [ProcessId.of(pid) for pid in all_processes() if _inode(Path(f"/proc/{pid}/ns/net")) in wanted]
    return [process for process in found if process is not None]


def ip(*commands: str, namespace: str | None = None) -> None:
    """Run commands of ``ip`` in one go.

    Raises:
        LabError: one failed; those before it were done.
    """
    argv = ("ip", *(("-n", namespace) if namespace else ()), "-batch", "-")
    done = _run(argv, "\n".join((*commands, "")))
    if done.returncode:
        failed = _FAILED.search(done.stderr)
        command = commands[int(failed[1]) - 1] if failed else " ".join(argv)
        raise LabError(
            f"network of the lab: `{command}` failed: {done.stderr.strip()}; a lab needs a kernel and "
            "privileges that allow network namespaces, bridges and veth links"
        )


def _run(argv: tuple[str, ...], stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, input=stdin, text=True, capture_output=True, check=False, env=system_environment())


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
