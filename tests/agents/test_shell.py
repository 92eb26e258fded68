# SPDX-License-Identifier: Apache-2.0
"""The shell agent: off by default, no shell of its own, and where its commands are limited nothing gets around that."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_agents.shell import WHY_OFF, Shell
from mco_node.loader import Loaded, load
from mco_rpc.agent import deadline
from mco_rpc.config import NodeSettings
from mco_rpc.current import Current, working_for
from mco_rpc.errors import ActionAborted, ConfigError, Denied, InvalidData, TimedOut

PATIENCE_S = 60.0


def run(command: object, settings: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    made = Shell(settings=settings)
    token = deadline.set(time.monotonic() + PATIENCE_S)
    try:
        data = made.schema().action("run").check_inputs("shell", {"command": command, **inputs})
        return made.schema().action("run").check_outputs("shell", made.run(**data))
    finally:
        deadline.reset(token)


def loaded(**agents: dict[str, Any]) -> Loaded:
    return load(NodeSettings(agents=agents), node=None)  # type: ignore[arg-type]


class TestOff:
    def test_it_is_not_offered_unless_it_is_switched_on_and_the_reason_says_how(self) -> None:
        for settings in ({}, {"shell": {"allow": ["uptime"]}}):
            found = loaded(**settings)
            assert "shell" not in found.agents
            assert found.inactive["shell"] == WHY_OFF
            assert "enabled: true" in WHY_OFF
            assert not [problem for problem in found.problems if "shell" in problem]

    def test_switched_on_it_is_and_switched_off_again_it_is_not(self) -> None:
        assert isinstance(loaded(shell={"enabled": True}).agents["shell"], Shell)
        assert loaded(shell={"enabled": False}).inactive["shell"] == "switched off in the configuration"


class TestRun:
    def test_a_list_is_words_and_a_text_is_split(self) -> None:
        done = run(["printf", "%s|", "a b", "$HOME", ";", "*"])
        assert (done["exitcode"], done["stdout"], done["is_truncated"]) == (0, "a b|$HOME|;|*|", False)
        assert run("printf '%s|' 'a b' $HOME ; *")["stdout"] == "a b|$HOME|;|*|"
        assert done["took_s"] >= 0

    def test_a_failure_is_an_answer(self) -> None:
        done = run(["sh", "-c", "echo out; echo err >&2; exit 7"])
        assert (done["exitcode"], done["stdout"], done["stderr"]) == (7, "out\n", "err\n")

    def test_what_is_no_command_is_refused(self) -> None:
        for command in ("", "  ", [], [""], ["a", 1], 7, {"a": "b"}, "'", ["a\0b"], "x" * 5000, ["x"] * 5000):
            with pytest.raises(InvalidData, match=r"^shell#run: (input )?command"):
                run(command)

    def test_a_program_that_is_not_there_is_said(self) -> None:
        with pytest.raises(ActionAborted, match="`no-such-program` cannot be started"):
            run("no-such-program")

    def test_its_folder_and_its_variables_are_those_that_were_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MCO_BROKERS", "amqp://lab:secret@h/")
        done = run("env", cwd=str(tmp_path), environment={"GREETING": "hi", "LANG": "C"})
        assert {"GREETING=hi", "LANG=C"} <= set(done["stdout"].splitlines())
        assert "secret" not in done["stdout"]
        assert run("pwd")["stdout"] == "/\n"
        assert run("pwd", cwd=str(tmp_path))["stdout"] == f"{tmp_path}\n"
        with pytest.raises(InvalidData, match="cwd: there is no folder"):
            run("pwd", cwd="/no/such")
        for wrong in ({"a=b": "x"}, {"": "x"}, {"A": 1}, {"A": "x\0"}):
            with pytest.raises(InvalidData, match=r"environment: .* is no variable with a text"):
                run("env", environment=wrong)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
    def test_it_may_run_as_another_user(self) -> None:
        assert run("id -un", user="nobody")["stdout"] == "nobody\n"
        assert "HOME=/nonexistent\n" in run("env", user="nobody")["stdout"]
        assert run("id -Gn", user="nobody")["stdout"] == "nogroup\n"
        with pytest.raises(InvalidData, match="there is no user 'nobody-at-all'"):
            run("id", user="nobody-at-all")

    def test_asked_what_it_would_do_it_says_the_words_and_runs_nothing(self, tmp_path: Path) -> None:
        with working_for(Current(is_noop=True)):
            done = run(f"touch '{tmp_path}/a b'")
        assert (done["words"], done["exitcode"]) == (["touch", f"{tmp_path}/a b"], None)
        assert not list(tmp_path.iterdir())

    def test_much_output_is_cut(self) -> None:
        done = run(["sh", "-c", "head -c 400000 /dev/zero | tr '\\0' x"])
        assert (done["is_truncated"], len(done["stdout"])) == (True, 256 * 1024)

    def test_who_follows_sees_it_while_it_runs(self) -> None:
        told: list[str] = []
        with working_for(Current(is_followed=True, tell=lambda stream, text, _: told.append(f"{stream}: {text}"))):
            run(["sh", "-c", "echo one; echo two >&2"])
        assert sorted(told) == ["stderr: two\n", "stdout: one\n"]


class TestItsEnd:
    @pytest.fixture
    def left_behind(self, tmp_path: Path) -> Iterator[Path]:
        file = tmp_path / "pid"
        yield file
        if file.exists() and file.read_text().strip():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)

    def test_its_own_time_limit_ends_all_it_started(self, left_behind: Path) -> None:
        script = f"setsid sh -c 'echo $$ > {left_behind}; exec sleep 300' & while [ ! -s {left_behind} ]; do :; done; "
        with pytest.raises(TimedOut):
            run(["sh", "-c", script + "exec sleep 300"], timeout_s=2)
        pid = int(left_behind.read_text())
        until = time.monotonic() + 10
        while _is_running(pid) and time.monotonic() < until:
            os.sched_yield()
        assert not _is_running(pid)

    @pytest.mark.parametrize("timeout_s", [0, -1])
    def test_a_limit_is_more_than_nothing(self, timeout_s: float) -> None:
        with pytest.raises(InvalidData, match="timeout_s: expected more than 0"):
            run("true", timeout_s=timeout_s)


class TestAllow:
    SETTINGS: dict[str, Any] = {"allow": ["uptime", "echo a?c *", "ls -l *", "printf ..."]}  # noqa: RUF012

    @pytest.mark.parametrize(
        "command", ["uptime", ["uptime"], "echo abc x", "ls -l /", "printf x", "printf %s -x y", "printf"]
    )
    def test_what_is_like_a_pattern_word_by_word_runs(self, command: object) -> None:
        run(command, self.SETTINGS)

    @pytest.mark.parametrize(
        "command",
        ["uptime -p", "/usr/bin/uptime", "./uptime", "echo abc", "echo abc x y", "echo ab x", "echo abc -n", "ls -la /",
         "ls / -l", "sh -c uptime", "uptim", ["uptime; id"], ["echo", "abc x", "y", "z"]],
    )  # fmt: skip
    def test_nothing_else_does(self, command: object) -> None:
        with pytest.raises(Denied, match="is none of what this node allows: `uptime`, `echo"):
            run(command, self.SETTINGS)

    @pytest.mark.parametrize(
        "inputs", [{"environment": {"PATH": "/tmp"}}, {"environment": {"LD_PRELOAD": "x"}}, {"cwd": "/tmp"}]
    )
    def test_nor_what_would_make_another_program_of_it(self, inputs: dict[str, Any]) -> None:
        with pytest.raises(Denied, match="neither environment nor cwd"):
            run("uptime", self.SETTINGS, **inputs)

    def test_an_empty_list_allows_nothing(self) -> None:
        with pytest.raises(Denied):
            run("uptime", {"allow": []})

    @pytest.mark.parametrize("allow", ["uptime", 7, [""], ["'"], ["..."], ["* x"], ["  "]])
    def test_a_list_that_cannot_be_meant_is_an_error(self, allow: object) -> None:
        with pytest.raises(ConfigError, match="agents: shell: allow"):
            Shell(settings={"allow": allow})


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
