# SPDX-License-Identifier: Apache-2.0
"""The seam of the sources that know, without asking the nodes, who should be there.

A source names nodes and says what of a filter it has decided; it must not talk to the collective. Whoever uses one
asks the nodes it names for the rest of the filter, is done the moment all have answered, and names who is silent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from mco_rpc import names
from mco_rpc.config import ClientSettings
from mco_rpc.errors import ConfigError
from mco_rpc.filters import Filter
from mco_rpc.suggestion import did_you_mean

KINDS = ("inventory", "flatfile", "stdin", "external")
FILTER_KINDS = frozenset(Filter.__struct_fields__)
# ``-I group:web``: the hosts of a group, where the source has groups.
GROUP = "group:"
# More than any collective has, and little enough to hold.
MAX_NODES = 1_000_000
MAX_BYTES = 64 * 1024 * 1024
# Of a text that is no name, a message shows so much.
_MAX_SHOWN = 200
_MAX_COMPARED = 10_000


@dataclass(frozen=True, slots=True)
class Known:
    """What a source knows of a filter.

    Attributes:
        nodes: who should be there, as far as the source could decide the filter.
        residual: the part of the filter that it could not decide: the nodes are to be asked.
        absent: nodes that the filter names, one by one, and the source does not, and why.
    """

    nodes: tuple[str, ...]
    residual: Filter
    absent: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Somebody who knows, without asking the nodes, who should be there.

    Attributes:
        name: for messages, as in ``inventory prod.yaml``.
        serves: the fields of a filter that it may be able to decide; `Known.residual` says what it did not.
    """

    name: str
    serves: frozenset[str]

    def known(self, node_filter: Filter, timeout_s: float) -> Known:
        """Return who should be there for a filter.

        Every node that the filter names one by one is either among the nodes or absent with a reason.

        Raises:
            DiscoveryError: the source cannot say.
            ConfigError: what it says is wrong, with file, line and key.
        """


def make(kind: str, options: Sequence[str], settings: ClientSettings) -> Source:
    """Return a source of one of `KINDS`.

    Args:
        options: the files to read or, for an external one, the command and its arguments.

    Raises:
        ConfigError: there is no such kind, or the options are not what it needs.
    """
    match kind:
        case "inventory":
            from mco_client.discovery.inventory import Inventory

            return Inventory(_files(kind, options))
        case "flatfile":
            from mco_client.discovery.flatfile import FlatFile

            return FlatFile(_files(kind, options))
        case "stdin":
            from mco_client.discovery.stdin import Stdin

            if options:
                raise ConfigError(f"discovery stdin takes no options, got {options[0]!r}; did you mean flatfile?")
            return Stdin()
        case "external":
            from mco_client.discovery.external import External

            return External(options, settings.collective)
    raise ConfigError(f"{kind!r} is no source of nodes: expected {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")


def split(node_filter: Filter, serves: Collection[str]) -> tuple[Filter, Filter]:
    """Return the parts of a filter in the fields of ``serves``, and the rest.

    >>> served, residual = split(Filter(identities=("/web/",), classes=("nginx",)), {"identities"})
    >>> str(served), str(residual)
    ('identity=/web/', 'class=nginx')
    """
    served = dict.fromkeys(FILTER_KINDS.difference(serves), ())
    residual = dict.fromkeys(FILTER_KINDS.intersection(serves), ())
    return msgspec.structs.replace(node_filter, **served), msgspec.structs.replace(node_filter, **residual)


def absent_of(node_filter: Filter, nodes: Iterable[str], why: str, *, has_groups: bool = False) -> dict[str, str]:
    """Return the nodes that a filter names one by one and that are not among ``nodes``, with one reason."""
    there = frozenset(nodes)
    named = (name for name in node_filter.identities if not name.startswith("/"))
    return {name: why for name in named if name not in there and not (has_groups and name.startswith(GROUP))}


def identity(name: str, where: str) -> str:
    """Return ``name`` if it can be a node's; raise a short `ConfigError` that begins with ``where`` if not."""
    return _checked("identity", name, where)


def group_name(name: str, where: str) -> str:
    """Return ``name`` if a group can have it, so that ``-I group:NAME`` can be typed; else raise `ConfigError`."""
    return _checked("group", name, where)


def near(name: str, known: Collection[str]) -> str:
    """Return `did_you_mean`, or nothing where to compare all names would take longer than it helps."""
    return did_you_mean(name, known) if len(known) <= _MAX_COMPARED else ""


def read_text(file: Path, max_bytes: int = MAX_BYTES) -> str:
    """Return the text in a file, without a byte-order mark; a pipe is read to its end.

    Raises:
        ConfigError: it cannot be read, is too large, or is not UTF-8, with the line.
    """
    try:
        with file.open("rb") as stream:
            return decoded(stream.read(max_bytes + 1), str(file), max_bytes)
    except OSError as e:
        raise ConfigError(f"{file}: {e.strerror}") from e
    except ValueError as e:  # a null character
        raise ConfigError(f"{str(file)!r} cannot be a file: {e}") from e


def decoded(raw: bytes, where: str, max_bytes: int = MAX_BYTES) -> str:
    """Return bytes as text; raise `ConfigError` if they are more than are read, or not UTF-8, with the line."""
    if len(raw) > max_bytes:
        raise ConfigError(f"{where}: more than the {max_bytes:,} bytes that are read")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        raise ConfigError(f"{where}, line {line}: byte {e.start} is not UTF-8") from e


def _checked(kind: str, name: str, where: str) -> str:
    if names.is_name(name):
        return name
    shown = name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}..."  # too long to be one either way
    return names.check(f"{where}: {kind}", shown)


def _files(kind: str, options: Sequence[str]) -> tuple[Path, ...]:
    files = [option.strip() for option in options if option.strip()]
    if not files:
        raise ConfigError(f"discovery {kind} needs a file: name it in discovery_options, or with --do")
    try:
        return tuple(Path(file).expanduser() for file in dict.fromkeys(files))
    except RuntimeError as e:
        raise ConfigError(f"discovery {kind}: {', '.join(files)}: {e}") from e
