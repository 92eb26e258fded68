# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/guides/late-nodes.md are what happens: each cell is tried with a node that answers late.

Its replies are held back for longer than a discovery by broadcast waits for a next answer. Whoever asks waits for
longer than that, or not for so long; that the fast nodes are faster than all of this is the only time that counts.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mco_client.bdd.fleet import Fleet
from mco_client.bdd.session import Options, Session
from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_client.discovery.registry import ask
from mco_lab.memory import CALLER, MemoryFleet
from mco_node.audit import MemoryAudit
from mco_registry.daemon import Registry
from mco_registry.settings import RegistrySettings
from mco_registry.store import Store
from mco_rpc.config import ClientSettings
from mco_rpc.connector import Packet
from mco_rpc.errors import DiscoveryError, ExpectationFailed
from mco_rpc.filters import Filter, from_options
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller, for_node, for_registry
from tests.docs_examples import ROOT

PAGE = ROOT / "docs" / "guides" / "late-nodes.md"
FAST, SLOW = ("web1", "web2", "web3"), "slow"
WINDOW_S, SHORT_S, LATE_S, LONG_S = 0.15, 0.25, 0.4, 20.0
WAIT_S = 20.0

FOUND, NAMED, WARNED, LISTED, UNSEEN, NOT_SO = "found", "named", "warned of", "listed", "not seen", "-"
STATUS = {FOUND: 0, LISTED: 0, UNSEEN: 0, WARNED: 2, NAMED: 2}
COMMANDS = ("find", "ping", "rpc", "feature")

# How a silent node that somebody knows is told of before the call, on both streams.
NAMINGS = (f"{SLOW} was expected, and not found: silent", f"{SLOW}: expected, and not found: silent")
# What only a node can decide, whoever knows it.
RESIDUAL = "-S \"fact('country').exists\""
# Longer than the late node takes.
LONG_CALL = "--batch 1 --batch-sleep 0.3"
SOURCES = ("inventory", "flatfile", "stdin", "external", "registry")
ROWS = {
    "nobody: a broadcast": "",
    "nobody, and the call takes longer than the delay": LONG_CALL,
    "you, by name (`-I`)": "-I web1 -I web2 -I web3 -I slow",
    "you, by name, and a filter": f"-I web1 -I web2 -I web3 -I slow {RESIDUAL}",
    "you (`--nodes FILE`)": "--nodes nodes.txt",
    **{f"{source}": f"--dm {source}" for source in SOURCES},
    **{f"{source}, and a filter that it cannot decide": f"--dm {source} {RESIDUAL}" for source in SOURCES},
}
OF_A_CALL = (LONG_CALL, "--nodes nodes.txt")


