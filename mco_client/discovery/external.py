# SPDX-License-Identifier: Apache-2.0
"""Nodes from a command in any language, which gets the whole filter and says who should be there.

It gets ``{"version": 1, "collective": ..., "timeout_s": ..., "filter": {...}}`` on standard input and prints
``{"nodes": [...]}`` or ``{"error": "..."}``. It decides all of the filter, or what it lists in ``"serves"``.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from mco_client.discovery.source import FILTER_KINDS, GROUP, MAX_BYTES, Known, absent_of, identity, split
from mco_client.text import one_line
from mco_rpc.command import Completed, run
from mco_rpc.errors import ActionAborted, ConfigError, DiscoveryError, FilterError, TimedOut
from mco_rpc.filters import Filter, Subject
from mco_rpc.suggestion import did_you_mean

VERSION = 1
# `protocol` is what a Choria client expects in a reply.
# The statistics are what `mco find -j` adds; nothing is made of them.
_REPLY_KEYS = ("nodes", "error", "serves", "protocol", "statistics")
_EXAMPLE = '{"nodes": ["web1", "web2"]}'
_log = logging.getLogger(__name__)


class External:
    """A command that knows the nodes.

    Args:
        command: its words; each may hold several, as a shell would split them. No shell sees them.

    Raises:
        ConfigError: there is no command in it.
    """

    serves = FILTER_KINDS

    def __init__(self, command: Sequence[str], collective: str) -> None:
        try:
            self._argv = tuple(word for words in command for word in shlex.split(words))
        except ValueError as e:
            raise ConfigError(f"discovery external: {' '.join(command)!r} is no command: {e}") from e
        if not self._argv:
            raise ConfigError("discovery external needs a command: give it in discovery_options")
        self._collective = collective
        self.name = f"external discovery `{one_line(shlex.join(self._argv), 100)}`"

    def known(self, node_filter: Filter, timeout_s: float) -> Known:
        """Return the nodes that the command names; past ``timeout_s`` it is killed with all it started."""
        reply = self._reply(self._run(self._request(node_filter, timeout_s), timeout_s))
        served, residual = split(node_filter, self._served(reply))
        nodes = self._nodes(reply)
        has_groups = any(name.startswith(GROUP) for name in served.identities)
        if not served.identities:
            # Names can be compared here, whatever the command decides.
            nodes = tuple(name for name in nodes if Filter(residual.identities).matches(Subject(name)))
            residual = msgspec.structs.replace(residual, identities=())
        elif not has_groups:
            for name in nodes:
                if not Filter(served.identities).matches(Subject(name)):
                    raise DiscoveryError(
                        f"{self.name}: it names {name}, and was asked for {one_line(Filter(served.identities))}; "
                        f'a command that does not decide identities says so: "serves": []'
                    )
        absent = absent_of(node_filter, nodes, f"{self.name} does not name it", has_groups=has_groups)
        return Known(nodes, residual, absent)

    def _request(self, node_filter: Filter, timeout_s: float) -> bytes:
        request = {
            "version": VERSION,
            "collective": self._collective,
            "timeout_s": timeout_s,
            "filter": node_filter,
        }
        try:
            return msgspec.json.encode(request)
        except UnicodeEncodeError as e:  # half a character, from the command line
            raise FilterError(f"{one_line(node_filter)}: not text that can be sent: {e.reason}") from e

    def _run(self, request: bytes, timeout_s: float) -> Completed:
        deadline = time.monotonic() + timeout_s
        try:
            done = run(self._argv, deadline=deadline, stdin=request, max_output_bytes=MAX_BYTES)
        except TimedOut as e:
            raise DiscoveryError(f"{self.name}: no reply within {timeout_s:g} s; it was ended") from e
        except ActionAborted as e:
            why = e.__cause__.strerror if isinstance(e.__cause__, OSError) else e.__cause__ or e
            raise DiscoveryError(f"{self.name}: it cannot be started: {why}") from e
        if done.returncode:
            raise DiscoveryError(f"{self.name}: it ended with status {done.returncode}{_said(done.stderr)}")
        if done.is_truncated:
            raise DiscoveryError(f"{self.name}: it printed more than the {MAX_BYTES:,} bytes that are read")
        if done.stderr:
            _log.debug("%s%s", self.name, _said(done.stderr))
        return done

    def _reply(self, done: Completed) -> dict[str, Any]:
        if not done.stdout.strip():
            raise DiscoveryError(f"{self.name}: it printed nothing; expected {_EXAMPLE}{_said(done.stderr)}")
        try:
            reply = msgspec.json.decode(done.stdout)
        except (msgspec.DecodeError, RecursionError) as e:
            problem = f"it did not print JSON: {one_line(e)}; expected {_EXAMPLE}, found {one_line(done.stdout, 80)}"
            raise DiscoveryError(f"{self.name}: {problem}") from e
        if not isinstance(reply, dict):
            raise DiscoveryError(f"{self.name}: expected an object such as {_EXAMPLE}, found {_kind(reply)}")
        for key in reply:
            if key not in _REPLY_KEYS:
                hint = did_you_mean(key, _REPLY_KEYS)
                raise DiscoveryError(f"{self.name}: its reply has the unknown key {one_line(repr(key), 100)}{hint}")
        if reply.get("error"):
            raise DiscoveryError(f"{self.name}: {one_line(reply['error'])}")
        return reply

    def _served(self, reply: dict[str, Any]) -> frozenset[str]:
        serves = reply.get("serves", list(FILTER_KINDS))
        if not isinstance(serves, list):
            raise DiscoveryError(f"{self.name}: serves: expected a list of filter kinds, found {_kind(serves)}")
        for kind in serves:
            if kind not in list(FILTER_KINDS):  # not in the set: what was printed may have no hash
                known = ", ".join(sorted(FILTER_KINDS))
                hint = did_you_mean(kind, FILTER_KINDS)
                raise DiscoveryError(f"{self.name}: serves: {one_line(repr(kind), 100)} is not one of {known}{hint}")
        return frozenset(serves)

    def _nodes(self, reply: dict[str, Any]) -> tuple[str, ...]:
        nodes = reply.get("nodes")
        if not isinstance(nodes, list):
            raise DiscoveryError(f"{self.name}: nodes: expected a list of identities, found {_kind(nodes)}")
        for number, name in enumerate(nodes):
            if not isinstance(name, str):
                raise DiscoveryError(f"{self.name}: nodes[{number}]: expected an identity, found {_kind(name)}")
            try:
                identity(name, f"{self.name}: nodes[{number}]")
            except ConfigError as e:
                raise DiscoveryError(str(e)) from e
        return tuple(dict.fromkeys(nodes))


def _said(text: str) -> str:
    return f": {one_line(text.strip())}" if text.strip() else ""


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")
