# SPDX-License-Identifier: Apache-2.0
"""What is up, kept in files: enough to use a lab from another process, and to remove it after any accident.

Written before anything it names is made, so that nothing can exist that the state does not know.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mco_rpc.errors import ConfigError

from .errors import LabError
from .process import ProcessId
from .spec import CONTROL, Spec

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}\Z")
_FILE = "lab.json"


class HostState(msgspec.Struct):
    """A host that is, or is about to be, up.

    Attributes:
        node: the node of a plain host; that of a systemd host is in the control group of its unit.
    """

    name: str
    namespace: str
    init: ProcessId | None = None
    node: ProcessId | None = None
    files: str = ""


class LabState(msgspec.Struct):
    """A lab that is, or is about to be, up.

    Attributes:
        owner: the process that brought it up and tears it down; gone for a lab that stays.
        broker: the server, then its port mapper.
        node_command: what starts a node.
        private: how plain hosts get files of their own.
        is_up: whether the way up came to its end.
    """

    name: str
    spec: Spec
    owner: ProcessId
    control: str
    hosts: list[HostState]
    broker: list[ProcessId] = []
    node_command: list[str] = []
    private: str = "auto"
    stays: bool = False
    is_up: bool = False

    @property
    def namespaces(self) -> list[str]:
        """The names of all network namespaces of this lab."""
        return [self.control, *(host.namespace for host in self.hosts)]

    @property
    def processes(self) -> list[ProcessId]:
        """Every process that was written down, running or not."""
        hosts = [process for host in self.hosts for process in (host.init, host.node) if process is not None]
        return [*self.broker, *hosts]


def root() -> Path:
    """Return the folder of all labs: below /run, or below the temporary folder where that is not ours."""
    run = Path("/run")
    if os.access(run, os.W_OK):
        return run / "mco-lab"
    return Path(tempfile.gettempdir()) / f"mco-lab-{os.getuid()}"


def folder_of(name: str) -> Path:
    """Return the folder of one lab.

    Raises:
        ConfigError: this cannot be a lab's name.
    """
    if not _NAME.match(name):
        raise ConfigError(f"{name!r} cannot be a lab's name: 1 to 32 lower-case letters, digits and -, not first a -")
    return root() / name


def claim(name: str, spec: Spec, *, stays: bool, node_command: Sequence[str] = (), private: str = "auto") -> LabState:
    """Make the folder of a new lab and write down what will be made for it.

    Raises:
        LabError: a lab of this name is up, or what is left of one.
    """
    folder = folder_of(name)
    folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise LabError(_taken(name)) from None
    try:
        return _first_state(name, spec, stays, node_command, private)
    except BaseException:
        forget(name)
        raise


def _first_state(name: str, spec: Spec, stays: bool, node_command: Sequence[str], private: str) -> LabState:
    hosts = [HostState(host.name, f"mco-{name}-{host.name}") for host in spec.hosts]
    owner = ProcessId.of(os.getpid())
    if owner is None:
        raise LabError("/proc does not show this process; a lab needs a mounted /proc")
    control = f"mco-{name}-{CONTROL}"
    state = LabState(name, spec, owner, control, hosts, [], list(node_command), private, stays)
    save(state)
    return state


def save(state: LabState) -> None:
    """Write a lab's state; a reader sees the old or the new one, never half of it."""
    folder = folder_of(state.name)
    draft = folder / f".{_FILE}"
    draft.write_bytes(msgspec.json.encode(state))
    draft.rename(folder / _FILE)


@contextlib.contextmanager
def change(name: str) -> Iterator[LabState]:
    """Yield a lab's state to be changed, and write it; whoever else wants to change it waits meanwhile.

    Raises:
        LabError: there is no such lab.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            lock = stack.enter_context((folder_of(name) / ".lock").open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        known = load(name)
        yield known
        save(known)


def load(name: str) -> LabState:
    """Return the state of a lab.

    Raises:
        LabError: there is no such lab; the text names those there are.
    """
    try:
        return msgspec.json.decode((folder_of(name) / _FILE).read_bytes(), type=LabState)
    except FileNotFoundError:
        there = f"there are: {', '.join(names())}" if names() else "none is"
        raise LabError(f"no lab named {name!r} is up ({there}); `mco lab up SPEC --name {name}` starts one") from None
    except msgspec.DecodeError as e:
        raise LabError(f"the state of lab {name!r} in {folder_of(name)} cannot be read: {e}") from e


def is_current(known: LabState) -> bool:
    """Say whether the lab of this name is still the one of this state, and not a later one."""
    try:
        return load(known.name).owner == known.owner
    except LabError:
        return True  # destroyed, or removed already: there is no other


def names() -> list[str]:
    """Return the names of all labs of which there is anything."""
    try:
        return sorted(path.name for path in root().iterdir() if _NAME.match(path.name))
    except FileNotFoundError:
        return []


def forget(name: str) -> None:
    """Remove the folder of a lab, and that of all labs with the last one."""
    shutil.rmtree(folder_of(name), ignore_errors=True)
    try:
        root().rmdir()
    except OSError:
        return  # other labs are there, or none was


def _taken(name: str) -> str:
    remove = f"remove it with `mco lab down --name {name}` or choose another --name"
    try:
        state = load(name)
    except LabError:
        return f"what is left of a lab named {name!r} is in the way; {remove}"
    if state.stays and state.is_up:
        return f"a lab named {name!r} is already up; {remove}"
    if state.owner.is_running:
        return f"a lab named {name!r} is in use by process {state.owner.pid}; choose another --name"
    return f"a lab named {name!r} was left behind by a process that was killed; {remove}"
