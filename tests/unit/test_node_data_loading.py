# SPDX-License-Identifier: Apache-2.0
"""Finding data sources: as agents are found, by entry point and in the libdir folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mco_node import origins
from mco_node.loader import Loaded, load
from mco_rpc.agent import Agent
from mco_rpc.config import NodeSettings
from mco_rpc.data import DataSource, Output

SHIPPED = {"agent", "collective", "daemon", "fact", "fstat", "package", "port", "process", "service"}
TEXT = '''
from mco_rpc.data import DataSource, Input, Output, command_exists


class Load(DataSource):
    """Say how busy the node is."""

    setting_names = ("factor",)
    arguments = {"minutes": Input("list", "Over how long", choices=("1", "5", "15"))}
    fields = {"average": Output("number", "Processes that want to run")}

    def query(self, minutes):
        return {"average": self.setting("factor", 1) * int(minutes)}
'''


@pytest.fixture
def libdir(tmp_path: Path) -> Path:
    made = tmp_path / "libdir"
    made.mkdir()
    return made


def loaded(*libdirs: Path, **data: dict[str, Any]) -> Loaded:
    agents = {"iptables": {"enabled": False}}
    settings = NodeSettings(libdir=tuple(map(str, libdirs)), agents=agents, data=data)
    return load(settings, node=None)  # type: ignore[arg-type]


def test_the_shipped_ones_are_found() -> None:
    found = loaded()
    assert set(found.sources) | set(found.inactive_sources) == SHIPPED
    assert found.problems == []


def test_one_in_libdir_is_found_and_gets_its_settings(libdir: Path) -> None:
    (libdir / "load.py").write_text(TEXT)
    found = loaded(libdir, load={"factor": 3})
    assert found.sources["load"].query("5") == {"average": 15}
    assert found.problems == []


def test_a_file_may_hold_agents_and_data_sources(libdir: Path) -> None:
    agent = '''
from mco_rpc.agent import Agent


class Mine(Agent):
    """Do nothing."""
'''
    (libdir / "both.py").write_text(TEXT + agent)
    found = loaded(libdir)
    assert "mine" in found.agents
    assert "load" in found.sources


def test_one_in_libdir_takes_the_place_of_a_shipped_one(libdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    (libdir / "port.py").write_text(TEXT.replace("class Load", "class Port"))
    caplog.set_level("INFO")
    assert loaded(libdir).sources["port"].query("1") == {"average": 1}
    assert f"data source port: the one in {libdir}/port.py takes the place of an installed one" in caplog.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("query(self", "query(self: 1 +"), "agents and data sources in {file} were not loaded: SyntaxError: "),
        (("import DataSource", "import Nothing, DataSource"), "agents and data sources in {file} were not loaded: "),
        (("    setting_names", "    name = 'No Name'\n    setting_names"), "data source in {file} was not loaded: "),
        (("fields = ", "fields = {} or "), None),
        (
            ("fields = {", "fields = {} and {"),
            "data source in {file} was not loaded: data source load: it declares no ",
        ),
        (('"number"', '"text"'), "data source in {file} was not loaded: load#query output average: type 'text' "),
        (
            ("    def query", "    activate_when = staticmethod(lambda s: 1 / 0)\n\n    def query"),
            "data source in {file} was",
        ),
    ],
)
def test_a_broken_one_is_named_and_leaves_the_others_alone(
    libdir: Path, change: tuple[str, str], why: str | None
) -> None:
    text = TEXT.replace(*change)
    assert text != TEXT
    (libdir / "load.py").write_text(text)
    (libdir / "other.py").write_text(TEXT.replace("class Load", "class Other"))
    found = loaded(libdir)
    assert {"other", "fstat"} <= set(found.sources)
    if why is None:
        assert found.problems == []
    else:
        (problem,) = found.problems
        assert problem.startswith(why.format(file=libdir / "load.py"))
        assert "load" not in found.sources


def test_a_file_that_others_may_write_is_not_loaded(libdir: Path) -> None:
    (libdir / "load.py").write_text(TEXT)
    (libdir / "load.py").chmod(0o666)
    found = loaded(libdir)
    assert "load" not in found.sources
    assert "others may write it (mode 666)" in found.problems[0]


def test_one_can_be_switched_off() -> None:
    found = loaded(fstat={"enabled": False})
    assert "fstat" not in found.sources
    assert found.inactive_sources["fstat"] == "switched off in the configuration"
    assert found.problems == []


def test_one_that_does_not_apply_is_inactive_with_its_reason(libdir: Path) -> None:
    text = TEXT.replace("    def query", "    activate_when = staticmethod(command_exists('no-such'))\n\n    def query")
    (libdir / "load.py").write_text(text)
    found = loaded(libdir)
    assert found.inactive_sources["load"] == "no-such is not installed"
    assert found.inactive["iptables"] == "switched off in the configuration"
    assert found.problems == []


def test_wrong_settings_are_named_with_a_suggestion() -> None:
    found = loaded(fstat={"max_digest_byte": 1}, fsat={}, gone={"enabled": False})
    assert "fstat" not in found.sources
    first, second = sorted(found.problems)
    assert first == (
        "data source in mco_node.data.fstat:Fstat was not loaded: data: fstat: unknown setting 'max_digest_byte', "
        "did you mean max_digest_bytes?; known are: enabled, timeout_s, max_digest_bytes"
    )
    assert second == "data: settings for 'fsat', which is no data source here, did you mean fstat?"


def test_an_entry_point_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, name: str, what: object) -> None:
            self.name, self.value, self._what = name, "somewhere:Something", what

        def load(self) -> object:
            if isinstance(self._what, BaseException):
                raise self._what
            return self._what

    class Fine(DataSource):
        fields = {"x": Output("any", "x")}  # noqa: RUF012 - as in anybody's file

    class Stray(Agent):
        """An agent that was registered as a data source."""

    groups = {"mco.data": [Entry("bad", ImportError("gone")), Entry("fine", Fine)], "mco.agents": [Entry("x", Stray)]}
    monkeypatch.setattr(origins, "entry_points", lambda group: groups[group])
    found = loaded()
    assert set(found.sources) == {"fine"}
    assert set(found.agents) == {"stray"}
    assert found.problems == ["data source bad (somewhere:Something) was not loaded: ImportError: gone"]
