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
HOST_LINK = "eth0"
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
    ip(
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"addr add {spec.gateway}/{spec.prefix_length} dev {BRIDGE}{_nodad(spec)}",
        f"link set {BRIDGE} up",
        *(line for number, namespace in enumerate(namespaces) for line in _cable(spec, number, namespace)),
        namespace=control,
    )
    filter_bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    if Path(filter_bridged).exists():
        _run((*enter(control), "tee", filter_bridged), "0\n")
    for number, namespace in enumerate(namespaces):
        _set_up(spec, number, namespace)


def renew(spec: Spec, control: str, host: str, namespace: str) -> None:
    """Give a host in which nothing runs a new network: no rule and no state of the old one is left.

    Raises:
        LabError: a command failed.
    """
    number = next(number for number, found in enumerate(spec.hosts) if found.name == host)
    # Its cable would go with the old namespace, but when the kernel has time for it.
    _run(("ip", "-n", control, "link", "delete", link_of(number, host)))
    remove([namespace])
    ip(f"netns add {namespace}")
    ip(*_cable(spec, number, namespace), namespace=control)
    _set_up(spec, number, namespace)


def _cable(spec: Spec, number: int, namespace: str) -> list[str]:
    link = link_of(number, spec.hosts[number].name)
    return [f"link add {link} type veth peer name {HOST_LINK} netns {namespace}", f"link set {link} master {BRIDGE} up"]


def _set_up(spec: Spec, number: int, namespace: str) -> None:
    ip(
        "link set lo up",
        f"addr add {spec.hosts[number].address}/{spec.prefix_length} dev {HOST_LINK}{_nodad(spec)}",
        f"link set {HOST_LINK} up",
        f"route add default via {spec.gateway}",
        namespace=namespace,
    )


def _nodad(spec: Spec) -> str:
    return " nodad" if ":" in spec.gateway else ""


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


def limit_rate(namespace: str, device: str, rate: str, burst_bytes: int, queue_bytes: int) -> None:
    """Let a device send no faster than ``rate``; what does not fit into its queue is lost.

    Raises:
        LabError: the kernel has no such queue.
    """
    words = ("root", "tbf", "rate", rate, "burst", str(burst_bytes), "limit", str(queue_bytes))
    done = _run(("tc", "-n", namespace, "qdisc", "replace", "dev", device, *words))
    if done.returncode:
        raise LabError(f"the link {device} cannot be slowed down: {done.stderr.strip()}; it needs the kernel's sch_tbf")


def unlimit_rate(namespace: str, device: str) -> bool:
    """Let a device send as fast as it can; say whether it did not."""
    was_limited = has_rate(namespace, device)
    if was_limited:
        _run(("tc", "-n", namespace, "qdisc", "delete", "dev", device, "root"))
    return was_limited


def has_rate(namespace: str, device: str) -> bool:
    """Say whether the rate of a device is limited."""
    found = _run(("tc", "-n", namespace, "-j", "qdisc", "show", "dev", device))
    return '"kind":"tbf"' in found.stdout


def ask(*argv: str) -> str:
    """Return what a command that only looks prints.

    Raises:
        LabError: it failed.
    """
    done = _run(argv)
    if done.returncode:
        raise LabError(f"network of the lab: `{' '.join(argv)}` failed: {done.stderr.strip()}")
    return done.stdout


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
