# SPDX-License-Identifier: Apache-2.0
"""Nodes that offer every agent there is and do nothing: they answer what a test makes of the schema."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from mco_client.cli.main import main, mco
from mco_client.connection import Connection
from mco_lab.memory import MemoryFleet
from mco_rpc import names
from mco_rpc.config import ClientSettings
from mco_rpc.connector import Packet, node_endpoint
from mco_rpc.errors import BrokerError
from mco_rpc.filters import Filter, Subject
from mco_rpc.messages import Reply, Request, decode_request, encode
from mco_rpc.schema import ActionSchema, AgentSchema
from mco_rpc.security.ed25519 import for_node

# Who is there is told by a file: nobody waits for a window to end, or misses a node that was slow.
SETTINGS = ClientSettings(connector="memory", caller="operator", discovery_timeout_s=20.0, timeout_s=20.0)
HOSTS = {
    "web1": Subject("web1", frozenset({"web", "dev_server"}), facts={"country": "de", "cores": 4}),
    "web2": Subject("web2", frozenset({"web", "dev_server"}), facts={"country": "de", "cores": 8}),
    "db1": Subject("db1", frozenset({"db"}), facts={"country": "fr", "cores": 16}),
    "lb1": Subject("lb1", frozenset({"lb"}), facts={"country": "fr", "cores": 2}),
}
GOOD: dict[str, Any] = {
    "string": "text",
    "list": "text",
    "boolean": True,
    "integer": 0,
    "float": 1.5,
    "number": 2,
    "array": [{"name": "one", "value": 1, "exitcode": 0}],
    "hash": {"one": {"name": "one", "value": 1, "exitcode": 0}},
    "any": "text",
}

# What a node answers to an action, by the action's schema.
Answers = Callable[[ActionSchema, Subject], Mapping[str, Any]]


def good(action: ActionSchema, node: Subject) -> Mapping[str, Any]:
    """Answer what the schema declares, and what is known of the node."""
    itself = {"identity": node.identity, "facts": dict(node.facts), "classes": sorted(node.classes), "exists": True}
    known = {name: value for name, value in itself.items() if name in action.outputs}
    return {"data": {name: GOOD[output.type] for name, output in action.outputs.items()} | known}


def schemas() -> dict[str, AgentSchema]:
    """Return the schemas of all agents that are installed."""
    return {entry.name: entry.load().declared_schema() for entry in entry_points(group="mco.agents")}


class Ran(NamedTuple):
    """What a run of ``mco`` left."""

    status: int
    out: str
    err: str


class Actor:
    """A node that plays its part."""

    def __init__(
        self, fleet: MemoryFleet, subject: Subject, known: Mapping[str, AgentSchema], answers: Answers
    ) -> None:
        self._subject, self._known, self._answers = subject, known, answers
        self._security = for_node(subject.identity, fleet._node_seeds[subject.identity], {})
        self._connector = fleet.broker.connector()
        # Every agent's requests to all come to who listens for discoveries.
        self._connector.open(node_endpoint(subject.identity, ["mcollective"], ["discovery"]), self)

    def on_packet(self, packet: Packet) -> None:
        request = decode_request(packet.body)
        if request.reply_to is None:  # only a look whether we are still there
            return
        fields = self._answer(request)
        body = encode(
            Reply(
                id=request.id,
                collective=request.collective,
                agent=request.agent,
                action=request.action,
                sender=self._security.principal,
                sent_at=request.sent_at,
                **fields,
            )
        )
        exchange = names.exchange(request.collective, names.REPLY)
        signature = self._security.sign(body)
        self._connector.publish(
            [Packet(exchange, request.reply_to, body, "reply", "", self._security.signer, signature, request.id)]
        )

    def _answer(self, request: Request) -> dict[str, Any]:
        if request.agent == "discovery":
            schema = self._known.get(str(request.data.get("agent", "")))
            asked = msgspec.convert(request.data.get("filter", {}), Filter)
            # A data source, which it does not have, says what is wanted.
            is_matching = asked.needs_data or asked.matches(self._subject)
            return {"data": {"matches": is_matching, "schema": schema.digest if schema else ""}}
        if (request.agent, request.action) == ("rpcutil", "schema_of"):
            schema = self._known[request.data["agent"]]
            return {"data": {"schema": schema.to_json(), "digest": schema.digest}}
        return dict(self._answers(self._known[request.agent].actions[request.action], self._subject))

    def on_returned(self, packet: Packet) -> None:
        """Do nothing."""

    def on_connected(self) -> None:
        """Do nothing."""

    def on_disconnected(self, reason: BrokerError) -> None:
        """Do nothing."""

    def close(self) -> None:
        self._connector.close()


class Stage:
    """A fleet, and a caller whom its nodes trust."""

    def __init__(self, fleet: MemoryFleet, settings: ClientSettings) -> None:
        self._broker, self._security = fleet.broker, fleet.connection().security
        self._settings = settings

    def connect(self, _: Path | None, changes: Mapping[str, Any]) -> Connection:
        settings = msgspec.structs.replace(self._settings, **changes)
        return Connection(settings, connector=self._broker.connector, security=self._security)

    def run(self, line: str, capsys: Any, monkeypatch: Any, stdin: str = "") -> Ran:
        """Run one command of ``mco``."""
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main(shlex.split(line)[1:], self.connect)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)


@contextmanager
def staged(answers: Answers, folder: Path) -> Iterator[Stage]:
    """Put a fleet of actors on the stage for a while."""
    known = schemas()
    with MemoryFleet.of_hosts(**{name: {} for name in HOSTS}) as fleet, ExitStack() as closing:
        for name, subject in HOSTS.items():
            fleet.stop(name)
            closing.callback(Actor(fleet, subject, known, answers).close)
        yield Stage(fleet, _told_by_a_file(HOSTS, folder))


@contextmanager
def real(folder: Path) -> Iterator[Stage]:
    """Put nodes on the stage that do what they are asked; they have the actors' names, facts and classes."""
    hosts = {
        name: {"facts": dict(subject.facts), "classes": sorted(subject.classes)} for name, subject in HOSTS.items()
    }
    with MemoryFleet(hosts, SETTINGS) as fleet:
        yield Stage(fleet, _told_by_a_file(hosts, folder))


def _told_by_a_file(nodes: Iterable[str], folder: Path) -> ClientSettings:
    file = folder / "fleet"
    file.write_text("\n".join(nodes))
    return msgspec.structs.replace(SETTINGS, discovery="flatfile", discovery_options=[str(file)])


def commands() -> dict[str, click.Command]:
    """Return every command of ``mco`` and of its groups, by its words; of ``mco`` itself there are none."""

    def below(command: click.Command, path: tuple[str, ...], ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
        yield " ".join(path), command
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                child = command.get_command(ctx, name)
                assert child is not None, (path, name)
                yield from below(child, (*path, name), click.Context(child, parent=ctx, info_name=name))

    return dict(below(mco, (), click.Context(mco, info_name="mco")))
