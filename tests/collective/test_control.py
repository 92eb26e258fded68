# SPDX-License-Identifier: Apache-2.0
"""What a node can be told to do while it works: reload, log, drain, resume, end; over the whole request path."""

from __future__ import annotations

import gc
import logging
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_node import loader
from mco_node.daemon import Node
from mco_rpc.errors import ActionAborted
from mco_rpc.filters import from_options
from mco_rpc.status import Status

WAIT_S = 20.0
LIBDIR = Path(__file__).with_name("libdir")
GREETER = '''
import threading

from mco_rpc.agent import Agent, Output, action

GATE, BEGUN = threading.Event(), threading.Semaphore(0)


class Greeter(Agent):
    """Say hello."""

    version = "{version}"

    @action("Greet", outputs={{"text": Output("string", "the greeting")}})
    def greet(self):
        return {{"text": "{version}"}}

    @action("Greet late", outputs={{"text": Output("string", "{version}")}}, timeout_s=60)
    def wait(self):
        BEGUN.release()
        GATE.wait(60)
        return {{"text": "{version}"}}
'''
SOURCE = '''
from mco_rpc.data import DataSource, Output


class Moon(DataSource):
    """Say how full it is."""

    keep_s = 0.0
    fields = {{"phase": Output("integer", "of it")}}

    def query(self):
        return {{"phase": {phase}}}
'''


