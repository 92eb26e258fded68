# SPDX-License-Identifier: Apache-2.0
"""External agents are found, or it is said what is wrong with which key of which file; only trusted files are run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mco_node.external import external_agent
from mco_node.external_files import external_files
from mco_node.loader import Loaded, load
from mco_rpc.agent import Agent
from mco_rpc.config import NodeSettings
from mco_rpc.errors import ConfigError, SchemaError

ECHO = '#!/bin/sh\nprintf \'{"data": {"text": "%s"}}\\n\' "$MCO_INPUT_text"\n'
ACTION = {
    "description": "Say it",
    "inputs": {"text": {"type": "string", "description": "What", "optional": True}},
    "outputs": {"text": {"type": "string", "description": "The same"}},
}


def schema(**changed: Any) -> dict[str, Any]:
    made = {
        "name": "echo",
        "version": "1.0",
        "description": "Say things.",
        "external": {"protocol": 1},
        "actions": {"say": ACTION},
    }
    return {key: value for key, value in (made | changed).items() if value is not None}


def write(folder: Path, plain: object, *, script: str = ECHO, name: str = "echo.sh", mode: int = 0o755) -> Path:
    """Write an agent; return its JSON file."""
    folder.mkdir(exist_ok=True)
    file = folder / "echo.json"
    file.write_text(plain if isinstance(plain, str) else json.dumps(plain))
    (folder / name).write_text(script)
    (folder / name).chmod(mode)
    return file


def only(file: Path) -> type[Agent]:
    (made,) = external_agent(file)
    return made


def loaded(folder: Path, **agents: dict[str, Any]) -> Loaded:
    return load(NodeSettings(libdir=(str(folder),), agents=agents), node=None)  # type: ignore[arg-type]


class TestFound:
    @pytest.mark.parametrize("name", ["echo", "echo.sh", "echo.pl", "echo.2"])
    def test_the_executable_may_have_any_ending(self, tmp_path: Path, name: str) -> None:
        kind = only(write(tmp_path, schema(), name=name))
        assert kind.schema().name == "echo"
        assert kind().say(text="hi") == {"text": "hi"}  # type: ignore[attr-defined]

    def test_both_may_lie_in_a_folder_of_their_own_and_there_python_is_a_language_like_others(
        self, tmp_path: Path
    ) -> None:
        file = write(tmp_path / "echo", schema(), name="echo.py")
        assert external_files(tmp_path) == [(file, tmp_path / "echo" / "echo.py")]
        assert list(loaded(tmp_path).agents) == [*loaded(tmp_path / "..").agents, "echo"]

    def test_what_an_editor_left_is_not_asked(self, tmp_path: Path) -> None:
        file = write(tmp_path, schema())
        for left_over in ("echo.sh~", "echo.bak", "echo.dpkg-old", "echo.orig"):
            (tmp_path / left_over).write_text(ECHO)
            (tmp_path / left_over).chmod(0o755)
        assert external_files(tmp_path) == [(file, tmp_path / "echo.sh")]

    def test_the_file_may_name_its_executable(self, tmp_path: Path) -> None:
        file = write(tmp_path, schema(external={"protocol": 1, "command": "other"}), name="other")
        assert only(file)().say(text="hi") == {"text": "hi"}  # type: ignore[attr-defined]

    def test_another_json_file_is_somebody_elses(self, tmp_path: Path) -> None:
        (tmp_path / "package.json").write_text('{"name": "package"}')
        (tmp_path / "broken.json").write_text("{")
        (tmp_path / "inner").mkdir()
        (tmp_path / "inner" / "other.json").write_text(json.dumps(schema()))
        assert loaded(tmp_path).problems == []

    def test_a_node_offers_it_with_its_settings(self, tmp_path: Path) -> None:
        write(tmp_path, schema(external={"protocol": 1, "settings": ["prefix"]}))
        found = loaded(tmp_path, echo={"prefix": "x"})
        assert found.agents["echo"].settings == {"prefix": "x"}
        (problem,) = loaded(tmp_path, echo={"prefx": "x"}).problems
        assert "unknown setting 'prefx', did you mean prefix" in problem

    def test_it_is_loaded_again_when_either_file_changes(self, tmp_path: Path) -> None:
        file = write(tmp_path, schema())
        before = loaded(tmp_path)
        stamps = [before.stamps]
        for each in (file, tmp_path / "echo.sh"):
            each.write_text(each.read_text() + "\n")
            stamps.append(loaded(tmp_path).stamps)
        assert stamps[0] != stamps[1] != stamps[2]

    def test_one_that_is_broken_later_stays_as_it_was_and_the_reason_is_said(self, tmp_path: Path) -> None:
        file = write(tmp_path, schema())
        before = loaded(tmp_path)
        good = file.read_text()
        settings = NodeSettings(libdir=(str(tmp_path),))
        file.write_text(good.replace('"protocol": 1', '"protocol": 9'))
        after = load(settings, None, before)  # type: ignore[arg-type]
        assert after.agents["echo"] is before.agents["echo"]
        (problem,) = after.problems
        assert "external.protocol: expected 1, found 9" in problem
        assert "the one that was loaded before is kept" in problem
        file.write_text(good.replace("Say things.", "Say other things."))
        mended = load(settings, None, after)  # type: ignore[arg-type]
        assert (mended.agents["echo"].schema().description, mended.problems) == ("Say other things.", [])
        file.unlink()
        assert "echo" not in load(settings, None, mended).agents  # type: ignore[arg-type]

    @pytest.mark.parametrize("method", ["iterdir", "is_file"])
    def test_a_folder_that_is_closed_to_the_node_does_not_close_the_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        write(tmp_path, schema())
        write(tmp_path / "echo", schema())
        real = getattr(Path, method)

        def closed(path: Path) -> Any:
            if "echo" in path.parts[-2:] and path != tmp_path / "echo.json" and path.parent != tmp_path.parent:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(Path, method, closed)
        found = [files[0] for files in external_files(tmp_path)]
        assert tmp_path / "echo.json" in found


class TestSchema:
    def test_an_action_has_the_agents_timeout_unless_it_says_otherwise(self, tmp_path: Path) -> None:
        actions = {"say": ACTION, "soon": {**ACTION, "timeout_s": 3}}
        made = only(write(tmp_path, schema(timeout_s=60, actions=actions))).schema()
        assert {name: each.timeout_s for name, each in made.actions.items()} == {"say": 60, "soon": 3}

    def test_clients_learn_it_like_any_other(self, tmp_path: Path) -> None:
        first = only(write(tmp_path, schema())).schema()
        assert type(first).from_json(first.to_json()) == first
        assert first.digest != only(write(tmp_path, schema(description="Other."))).schema().digest

    @pytest.mark.parametrize(
        ("changed", "wrong"),
        [
            ({"external": {"protocol": 2}}, "external.protocol: expected 1, found 2"),
            ({"external": {}}, "external: Object missing required field `protocol`"),
            ({"external": {"protocol": 1, "comand": "x"}}, "external: Object contains unknown field `comand`"),
            ({"external": {"protocol": 1, "facts": 1}}, "external.facts: Expected `bool`, got `int`"),
            ({"external": {"protocol": 1, "command": "../x"}}, "external.command: '../x' is no name of a file"),
            ({"name": "other"}, "name: it calls itself 'other', expected 'echo'"),
            ({"version": None}, "Object missing required field `version`"),
            ({"description": ""}, "description: the agent has none"),
            ({"actions": {}}, "actions: there is none"),
            ({"actions": {"say": {**ACTION, "inputs": {"x": 1}}}}, "actions.say.inputs.x: Expected `object`"),
            (
                {"actions": {"say": {**ACTION, "descripton": "x"}}},
                "actions.say: unknown key 'descripton', did you mean description",
            ),
            ({"actions": {"say": {**ACTION, "timeout_s": "x"}}}, "actions.say.timeout_s: Expected `float`"),
            ({"actions": {"say": {**ACTION, "outputs": {"y": {}}}}}, "actions.say.outputs.y: Object missing"),
            ({"actions": {"say": {**ACTION, "inputs": 1}}}, "actions.say.inputs: Expected `object`"),
            ({"actions": {"say": 1}}, "actions.say: Expected `object`"),
            ({"actions": 1}, "actions: Expected `object`"),
            ({"actions": {"run": ACTION}}, "actions.run: every agent has something of this name"),
            ({"actions": {"__init__": ACTION}}, "actions.__init__: small letters, digits and _"),
            ({"actions": {"class": ACTION}}, "actions.class: small letters"),
            ({"actions": {"say": {**ACTION, "noop": True}}}, "actions.say.noop: only what is `mutating`"),
            (
                {"actions": {"say": {**ACTION, "inputs": {"a-b": {"type": "string", "description": "x"}}}}},
                "actions.say.inputs.a-b: letters, digits and _",
            ),
            (
                {"actions": {"say": {**ACTION, "inputs": {"a": {"type": "strin", "description": "x"}}}}},
                "echo#say input a: type 'strin' is not one of",
            ),
            ({"requires": "99"}, "requires: it asks for version 99"),
        ],
    )
    def test_what_is_unsound_is_named_with_its_key(self, tmp_path: Path, changed: dict[str, Any], wrong: str) -> None:
        with pytest.raises(SchemaError) as caught:
            external_agent(write(tmp_path, schema(**changed)))
        assert wrong in str(caught.value)

    def test_all_that_is_wrong_is_said_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(SchemaError, match=r"protocol.*description"):
            external_agent(write(tmp_path, schema(external={"protocol": 0}, description="")))

    def test_a_node_names_the_file_and_goes_on(self, tmp_path: Path) -> None:
        file = write(tmp_path, '{"name":\n"echo",}')
        (problem,) = loaded(tmp_path).problems
        assert problem == (
            f"external agent in {file} was not loaded: "
            "line 2: not JSON: Expecting property name enclosed in double quotes"
        )


class TestTrust:
    def test_nobody_else_may_write_either_file_or_their_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "echo"
        file = write(folder, schema())
        for each, mode in ((file, 0o666), (folder / "echo.sh", 0o777), (folder, 0o777)):
            before = each.stat().st_mode
            each.chmod(mode)
            with pytest.raises(ConfigError, match="others may write it"):
                external_agent(file)
            each.chmod(before)
        assert only(file)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_they_belong_to_root_or_to_the_node(self, tmp_path: Path) -> None:
        file = write(tmp_path, schema())
        os.chown(tmp_path / "echo.sh", 12345, 0)
        with pytest.raises(ConfigError, match=r"echo\.sh: it belongs to user 12345"):
            external_agent(file)

    def test_what_was_made_writable_or_taken_away_since_is_not_run(self, tmp_path: Path) -> None:
        agent = only(write(tmp_path, schema()))()
        (tmp_path / "echo.sh").chmod(0o777)
        with pytest.raises(Exception, match=r"it was not run: .*others may write it"):
            agent.say()  # type: ignore[attr-defined]
        (tmp_path / "echo.sh").unlink()
        with pytest.raises(Exception, match=r"echo\.sh is gone"):
            agent.say()  # type: ignore[attr-defined]

    def test_an_executable_has_to_be_there_and_only_one(self, tmp_path: Path) -> None:
        file = write(tmp_path, schema(), mode=0o644)
        with pytest.raises(ConfigError, match=r"no executable echo.*chmod \+x"):
            external_agent(file)
        write(tmp_path, schema(), name="echo.pl")
        write(tmp_path, schema(), name="echo")
        with pytest.raises(ConfigError, match=r"echo, echo\.pl are all executable; name the right one"):
            external_agent(file)
        with pytest.raises(ConfigError, match=r"echo\.sh is not executable"):
            external_agent(write(tmp_path, schema(external={"protocol": 1, "command": "echo.sh"}), mode=0o644))
        with pytest.raises(ConfigError, match=r"there is no file .*gone"):
            external_agent(write(tmp_path, schema(external={"protocol": 1, "command": "gone"})))


class TestActivation:
    @pytest.mark.parametrize(
        ("needs", "why_not"),
        [
            ({"commands": ["sh"], "files": ["/"]}, None),
            ({"commands": ["sh", "no-such-command"]}, "no-such-command is not installed"),
            ({"files": ["/no/such/file"]}, "/no/such/file is not there"),
        ],
    )
    def test_by_what_is_there(self, tmp_path: Path, needs: dict[str, Any], why_not: str | None) -> None:
        external = {"protocol": 1, "activate_if": needs}
        assert only(write(tmp_path, schema(external=external))).activate_when({}) == why_not

    def test_by_what_the_executable_says(self, tmp_path: Path) -> None:
        script = '#!/bin/sh\n[ "$MCO_CALL_KIND" = activation_check ] || exit 9\n[ "$MCO_SETTING_on" = true ] || '
        script += "{ echo not here >&2; exit 1; }\n"
        external = {"protocol": 1, "activation_check": True, "settings": ["on"]}
        kind = only(write(tmp_path, schema(external=external), script=script))
        assert kind.activate_when({"on": True}) is None
        why_not = kind.activate_when({"on": False})
        assert why_not is not None
        assert why_not.endswith("echo.sh ended with status 1: not here")

    def test_unasked_the_executable_is_not_run(self, tmp_path: Path) -> None:
        kind = only(write(tmp_path, schema(), script=f"#!/bin/sh\ntouch {tmp_path}/run\n"))
        assert kind.activate_when({}) is None
        assert not (tmp_path / "run").exists()

    def test_a_check_that_hangs_is_ended(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mco_node.external.ACTIVATION_TIMEOUT_S", 0.1)
        external = {"protocol": 1, "activation_check": True}
        kind = only(write(tmp_path, schema(external=external), script="#!/bin/sh\nexec sleep 60\n"))
        assert "did not end before its deadline" in (kind.activate_when({}) or "")
