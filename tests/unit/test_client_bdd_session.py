# SPDX-License-Identifier: Apache-2.0
"""The options and the session of a run of features, and which scenarios it leaves out."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mco_client.bdd import hooks
from mco_client.bdd import session as session_module
from mco_client.bdd.session import Options, Session
from mco_client.connection import Connection
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import ConfigError
from mco_rpc.security import keys


class TestOptions:
    def test_without_a_word_they_are_the_defaults(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MCO_LAB", raising=False)
        assert Options.of({}) == Options("", None, 2.0, 5.0, "")

    def test_they_are_read_from_behave_s_userdata_and_the_lab(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MCO_LAB", "firewall")
        told = {"connector": "memory", "config": "c.yaml", "discovery_timeout": "0.5", "timeout": 7, "theirs": "x"}
        assert Options.of(told) == Options("memory", Path("c.yaml"), 0.5, 7.0, "firewall")

    @pytest.mark.parametrize("name", ["timeout", "discovery_timeout"])
    @pytest.mark.parametrize("text", ["", "x", "0", "-1", "nan", "inf", None])
    def test_a_time_that_is_none_is_refused(self, name: str, text: Any) -> None:
        with pytest.raises(ConfigError, match=f"-D {name}={text}: expected a number of seconds"):
            Options.of({name: text})


class TestSession:
    def test_an_embedded_fleet_lives_as_long_as_the_session(self) -> None:
        with Session(Options(connector="memory")) as session:
            assert session.is_memory
            connection = session.connection
            assert connection.open()
            assert session.connection is connection
        assert connection._current is None

    def test_without_a_fleet_to_embed_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session_module, "entry_points", lambda *_: ())
        with pytest.raises(ConfigError, match="no in-process fleet is installed"):
            _ = Session(Options(connector="memory")).connection

    @pytest.fixture
    def config(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.delenv("MCO_CONFIG", raising=False)
        keys.generate(tmp_path / "alice.key", tmp_path / "nodes" / "web1.pub")
        file = tmp_path / "client.yaml"
        file.write_text(f"key_file: {tmp_path}/alice.key\ntrusted_nodes: {tmp_path}/nodes\ntimeout_s: 9\n")
        return file

    @pytest.mark.parametrize("connector", ["", "rabbitmq"])
    def test_the_configuration_says_where_the_broker_is(self, config: Path, connector: str) -> None:
        with Session(Options(connector=connector, config=config)) as session:
            assert not session.is_memory
            assert session.connection.settings.timeout_s == 9
            assert session.connection.security.principal == "key=alice"

    def test_another_connector_than_the_configured_one_is_refused(self, config: Path) -> None:
        with pytest.raises(ConfigError, match="-D connector=pigeon: expected memory, replay or rabbitmq"):
            _ = Session(Options(connector="pigeon", config=config)).connection

    def test_a_connection_that_is_given_belongs_to_its_giver(self) -> None:
        with MemoryFleet.of_hosts(web1={}) as fleet:
            connection = fleet.connection()
            with Session(Options(), connection) as session:
                assert session.connection is connection
                connection.open()
            assert connection._current is not None


class TestSkipping:
    @pytest.mark.parametrize(
        ("options", "tags", "reason"),
        [
            ({}, set(), None),
            ({}, {"slow"}, None),
            ({}, {"lab"}, "needs a lab: mco lab run lab/firewall.yaml -- behave"),
            ({"lab": "firewall"}, {"lab"}, None),
            ({}, {"real_traffic"}, None),
            ({"connector": "memory"}, {"slow"}, None),
            (
                {"connector": "memory"},
                {"lab"},
                "needs hosts with a network of their own, and these live in one process",
            ),
            (
                {"connector": "memory", "lab": "firewall"},
                {"real_traffic"},
                "needs hosts with a network of their own, and these live in one process",
            ),
        ],
    )
    def test_what_a_fleet_cannot_show_is_left_out(
        self, options: dict[str, Any], tags: set[str], reason: str | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # Given a run, and a scenario with tags
        skipped: list[bool] = []
        scenario = SimpleNamespace(name="s", effective_tags=tags, skip=lambda: skipped.append(True), skip_reason=None)
        context = SimpleNamespace(session=Session(Options(**options)))
        # When it begins
        hooks.before_scenario(context, scenario)
        # Then it is left out or not, and the reason is told and kept
        assert context.fleet.session is context.session
        assert (scenario.skip_reason, bool(skipped)) == (reason, reason is not None)
        assert capsys.readouterr().out == (f"SKIPPED s: {reason}\n" if reason else "")


class TestHooks:
    def test_a_run_that_never_got_a_session_ends_quietly(self) -> None:
        hooks.after_all({})

    def test_what_is_said_is_said_once_and_only_of_nodes_in_this_process(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hooks.announce(SimpleNamespace(userdata={}))
        assert capsys.readouterr().out == ""
        config = SimpleNamespace(userdata={"connector": "memory"})
        hooks.announce(config)
        hooks.announce(config)
        assert capsys.readouterr().out.count("In-process nodes over the memory connector") == 1

    def test_what_was_put_back_cannot_command_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        context = SimpleNamespace(fleet=SimpleNamespace(undo=lambda: ["x\x1b[2J", "y"]))
        hooks.after_scenario(context, None)
        assert capsys.readouterr().out == "UNDONE x\\x1b[2J\nUNDONE y\n"

    def test_a_run_is_quiet_and_leaves_the_logs_as_they_were(self) -> None:
        loggers = [logging.getLogger(name) for name in ("pika", "mco_node", "mco_rpc")]
        before = [logger.level for logger in loggers]
        context = _Context(userdata={"connector": "memory"})
        hooks.before_all(context)
        assert all(logger.getEffectiveLevel() >= logging.WARNING for logger in loggers)
        assert [logger.level for logger in loggers] != before
        hooks.after_all(context)
        assert [logger.level for logger in loggers] == before

    def test_a_connection_that_cannot_be_made_leaves_a_session_to_close(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: Session) -> Connection:
            raise ConfigError("no")

        monkeypatch.setattr(Session, "connection", property(refuse))
        context = _Context(userdata={})
        with pytest.raises(ConfigError, match="no"):
            hooks.before_all(context)
        hooks.after_all(context)


class _Context:
    """Of behave's context, what the hooks use."""

    def __init__(self, userdata: dict[str, str]) -> None:
        self.config = SimpleNamespace(userdata=userdata, setup_logging=lambda: None)

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__