@pytest.fixture
def libdir(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    made.mkdir()
    return made


def write(libdir: Path, version: str, name: str = "greeter", text: str = GREETER) -> Path:
    file = libdir / f"{name}.py"
    file.write_text(text.format(version=version))
    return file


@pytest.fixture
def node(collective: Any, caller: Any, libdir: Path) -> Node:
    write(libdir, "1")
    made: Node = collective.node(libdir=[str(LIBDIR), str(libdir)], libdir_interval_s=0)
    return made


@pytest.fixture
def log_level() -> Iterator[None]:
    """Put the process's log level back."""
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


def eventually(is_so: Any) -> bool:
    """Wait until something is so that happens on another thread."""
    until, pause = time.monotonic() + WAIT_S, threading.Event()
    while not is_so() and time.monotonic() < until:
        pause.wait(0.002)
    return bool(is_so())


def gate(node: Node) -> Any:
    return sys.modules[type(node.agent("greeter")).__module__]


class TestReload:
    """Agents and data sources, loaded again."""

    def test_a_changed_agent_is_another_one_with_another_schema(
        self, collective: Any, caller: Any, node: Node, libdir: Path
    ) -> None:
        # Given an agent that has been asked
        assert caller.ask("greeter", "greet").data == {"text": "1"}
        digest = caller.replies[-1].schema

        # When its file changes, within the same second and with the same size, and it is reloaded
        write(libdir, "2")
        reply = caller.ask("controller", "reload_agent", agent="greeter")

        # Then that is said, audited, and the agent is the new one, with a schema of its own
        assert reply.status == Status.OK
        assert reply.data == {"changed": True, "added": [], "removed": [], "replaced": ["greeter"], "problems": []}
        answer = caller.ask("greeter", "greet")
        assert answer.data == {"text": "2"}
        assert answer.schema != digest
        assert answer.schema == caller.ask("rpcutil", "schema_of", agent="greeter").data["digest"]
        assert [e["action"] for e in collective.audits["web1"].entries if e["agent"] == "controller"] == [
            "reload_agent"
        ]

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("class Greeter(:\n", "SyntaxError: "),
            ("\n\n1 / 0\n", "ZeroDivisionError: division by zero (line 3)"),
            ("", "it defines no subclass of"),
            (GREETER.replace('"the greeting")}})', '"the greeting")}}, timeout_s=-1)'), "timeout"),
            (
                GREETER + "    def __init__(self, node, settings):\n        raise OSError('no disk')\n",
                "OSError: no disk",
            ),
        ],
    )
    def test_one_that_does_not_load_stays_as_it_was(
        self, caller: Any, node: Node, libdir: Path, text: str, why: str
    ) -> None:
        # Given an agent, and a file that is broken now
        old = node.agent("greeter")
        module = gate(node)
        write(libdir, "2", text=text)

        # When it is reloaded, alone or with all others
        for action, data in (("reload_agent", {"agent": "greeter"}), ("reload_agents", {})):
            reply = caller.ask("controller", action, **data)

            # Then the answer says why not, and the old one answers
            assert reply.status == Status.ABORTED
            assert f"{libdir}/greeter.py" in reply.message
            assert why in reply.message
            assert reply.message.endswith("the one that was loaded before is kept")
            assert "greeter" not in reply.data["replaced"]
        assert node.agent("greeter") is old
        assert gate(node) is module
        assert caller.ask("greeter", "greet").data == {"text": "1"}

        # And the node says so until it loads again
        assert any(why in problem for problem in caller.ask("rpcutil", "inventory").data["problems"])
        write(libdir, "3")
        assert caller.ask("controller", "reload_agent", agent="greeter").status == Status.OK
        assert caller.ask("greeter", "greet").data == {"text": "3"}
        assert caller.ask("rpcutil", "inventory").data["problems"] == []

    def test_a_file_that_is_written_twice_in_a_second_is_never_the_first_one(
        self, node: Node, libdir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "dont_write_bytecode", False)
        for version in "2345":
            write(libdir, version)
            node.control.reload_agent("greeter")
            assert node.agents()["greeter"].version == version
        assert [file.name for file in libdir.iterdir()] == ["greeter.py"]

    def test_new_agents_come_and_vanished_ones_go(self, collective: Any, caller: Any, node: Node, libdir: Path) -> None:
        # Given a node that hears nothing on the key of an agent that it does not have
        def everybody() -> bool:
            return bool(collective.broker.route(caller.packet(caller.request("second", "greet"))))

        assert not everybody()

        # When its file comes, then it is heard and answers
        write(libdir, "1", "second", GREETER.replace("class Greeter", "class Second"))
        assert caller.ask("controller", "reload_agents").data["added"] == ["second"]
        assert everybody()
        assert caller.ask("second", "greet").data == {"text": "1"}

        # When it goes, then nobody is bound for it any more, and who asks by name is told so
        (libdir / "second.py").unlink()
        assert caller.ask("controller", "reload_agents").data["removed"] == ["second"]
        assert not everybody()
        assert caller.ask("second", "greet").status == Status.UNKNOWN_ACTION

        # And after the connection was lost it is as before
        write(libdir, "1", "third", GREETER.replace("class Greeter", "class Third"))
        caller.ask("controller", "reload_agent", agent="third")
        collective.broker.stop()
        collective.broker.start([node._connector, caller.connector])
        assert eventually(node.is_connected.is_set)
        assert collective.broker.route(caller.packet(caller.request("third", "greet")))

    def test_an_agent_of_libdir_that_goes_leaves_its_place_to_the_installed_one(
        self, caller: Any, node: Node, libdir: Path
    ) -> None:
        file = write(libdir, "7.0", "mine", GREETER.replace("class Greeter", "class Discovery"))
        assert "discovery" in caller.ask("controller", "reload_agents").data["replaced"]
        assert node.agents()["discovery"].version == "7.0"
        file.unlink()
        assert "discovery" in caller.ask("controller", "reload_agents").data["replaced"]
        assert caller.ask("discovery", "ping").status == Status.OK

    def test_a_name_that_nothing_has_is_refused_with_a_suggestion(self, caller: Any, node: Node) -> None:
        reply = caller.ask("controller", "reload_agent", agent="greter")
        assert reply.status == Status.INVALID_DATA
        assert "did you mean greeter?" in reply.message

    def test_an_installed_agent_keeps_its_instance(self, caller: Any, node: Node) -> None:
        before = node.agent("iptables")
        reply = caller.ask("controller", "reload_agent", agent="iptables")
        assert (reply.status, reply.data["changed"]) == (Status.OK, False)
        assert node.agent("iptables") is before

    def test_a_call_that_runs_keeps_the_old_one_until_it_ends(self, caller: Any, node: Node, libdir: Path) -> None:
        # Given a call that runs
        module, digest = gate(node), node.agents()["greeter"].digest
        running = caller.send(caller.request("greeter", "wait"))
        assert module.BEGUN.acquire(timeout=WAIT_S)

        # When the agent is replaced and the call ends
        write(libdir, "2")
        assert caller.ask("controller", "reload_agent", agent="greeter").status == Status.OK
        module.GATE.set()

        # Then its answer is the old one's, schema and all
        reply = caller.reply_to(running)
        assert (reply.data, reply.schema) == ({"text": "1"}, digest)
        assert node.agents()["greeter"].digest != digest

    def test_no_request_sees_a_mixture(self, caller: Any, node: Node, libdir: Path) -> None:
        # Given who asks all the time, on its own threads
        is_over = threading.Event()
        asked: list[Any] = []

        def ask() -> None:
            while not is_over.is_set():
                request = caller.request("greeter", "greet")
                asked.append(request)
                node.on_packet(caller.packet(request, "web1"))
                is_over.wait(0.001)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        digests = {"1": node.agents()["greeter"].digest}
        for thread in threads:
            thread.start()

        # When the agent is replaced again and again
        for version in map(str, range(2, 30)):
            write(libdir, version)
            node.control.reload_agent("greeter")
            digests[version] = node.agents()["greeter"].digest
        is_over.set()
        for thread in threads:
            thread.join(WAIT_S)

        # Then each answer is one agent's: what it says and its schema belong together
        replies = [caller.reply_to(request) for request in asked]
        assert len(digests) == len(set(digests.values()))
        assert {(reply.data["text"], reply.schema) for reply in replies} <= set(digests.items())
        assert len({reply.schema for reply in replies}) > 1

    def test_data_sources_likewise(self, caller: Any, node: Node, libdir: Path) -> None:
        def phase(number: int) -> None:
            (libdir / "moon.py").write_text(SOURCE.format(phase=number))

        phase(1)
        assert caller.ask("controller", "reload_agents").data["added"] == ["moon()"]
        assert caller.ask("rpcutil", "get_data", source="moon").data["fields"] == {"phase": 1}
        phase(2)
        assert caller.ask("controller", "reload_agent", agent="moon").data["replaced"] == ["moon()"]
        request = caller.send(caller.request(filter=from_options(compound=["moon().phase=2"])))
        assert caller.reply_to(request).status == Status.OK
        (libdir / "moon.py").write_text("broken(\n")
        assert caller.ask("controller", "reload_agents").status == Status.ABORTED
        assert caller.ask("rpcutil", "get_data", source="moon").data["fields"] == {"phase": 2}

    def test_code_that_others_may_write_is_not_taken(self, caller: Any, node: Node, libdir: Path) -> None:
        write(libdir, "2").chmod(0o666)
        reply = caller.ask("controller", "reload_agents")
        assert reply.status == Status.ABORTED
        assert "others may write it (mode 666)" in reply.message
        assert caller.ask("greeter", "greet").data == {"text": "1"}
        (libdir / "greeter.py").chmod(0o644)
        libdir.chmod(0o777)
        reply = caller.ask("controller", "reload_agents")
        assert "others may write it (mode 777)" in reply.message
        assert caller.ask("greeter", "greet").data == {"text": "1"}

    def test_thousand_reloads_leave_nothing_behind(
        self, node: Node, libdir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What is installed is not looked at, to save time
        monkeypatch.setattr(loader, "installed", lambda: iter(()))
        module = gate(node).__name__
        modules, threads = set(sys.modules), threading.active_count()
        for number in range(1000):
            if number % 100 == 0:  # the others are loaded again all the same
                write(libdir, str(number))
            node.control.reload_agent("greeter")
        gc.collect()
        alive = [each for each in gc.get_objects() if isinstance(each, type) and each.__module__ == module]
        assert set(sys.modules) - modules == set()
        assert len(alive) == 1
        assert threading.active_count() == threads


class TestWatching:
    """Files that change are noticed without anybody's help."""

    def test_a_change_is_loaded(self, collective: Any, caller: Any, libdir: Path) -> None:
        # Given a node that looks all the time
        write(libdir, "1")
        collective.node(libdir=[str(libdir)], libdir_interval_s=0.01)
        assert caller.ask("greeter", "greet").data == {"text": "1"}

        # When a file changes, then it answers as the new one says, with nothing asked of the node
        write(libdir, "2")
        assert eventually(lambda: caller.ask("greeter", "greet").data == {"text": "2"})

        # When it goes, then so does the agent
        (libdir / "greeter.py").unlink()
        assert eventually(lambda: caller.ask("greeter", "greet").status == Status.UNKNOWN_ACTION)

    def test_a_file_that_is_being_written_is_left_alone(self, node: Node, libdir: Path) -> None:
        def still_writing(_: float) -> None:
            write(libdir, "3")

        assert not node._reloading.look()
        write(libdir, "2")
        assert not node._reloading.look(settle=still_writing)
        assert node.agents()["greeter"].version == "1"
        assert node._reloading.look(settle=lambda _: None)
        assert node.agents()["greeter"].version == "3"
        assert not node._reloading.look()

    def test_half_a_file_is_tried_again_when_it_is_whole(self, node: Node, libdir: Path) -> None:
        whole = GREETER.format(version="2")
        (libdir / "greeter.py").write_text(whole[: len(whole) // 2 + 3])
        assert node._reloading.look(settle=lambda _: None)
        assert node.agents()["greeter"].version == "1"
        assert any("greeter.py" in problem for problem in node.problems())
        assert not node._reloading.look()  # once is enough
        (libdir / "greeter.py").write_text(whole)
        assert node._reloading.look(settle=lambda _: None)
        assert node.agents()["greeter"].version == "2"
        assert node.problems() == []

    def test_only_what_changed_is_loaded(self, node: Node, libdir: Path) -> None:
        before = dict(node._reloading.offer.agents)
        write(libdir, "2")
        assert node._reloading.look(settle=lambda _: None)
        after = node._reloading.offer.agents
        assert [name for name in after if after[name] is not before.get(name)] == ["greeter"]

    def test_a_folder_that_cannot_be_read_takes_nothing_away(self, node: Node, libdir: Path) -> None:
        libdir.rename(libdir.with_name("elsewhere"))
        assert node._reloading.look(settle=lambda _: None)
        assert "greeter" in node.agents()
        assert f"libdir: {libdir} is not a folder" in node.problems()
        assert not node._reloading.look()
        libdir.with_name("elsewhere").rename(libdir)
        assert node._reloading.look(settle=lambda _: None)
        assert node.problems() == []


def test_facts_are_gathered_at_once(collective: Any, caller: Any, node: Node) -> None:
    # Given an executable that comes, changes and breaks
    folder = collective.folder() / "facts.d"
    folder.mkdir()
    file = folder / "colour"
    file.write_text("#!/bin/sh\necho colour=red\n")
    file.chmod(0o755)

    reply = caller.ask("controller", "reload_facts")
    assert (reply.data["added"], reply.data["changed"], reply.data["facts"]) == (["colour"], True, 2)
    assert caller.ask("controller", "reload_facts").data["changed"] is False
    file.write_text("#!/bin/sh\necho colour=blue\n")
    assert caller.ask("controller", "reload_facts").data["replaced"] == ["colour"]
    file.write_text("#!/bin/sh\nexit 3\n")
    reply = caller.ask("controller", "reload_facts")
    assert reply.status == Status.ABORTED
    assert "colour" in reply.message
    assert "the last good values are kept" in reply.message
    assert caller.ask("rpcutil", "get_fact", fact="colour").data["value"] == "blue"


@pytest.mark.usefixtures("log_level")
def test_the_log_level_is_told_before_and_after(caller: Any, node: Node) -> None:
    logging.getLogger().setLevel(logging.INFO)
    tried = caller.reply_to(caller.send(caller.request("controller", "log_level", data={"level": "debug"}, noop=True)))
    assert tried.data == {"before": "info", "after": "debug", "changed": True}
    assert caller.ask("controller", "log_level", level="debug").data == {
        "before": "info",
        "after": "debug",
        "changed": True,
    }
    assert logging.getLogger("mco_node").getEffectiveLevel() == logging.DEBUG
    assert caller.ask("controller", "log_level", level="debug").data["changed"] is False
    assert caller.ask("controller", "log_level", level="loud").status == Status.INVALID_DATA
    assert caller.ask("controller", "stats").data["log_level"] == "debug"
    levels = []
    for _ in range(4):
        node.control.next_log_level()
        levels.append(caller.ask("controller", "stats").data["log_level"])
    assert levels == ["info", "warning", "error", "debug"]


class TestDrain:
    """A node that takes no work."""

    def test_it_refuses_everybody_but_who_looks_after_it(self, collective: Any, caller: Any, node: Node) -> None:
        # When a node is drained
        told = caller.ask("controller", "drain", reason="new disk").data

        # Then it says so
        state = {"since": collective.clock(), "by": "key=operator", "reason": "new disk"}
        assert told == {"changed": True, "before": None, "after": state, "still_running": []}

        # And refuses work with since when, by whom and why, to who asks it and in its audit
        request = caller.send(caller.request("faulty", "count"))
        reply = caller.reply_to(request)
        assert reply.status == Status.ABORTED
        assert "drained since 2027-01-15T08:00:00+00:00 by key=operator: new disk" in reply.message
        assert collective.records(request)[0]["outcome"] == "aborted"
        assert node.agent("faulty").ran == 0  # type: ignore[attr-defined]

        # Also where data sources decide for whom it is
        late = caller.send(caller.request("faulty", "count", filter=from_options(compound=["daemon().drained=true"])))
        assert "new disk" in caller.reply_to(late).message

        # But says how it is, and can be found by it
        assert caller.ask("discovery", "ping").status == Status.OK
        stats = caller.ask("rpcutil", "daemon_stats").data
        assert stats["drained"] == state
        assert stats["rungs"]["drained"] == 2
        for expression, count in (("daemon().drained=true", 1), ("daemon().drained=false", 0)):
            request = caller.send(caller.request(filter=from_options(compound=[expression])))
            assert len(collective.records(request)) == 1
            if count:
                assert caller.reply_to(request).status == Status.OK
            else:
                assert collective.records(request)[0]["outcome"] == "filtered"

        # When it is drained again, then only the reason is another one
        again = caller.ask("controller", "drain", reason="more disks").data
        assert (again["changed"], again["before"], again["after"]) == (False, state, {**state, "reason": "more disks"})

        # When it is let work, then it does
        assert caller.ask("controller", "resume").data["changed"] is True
        assert caller.ask("faulty", "count").data == {"number": 1}
        assert caller.ask("controller", "resume").data == {"changed": False, "before": None, "after": None}

    def test_noop_only_looks(self, caller: Any, node: Node) -> None:
        request = caller.send(caller.request("controller", "drain", data={"reason": "x"}, noop=True))
        assert caller.reply_to(request).data["changed"] is True
        assert caller.ask("faulty", "count").status == Status.OK

    def test_what_runs_ends_and_is_waited_for(self, caller: Any, node: Node) -> None:
        # Given an action that runs
        faulty: Any = node.agent("faulty")
        running = caller.send(caller.request("faulty", "wait"))
        assert faulty.begun.acquire(timeout=WAIT_S)

        # When the node is drained, then that is said at once
        left = caller.ask("controller", "drain").data["still_running"]
        assert [(each["caller"], each["request"], each["agent"], each["action"]) for each in left] == [
            ("key=operator", running.id, "faulty", "wait")
        ]

        # When somebody waits for it, then he is answered once it has ended
        waits = caller.send(caller.request("controller", "drain", data={"wait": True}))
        caller.ask("discovery", "ping")
        assert all(reply.id != waits.id for reply in caller.replies)
        faulty.gate.set()
        assert caller.reply_to(waits).data["still_running"] == []
        assert caller.reply_to(running).status == Status.OK

    def test_a_wait_ends_when_it_is_cancelled(self, caller: Any, node: Node) -> None:
        faulty: Any = node.agent("faulty")
        caller.send(caller.request("faulty", "wait"))
        assert faulty.begun.acquire(timeout=WAIT_S)
        waits = caller.send(caller.request("controller", "drain", data={"wait": True}))
        assert eventually(
            lambda: caller.ask("rpcutil", "cancel", requests=[waits.id]).data["states"][waits.id] != "waiting"
        )
        assert caller.reply_to(waits).status == Status.ABORTED

    def test_a_wait_says_what_still_runs_before_its_deadline(
        self, caller: Any, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        faulty: Any = node.agent("faulty")
        caller.send(caller.request("faulty", "wait"))
        assert faulty.begun.acquire(timeout=WAIT_S)
        monkeypatch.setattr(sys.modules["mco_agents.controller"], "_MARGIN_S", 1000.0)
        left = caller.ask("controller", "drain", wait=True).data["still_running"]
        assert [each["action"] for each in left] == ["wait"]


def test_who_tells_it_to_end_is_answered(collective: Any, caller: Any) -> None:
    ended = threading.Event()
    node: Node = collective.node()
    node._changed = ended.set
    assert caller.ask("controller", "exit").data == {"still_running": []}
    assert ended.wait(WAIT_S)
    assert node.is_over.is_set()
    assert node.stop()


def test_a_node_that_is_no_process_cannot_be_replaced(caller: Any, node: Node) -> None:
    reply = caller.ask("controller", "restart")
    assert reply.status == Status.ABORTED
    assert "no process of its own" in reply.message


def test_who_was_replaced_is_replaced_no_more(collective: Any, caller: Any) -> None:
    # Given a node that could not be replaced, and then could
    node: Node = collective.node()
    outcomes: list[Any] = [ActionAborted("no memory"), {"changed": True, "before": {}, "after": {}}]

    def succeed(_: float) -> dict[str, Any]:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        made: dict[str, Any] = outcome
        return made

    node.control._succeed = succeed
    assert caller.ask("controller", "restart").message == "no memory"
    assert caller.ask("controller", "restart").data["changed"] is True

    # When somebody asks again whose request has waited for a worker, then the old process starts no third one
    reply = caller.ask("controller", "restart")
    assert (reply.status, outcomes) == (Status.ABORTED, [])
    assert "a restart is under way already" in reply.message


def test_every_message_ends_on_one_rung(collective: Any, caller: Any) -> None:
    # Given a node with little room, and callers of all kinds
    node: Node = collective.node(workers=2, queue_limit=3)
    stranger = collective.caller("stranger", is_trusted=False)
    chance = random.Random(7)
    faulty: Any = node.agent("faulty")
    faulty.gate.set()

    class Strict:
        def authorize(self, request: Any) -> None:
            if request.agent == "rpcutil":
                raise PermissionError("not you")

    node._dispatcher._ladder._authorization = Strict()

    def one() -> None:
        request = caller.request("faulty", "count")
        kind = chance.randrange(20)
        if kind == 0:
            node.on_packet(caller.packet(request, "web1", signature=b"x" * 64))
        elif kind == 1:
            node.on_packet(stranger.packet(stranger.request(), "web1"))
        elif kind == 2:
            body = b"{}"
            node.on_packet(caller.packet(request, "web1", body=body, signature=caller.security.sign(body)))
        elif kind == 3:
            for _ in range(2):
                node.on_packet(caller.packet(request, "web1"))
        elif kind == 4:
            node.on_packet(caller.packet(request, "web1", body=b"x" * 2_000_000))
        else:
            agent, action, data, fields = chance.choice(MIX)
            filters = fields.pop("filter", None) if (fields := dict(fields)) else None
            if filters:
                fields["filter"] = from_options(**filters)
            if "ago_s" in fields:
                fields["sent_at"] = collective.clock() - fields.pop("ago_s")
            request = caller.request(agent, action, data=data, **fields)
            node.on_packet(caller.packet(request, "web1"))
            if chance.random() < 0.1:
                node.cancel(request.id)

    # When they send everything that can be sent, from several threads
    def many() -> None:
        for _ in range(400):
            one()

    threads = [threading.Thread(target=many) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    node.control.drain("test", "")
    for _ in range(50):
        one()

    node.control.resume("test")
    faulty.gate.clear()
    assert caller.ask("faulty", "hang").status == Status.TIMED_OUT

    # Then nothing is in progress, and every message has ended on one rung, with one outcome
    assert eventually(lambda: node.stats()["in_progress"] == 0)
    stats = node.stats()
    received = stats["counters"].pop("received")
    assert received >= 1250
    assert sum(stats["counters"].values()) == received
    assert sum(stats["rungs"].values()) == received
    never = {rung for rung, count in stats["rungs"].items() if not count}
    assert never <= {"cancelled", "busy", "stopped", "not_begun"}
    assert all(count >= 0 for count in stats["rungs"].values())

    # And the actions that ran are counted by name
    assert stats["actions"]["faulty#count"]["calls"] == faulty.ran
    assert stats["actions"]["faulty#hang"]["failed"] == 1
    assert stats["actions"]["faulty#crash"]["failed"] == stats["actions"]["faulty#crash"]["calls"] > 0
    assert eventually(lambda: node.stats()["sent"]["replies"] == len(caller.packets) > 0)


MIX: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("faulty", "count", {}, {}),
    ("faulty", "count", {}, {"filter": {"facts": ["country=de"]}}),
    ("faulty", "count", {}, {"filter": {"facts": ["country=fr"]}}),
    ("faulty", "count", {}, {"filter": {"compound": ["daemon().drained=false"]}}),
    ("faulty", "count", {}, {"filter": {"compound": ["daemon().drained=x"]}}),
    ("faulty", "count", {}, {"filter": {"compound": ["nothing().x=1"]}}),
    ("faulty", "count", {}, {"targets": ["web2"]}),
    ("faulty", "count", {}, {"collective": "other"}),
    ("faulty", "count", {}, {"reply_to": "somebody.else"}),
    ("faulty", "count", {"nmber": 1}, {}),
    ("faulty", "count", {}, {"ago_s": 60.0}),
    ("faulty", "count", {}, {"ago_s": -60.0}),
    ("faulty", "crash", {"text": "oops"}, {}),
    ("faulty", "refuse", {}, {}),
    ("faulty", "lie", {"kind": "wrong type"}, {}),
    ("faulty", "mumble", {"kind": "half"}, {}),
    ("faulty", "hang", {}, {}),
    ("faulty", "change", {}, {"noop": True}),
    ("faulty", "none", {}, {}),
    ("nobody", "none", {}, {}),
    ("rpcutil", "ping", {}, {}),
    ("discovery", "ping", {}, {"reply_to": None}),
]
