# SPDX-License-Identifier: Apache-2.0
"""Finding agents: one that cannot be loaded is named, and costs nobody else anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mco_node import origins
from mco_node.loader import Loaded, load
from mco_rpc.agent import Agent
from mco_rpc.config import NodeSettings

GREETER = '''
"""Say hello."""

from mco_rpc.agent import Agent, Output, action


class Greeter(Agent):
    """Say hello."""

    version = "2.0"
    setting_names = ("greeting",)

    @action("Greet", outputs={"text": Output("string", "the greeting")})
    def greet(self):
        return {"text": self.settings.get("greeting", "hello")}
'''


@pytest.fixture
def libdir(tmp_path: Path) -> Path:
    made = tmp_path / "libdir"
    made.mkdir()
    return made


class Entry:
    """An entry point."""

    value = "somewhere:Something"

    def __init__(self, name: str, what: object) -> None:
        self.name = name
        self._what = what

    def load(self) -> object:
        if isinstance(self._what, BaseException):
            raise self._what
        return self._what


def loaded(*libdirs: Path, **agents: dict[str, Any]) -> Loaded:
    return load(NodeSettings(libdir=tuple(map(str, libdirs)), agents=agents), node=None)  # type: ignore[arg-type]


def install(monkeypatch: pytest.MonkeyPatch, **entries: object) -> None:
    made = [Entry(name, what) for name, what in entries.items()]
    monkeypatch.setattr(origins, "entry_points", lambda group: made if group == "mco.agents" else [])


def test_installed_agents_are_found() -> None:
    # When agents are loaded from the installed entry points
    found = loaded(iptables={"backend": "memory"})

    # Then the shipped ones are there, without a problem
    assert {"discovery", "iptables", "rpcutil"} <= set(found.agents)
    assert found.problems == []
    assert not {"discovery", "iptables", "rpcutil"} & set(found.inactive)


def test_agents_in_libdir_are_found_and_get_their_settings(libdir: Path) -> None:
    # Given an agent in a folder, and settings for it
    (libdir / "greeter.py").write_text(GREETER)

    # When agents are loaded
    found = loaded(libdir, greeter={"greeting": "good morning"})

    # Then it is there, beside the installed ones, and has its settings
    assert found.agents["greeter"].greet() == {"text": "good morning"}  # type: ignore[attr-defined]
    assert "rpcutil" in found.agents
    assert not any("greeter" in problem for problem in found.problems)


def test_the_agent_in_libdir_takes_the_place_of_an_installed_one(
    libdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an agent with the name of an installed one
    (libdir / "mine.py").write_text(GREETER.replace("class Greeter", "class Rpcutil"))
    caplog.set_level("INFO")

    # When agents are loaded
    found = loaded(libdir)

    # Then ours is used, and the log says so
    assert found.agents["rpcutil"].schema().version == "2.0"
    assert f"agent rpcutil: the one in {libdir}/mine.py takes the place of an installed one" in caplog.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("class Greeter(Agent:\n", "SyntaxError: ", id="syntax error"),
        pytest.param("\0", "", id="null byte"),  # a SyntaxError or a ValueError, by the release of Python
        pytest.param("import nowhere_to_be_found\n", "ModuleNotFoundError: No module named", id="missing module"),
        pytest.param("1 / 0\n", "ZeroDivisionError: division by zero", id="raises"),
        pytest.param("import sys\nsys.exit('bye')\n", "SystemExit: bye", id="exits"),
        pytest.param("x = 1\n", "it defines no subclass of mco_rpc.agent.Agent", id="no agent"),
        pytest.param("from mco_rpc.agent import Agent\n", "it defines no subclass of", id="only an imported agent"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named(
    libdir: Path, caplog: pytest.LogCaptureFixture, text: str, why: str
) -> None:
    # Given a bad file between two good ones
    (libdir / "a.py").write_text(GREETER)
    (libdir / "b.py").write_text(text)
    (libdir / "c.py").write_text(GREETER.replace("class Greeter", "class Other"))

    # When agents are loaded
    found = loaded(libdir, iptables={"enabled": False})

    # Then the good ones are there, and the bad one is a problem that is also logged
    assert {"greeter", "other"} <= set(found.agents)
    (problem,) = found.problems
    assert problem.startswith(f"agents and data sources in {libdir}/b.py were not loaded: {why}")
    assert problem in caplog.text


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param("def __init__(self, node, settings): raise OSError('no disk')", "OSError: no disk", id="raises"),
        pytest.param("def __init__(self, node, settings): raise SystemExit(1)", "SystemExit: 1", id="exits"),
        pytest.param("activate_when = staticmethod(lambda settings: 1 / 0)", "ZeroDivisionError: ", id="cannot decide"),
        pytest.param("name = 'no good name'", "agent name 'no good name' cannot be used on the wire", id="bad name"),
        pytest.param(
            "bad = action('x', inputs={'y': Input('text', 'z')})(lambda self: {})",
            "mine#<lambda> input y: type 'text' is not one of string, ",
            id="bad schema",
        ),
    ],
)
def test_an_agent_that_cannot_be_made_is_named(libdir: Path, body: str, why: str) -> None:
    # Given an agent with a fault, and a good one
    header = "from mco_rpc.agent import Agent, Input, action\n\nclass Mine(Agent):\n    "
    (libdir / "mine.py").write_text(header + body + "\n")
    (libdir / "other.py").write_text(GREETER)

    # When agents are loaded
    found = loaded(libdir, iptables={"enabled": False})

    # Then it is a problem, and the good one is there
    assert "mine" not in found.agents
    assert "greeter" in found.agents
    (problem,) = found.problems
    assert problem.startswith(f"agent in {libdir}/mine.py was not loaded: {why}")


def test_a_wrong_setting_is_named_with_a_suggestion(libdir: Path) -> None:
    # Given a setting that the agent does not know
    (libdir / "greeter.py").write_text(GREETER)

    # When agents are loaded
    found = loaded(libdir, greeter={"greting": "hi"}, iptables={"enabled": False})

    # Then the agent is not offered, and the problem says what was meant
    assert "greeter" not in found.agents
    (problem,) = found.problems
    assert problem == (
        f"agent in {libdir}/greeter.py was not loaded: agents: greeter: unknown setting 'greting', "
        "did you mean greeting?; known are: greeting"
    )


def test_settings_for_no_agent_are_named_with_a_suggestion() -> None:
    # Given settings for an agent that is not there, and others for one that shall not be
    found = loaded(rpcutl={}, gone={"enabled": False}, iptables={"backend": "memory"})

    # Then the first are a problem
    assert found.problems == ["agents: settings for 'rpcutl', which is no agent here, did you mean rpcutil?"]


def test_an_agent_can_be_switched_off() -> None:
    # Given a configuration that switches an agent off
    found = loaded(rpcutil={"enabled": False}, discovery={"enabled": True}, iptables={"backend": "memory"})

    # Then it is not offered, the other is, and both are explained
    assert "rpcutil" not in found.agents
    assert "discovery" in found.agents
    assert found.inactive["rpcutil"] == "switched off in the configuration"
    assert "discovery" not in found.inactive
    assert found.problems == []


def test_an_agent_that_does_not_apply_is_inactive_with_its_reason(
    libdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an agent for a command that is not there
    text = GREETER.replace("import Agent", "import Agent, command_exists").replace(
        '    version = "2.0"', '    activate_when = command_exists("no-such-command")'
    )
    (libdir / "greeter.py").write_text(text)
    caplog.set_level("INFO")

    # When agents are loaded
    found = loaded(libdir, iptables={"backend": "memory"})

    # Then it is not offered, which is no problem
    assert "greeter" not in found.agents
    assert found.inactive["greeter"] == "no-such-command is not installed"
    assert found.problems == []
    assert "agent greeter is not offered: no-such-command is not installed" in caplog.text


def test_an_inactive_installed_agent_can_be_replaced(libdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an installed agent that does not apply, and one in libdir with its name that does
    class Greeter(Agent):
        activate_when = staticmethod(lambda settings: "not here")

    install(monkeypatch, greeter=Greeter)
    (libdir / "greeter.py").write_text(GREETER)

    # When agents are loaded
    found = loaded(libdir)

    # Then the second is offered
    assert found.agents["greeter"].schema().version == "2.0"
    assert found.inactive == {}


@pytest.mark.parametrize("error", [ImportError("no module"), SystemExit("bye"), AttributeError("no class")])
def test_an_entry_point_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    # Given a bad entry point before a good one
    class Fine(Agent):
        pass

    install(monkeypatch, bad=error, fine=Fine)

    # When agents are loaded
    found = loaded()

    # Then the good one is there, and the bad one a problem
    assert set(found.agents) == {"fine"}
    assert found.problems == [f"agent bad (somewhere:Something) was not loaded: {type(error).__name__}: {error}"]


def test_an_entry_point_that_is_no_agent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an entry point that leads to something else
    install(monkeypatch, bad=dict)

    # When agents are loaded
    found = loaded()

    # Then that is a problem
    assert found.agents == {}
    assert found.problems[0].startswith("agent in somewhere:Something was not loaded: AttributeError: ")


def test_a_libdir_that_is_not_there_is_named(tmp_path: Path) -> None:
    # Given a configured folder that does not exist
    found = loaded(tmp_path / "none", iptables={"backend": "memory"})

    # Then that is a problem, and the installed agents are there
    assert found.problems == [f"libdir: {tmp_path}/none is not a folder"]
    assert "rpcutil" in found.agents


def test_files_that_python_cannot_load_are_named(libdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file that has no loader
    (libdir / "greeter.py").write_text(GREETER)
    monkeypatch.setattr(origins.importlib.util, "spec_from_file_location", lambda *_, **__: None)

    # When agents are loaded
    found = loaded(libdir, iptables={"backend": "memory"})

    # Then that is a problem
    assert found.problems == [f"agents and data sources in {libdir}/greeter.py were not loaded: not a Python file"]


def test_two_folders_may_hold_files_of_the_same_name(libdir: Path, tmp_path: Path) -> None:
    # Given two folders with a file of the same name each
    other = tmp_path / "other"
    other.mkdir()
    (libdir / "mine.py").write_text(GREETER)
    (other / "mine.py").write_text(GREETER.replace("class Greeter", "class Second"))

    # When agents are loaded
    found = loaded(libdir, other, iptables={"backend": "memory"})

    # Then both are there
    assert {"greeter", "second"} <= set(found.agents)
    assert found.problems == []


@pytest.mark.parametrize("which", ["folder", "file"])
def test_code_that_others_may_write_is_not_loaded(libdir: Path, which: str) -> None:
    # Given an agent that anybody may change
    (libdir / "greeter.py").write_text(GREETER)
    (libdir if which == "folder" else libdir / "greeter.py").chmod(0o777)

    # When agents are loaded
    found = loaded(libdir, iptables={"backend": "memory"})

    # Then it is not there, and the problem says why
    assert "greeter" not in found.agents
    assert len(found.problems) == 1
    assert "others may write it (mode 777)" in found.problems[0]