class Late:
    """A fleet with a node that answers everything late, and all that may know of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.own = keys.new_seed()
        settings = ClientSettings(connector="memory", caller=CALLER, discovery_window_s=WINDOW_S, timeout_s=WAIT_S)
        node = {"facts": {"country": "de"}, "settings": {"registration_interval_s": 1.0}}
        self.memory = MemoryFleet(dict.fromkeys((*FAST, SLOW), node), settings)
        self._route = self.memory.broker.route
        self.memory.broker.route = self.route  # type: ignore[method-assign]
        self._held: list[threading.Timer] = []
        self.asked = 0

    def route(self, packet: Packet) -> bool:
        """Hold back what the late node replies."""
        if packet.signer != SLOW or packet.type != "reply":
            return self._route(packet)
        timer = threading.Timer(LATE_S, self._route, (packet,))
        self._held.append(timer)
        self.asked += 1
        timer.start()
        return True

    def connection(self, **changes: Any) -> Connection:
        """Return a connection that believes the nodes and the registry."""
        base = self.memory.connection()
        trusted = {name: keys.public_of(seed) for name, seed in self.memory._node_seeds.items()}
        security = for_caller(CALLER, self.memory._caller_seed, {**trusted, "registry": keys.public_of(self.own)})
        settings = msgspec.structs.replace(base.settings, **changes)
        return Connection(settings, connector=self.memory.broker.connector, security=security)

    @contextlib.contextmanager
    def registry(self) -> Iterator[None]:
        """Run a registry until all nodes are in it, and further."""
        caller = {CALLER: keys.public_of(self.memory._caller_seed)}
        trusted = {name: keys.public_of(seed) for name, seed in self.memory._node_seeds.items()}
        made = Registry(
            RegistrySettings(connector="memory"),
            self.memory.broker.connector(),
            for_node("registry", self.own, caller),
            for_registry("registry", self.own, trusted),
            Store(f"sqlite:///{self._folder}/registry.sqlite"),
            audit=MemoryAudit(100),
        )
        made.start()
        try:
            with self.connection() as connection:
                pause = threading.Event()
                for _ in range(round(WAIT_S / 0.05)):
                    known = ask(connection, Filter(), WAIT_S).nodes
                    if len(known) == len(FAST) + 1 and all(node.is_sure and node.version for node in known):
                        break
                    pause.wait(0.05)
                else:
                    raise AssertionError(f"the registry knows only {known}")
            yield
        finally:
            made.stop()

    def close(self) -> None:
        """Let nothing be answered any more."""
        for timer in self._held:
            timer.cancel()
            timer.join()


class Typist:
    """Types one line of the table, and reads what became of the late node."""

    def __init__(self, late: Late, options: str, limit_s: float) -> None:
        self._late, self._options, self._limit_s = late, options, limit_s

    def does(self, command: str) -> str:
        if self._options in OF_A_CALL and command != "rpc":
            return NOT_SO
        if "stdin" in self._options and command == "feature":
            return NOT_SO
        return self._feature() if command == "feature" else self._mco(command)

    def _mco(self, command: str) -> str:
        action = "rpcutil ping -v -t" if command == "rpc" else "--dt"
        if command == "rpc":
            action += f" {self._limit_s} --dt"
        before = self._late.asked
        status, out, err = self._type(f"{command} {action} {self._limit_s} {self._options}")
        is_answered = self._late.asked > before
        if f"{SLOW} answered the discovery" in err:
            seen = WARNED
        elif any(text in out + err for text in (*NAMINGS, f"no reply within {self._limit_s:g} s from 1 of 4: {SLOW}")):
            seen = NAMED
        elif any(line.split()[:1] == [SLOW] for line in out.splitlines()):
            seen = FOUND if is_answered else LISTED
        else:
            seen = UNSEEN
        assert status == STATUS[seen], (seen, status, out, err)
        assert all(name in out for name in FAST), (out, err)
        return seen

    def _feature(self) -> str:
        options = Options(discovery_timeout_s=self._limit_s, timeout_s=self._limit_s)
        with self._late.connection(**self._settings()) as connection, Session(options, connection) as session:
            fleet = Fleet(session)
            fleet.narrow(self._filter())
            told = ""
            try:
                fleet.discover()
                fleet.call("rpcutil", "ping").require_ok()
            except (DiscoveryError, ExpectationFailed) as e:
                told = str(e)
            if told:
                assert SLOW in told
                return NAMED
            return FOUND if SLOW in fleet.nodes else UNSEEN

    def _settings(self) -> dict[str, Any]:
        words = shlex.split(self._options)
        if "--dm" not in words:
            return {}
        source = words[words.index("--dm") + 1]
        return {"discovery": source, "discovery_options": _options_of(source)}

    def _filter(self) -> Filter:
        words = shlex.split(self._options)
        following = list(itertools.pairwise(words))
        return from_options(
            identities=[text for option, text in following if option == "-I"],
            compound=[text for option, text in following if option == "-S"],
        )

    def _type(self, line: str) -> tuple[int, str, str]:
        def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
            source = changes.get("discovery", "")
            return self._late.connection(**{**changes, "discovery_options": _options_of(source)})

        out, err, stdin = io.StringIO(), io.StringIO(), io.TextIOWrapper(io.BytesIO("\n".join([*FAST, SLOW]).encode()))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            status = main(shlex.split(line), connect)
        return status, out.getvalue(), err.getvalue()


def _options_of(source: str) -> tuple[str, ...]:
    external = f"{shlex.quote(sys.executable)} external.py"
    return {"inventory": ("hosts.yaml",), "flatfile": ("nodes.txt",), "external": (external,)}.get(source, ())


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Late]:
    everybody = [*FAST, SLOW]
    (tmp_path / "nodes.txt").write_text("\n".join(everybody))
    (tmp_path / "hosts.yaml").write_text(json.dumps({"hosts": everybody}))
    said = json.dumps({"nodes": everybody, "serves": ["identities"]})
    (tmp_path / "external.py").write_text(f"print({said!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Late(tmp_path)
    with made.memory:
        yield made
        made.close()


def documented(heading: str) -> dict[str, list[str]]:
    """Return the rows of a table of the page by their first cell."""
    section = PAGE.read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0]: row[1 : 1 + len(COMMANDS)] for row in rows[2:]}


@pytest.mark.parametrize(("heading", "limit_s"), [("You wait for longer", LONG_S), ("You do not", SHORT_S)])
@pytest.mark.parametrize("who", ROWS)
def test_what_becomes_of_a_late_node_is_what_the_page_says(who: str, heading: str, limit_s: float, late: Late) -> None:
    typist = Typist(late, ROWS[who], limit_s)
    with late.registry() if "registry" in who else contextlib.nullcontext():
        seen = [typist.does(command) for command in COMMANDS]
    assert documented(heading).get(who) == seen


@pytest.mark.parametrize("heading", ["You wait for longer", "You do not"])
def test_the_page_has_no_other_rows(heading: str) -> None:
    assert list(documented(heading)) == list(ROWS)


def test_a_node_that_somebody_knows_is_never_passed_over() -> None:
    for heading in ("You wait for longer", "You do not"):
        for who, cells in documented(heading).items():
            assert who.startswith("nobody") or UNSEEN not in cells, who
