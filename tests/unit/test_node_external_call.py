# SPDX-License-Identifier: Apache-2.0
"""What an executable gets, what it may print, and what becomes of one that does neither well nor end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mco_node.external import external_agent
from mco_rpc import command
from mco_rpc.agent import Agent, deadline
from mco_rpc.current import Cancellation, Current, working_for
from mco_rpc.errors import (
    ActionAborted,
    Cancelled,
    Denied,
    InvalidData,
    MissingData,
    RequestError,
    SchemaError,
    TimedOut,
)
from mco_rpc.status import Status
from mco_rpc.strays import VARIABLE, end_strays, new_mark

PATIENCE_S = 60.0
ACTIONS = {
    "look": {
        "description": "Look",
        "inputs": {"what": {"type": "any", "description": "Anything", "optional": True}},
        "outputs": {
            "seen": {"type": "any", "description": "What was seen"},
            "count": {"type": "integer", "description": "How many", "default": 7},
        },
    },
    "change": {"description": "Change", "mutating": True, "noop": True, "outputs": {}},
}


def agent(
    folder: Path, script: str, settings: Mapping[str, Any] | None = None, node: Any = None, **external: Any
) -> Agent:
    plain = {
        "name": "probe",
        "version": "1",
        "description": "Probe.",
        "actions": ACTIONS,
        "external": {"protocol": 1, "settings": list(settings or {}), **external},
    }
    (folder / "probe.json").write_text(json.dumps(plain))
    file = folder / "probe.sh"
    file.write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}")
    file.chmod(0o755)
    (kind,) = external_agent(folder / "probe.json")
    return kind(node, settings)


def ask(made: Agent, action: str = "look", seconds: float = PATIENCE_S, **inputs: Any) -> dict[str, Any]:
    token = deadline.set(time.monotonic() + seconds)
    try:
        answer: dict[str, Any] = getattr(made, action)(**inputs)
        return made.schema().action(action).check_outputs("probe", answer)
    finally:
        deadline.reset(token)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    """A file for numbers of processes; those that still run are ended here."""
    file = tmp_path / "pids"
    yield file
    for pid in file.read_text().split() if file.exists() else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def await_end(pids: Path, count: int) -> list[int]:
    """Wait until the processes in the file have ended; return those that have not."""
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == count
    until = time.monotonic() + 10
    while any(map(is_running, found)) and time.monotonic() < until:
        os.sched_yield()
    return [pid for pid in found if is_running(pid)]


class FakeNode:
    identity = "web1"

    def facts(self) -> dict[str, Any]:
        return {"country": "de"}


class TestWhatItGets:
    def test_one_object_on_standard_input(self, tmp_path: Path) -> None:
        made = agent(tmp_path, f"cat > {tmp_path}/got; echo '{{}}'", {"folder": "/x"}, FakeNode(), facts=True)
        with working_for(Current("key=alice", request_id="r1", collective="c1")):
            ask(made, what={"a": [1, "ü"]})
        got = json.loads((tmp_path / "got").read_text())
        assert 0 < got.pop("deadline_s") <= PATIENCE_S
        assert got == {
            "protocol": 1,
            "kind": "request",
            "agent": "probe",
            "action": "look",
            "caller": "key=alice",
            "request_id": "r1",
            "collective": "c1",
            "identity": "web1",
            "noop": False,
            "facts": {"country": "de"},
            "settings": {"folder": "/x"},
            "data": {"what": {"a": [1, "ü"]}},
        }

    def test_facts_only_if_it_asks_for_them(self, tmp_path: Path) -> None:
        ask(agent(tmp_path, f"cat > {tmp_path}/got; echo '{{}}'", node=FakeNode()))
        assert "facts" not in json.loads((tmp_path / "got").read_text())

    @pytest.mark.parametrize(
        ("value", "text"), [("a b'\"$(id)", "a b'\"$(id)"), (7, "7"), (True, "true"), ([1, "x"], '[1, "x"]'), ("", "")]
    )
    def test_the_inputs_as_variables(self, tmp_path: Path, value: object, text: str) -> None:
        made = agent(tmp_path, f"printf %s \"${{MCO_INPUT_what-unset}}\" > {tmp_path}/got; echo '{{}}'")
        ask(made, what=value)
        assert (tmp_path / "got").read_text() == text

    def test_an_input_that_is_left_out_or_too_long_for_one_has_no_variable(self, tmp_path: Path) -> None:
        made = agent(tmp_path, 'printf \'{"data": {"seen": "%.5s"}}\' "${MCO_INPUT_what-unset}"')
        assert ask(made)["seen"] == "unset"
        assert ask(made, what="x" * 70_000)["seen"] == "unset"
        assert ask(made, what="x" * 60_000)["seen"] == "xxxxx"

    def test_nothing_of_the_nodes_own_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MCO_BROKERS", "amqp://lab:secret@h/")
        monkeypatch.setenv("LD_LIBRARY_PATH", "/tmp")
        monkeypatch.setenv("TZ", "Europe/Berlin")
        made = agent(tmp_path, f"pwd > {tmp_path}/cwd; env -0 > {tmp_path}/got; echo '{{}}'", {"key": "v"})
        ask(made)
        got = dict(line.split("=", 1) for line in (tmp_path / "got").read_text().split("\0") if line)
        assert (tmp_path / "cwd").read_text() == "/\n"
        assert not {name for name in got if not name.startswith("MCO_")} - {
            *("PATH", "HOME", "TZ", "LANG", "LC_ALL"),
            *("PWD", "OLDPWD", "SHLVL", "_"),  # made by the shell
        }
        assert got["TZ"] == "Europe/Berlin"
        assert got["MCO_SETTING_key"] == "v"
        assert got["MCO_CALL_ACTION"] == "look"
        assert got["MCO_CALL_NOOP"] == "false"
        assert "MCO_BROKERS" not in got

    def test_a_null_character_is_refused_before_it_runs(self, tmp_path: Path) -> None:
        made = agent(tmp_path, f"touch {tmp_path}/run; echo '{{}}'")
        with pytest.raises(InvalidData, match="input what: a null character"):
            ask(made, what="a\0b")
        assert not (tmp_path / "run").exists()

    def test_what_is_to_change_nothing_is_told_so(self, tmp_path: Path) -> None:
        made = agent(tmp_path, f"printf %s $MCO_CALL_NOOP > {tmp_path}/got; echo '{{}}'")
        with working_for(Current(is_noop=True)):
            ask(made, "change")
        assert (tmp_path / "got").read_text() == "true"

    def test_one_that_reads_nothing_is_fine(self, tmp_path: Path) -> None:
        assert ask(agent(tmp_path, "exec <&-; echo '{}'"), what="x" * 200_000) == {"seen": None, "count": 7}


class TestWhatItPrints:
    def test_an_answer_may_have_many_lines_and_gets_defaults(self, tmp_path: Path) -> None:
        made = agent(tmp_path, 'cat <<END\n{\n  "data": {\n    "seen": {"progress": "1"}\n  }\n}\nEND\n')
        assert ask(made) == {"seen": {"progress": "1"}, "count": 7}

    @pytest.mark.parametrize(
        ("printed", "wrong"),
        [
            ("", "printed no answer; expected"),
            ("hello", "did not print JSON: .*found 'hello'"),
            ('{"data": {}}{"data": {}}', "did not print JSON"),
            ("[1]", "an answer that is none: Expected `object`, got `array`"),
            ('{"dta": {}}', "unknown field `dta`"),
            ('{"data": [1]}', r"Expected `object`, got `array` - at `\$.data`"),
            ('{"data": {}, "status": 7}', r"status 7, which is not one of 0 \(ok\), 1 \(aborted\)"),
            ('{"data": {}, "status": "ok"}', "Expected `int`, got `str`"),
            ("\\377\\376", "did not print JSON"),
            ('{"progress": "only"}', "printed no answer"),
        ],
    )
    def test_what_is_no_answer_is_the_agents_fault(self, tmp_path: Path, printed: str, wrong: str) -> None:
        with pytest.raises(RequestError, match=wrong) as caught:
            ask(agent(tmp_path, f"printf '{printed}\\n'"))
        assert caught.value.status is Status.UNKNOWN_ERROR

    @pytest.mark.parametrize(("data", "wrong"), [('{"sen": 1}', "'sen'"), ('{"count": "x"}', "expected integer")])
    def test_outputs_are_those_of_the_schema(self, tmp_path: Path, data: str, wrong: str) -> None:
        with pytest.raises(SchemaError, match=wrong):
            ask(agent(tmp_path, f"echo '{{\"data\": {data}}}'"))

    @pytest.mark.parametrize(
        ("status", "kind"), [(1, ActionAborted), (3, MissingData), (4, InvalidData), (5, RequestError), (6, Denied)]
    )
    def test_a_failure_is_of_the_kind_that_it_says(self, tmp_path: Path, status: int, kind: type[RequestError]) -> None:
        answer = json.dumps({"status": status, "message": "no such thing", "data": {"count": 3}})
        for exit_status in (0, 1):
            with pytest.raises(kind, match=r"^no such thing$") as caught:
                ask(agent(tmp_path, f"echo '{answer}'; exit {exit_status}"))
            assert (caught.value.status, caught.value.data) == (status, {"count": 3})

    def test_a_failures_outputs_are_those_of_the_schema_too(self, tmp_path: Path) -> None:
        with pytest.raises(SchemaError, match=r"^it broke; beside that, probe#look returned 'x'"):
            ask(agent(tmp_path, """echo '{"status": 1, "message": "it broke", "data": {"x": 1}}'"""))

    def test_an_exit_status_is_never_overlooked(self, tmp_path: Path) -> None:
        with pytest.raises(ActionAborted, match="answered ok, and ended with status 3: well"):
            ask(agent(tmp_path, "echo well >&2; echo '{}'; exit 3"))

    def test_without_an_answer_the_last_that_it_said_is_the_reason(self, tmp_path: Path) -> None:
        script = 'for n in 1 2 3 4 5 6 7; do echo "line $n" >&2; done; exit 2'
        with pytest.raises(ActionAborted, match=r"status 2: line 3 / line 4 / line 5 / line 6 / line 7$"):
            ask(agent(tmp_path, script))
        with pytest.raises(ActionAborted, match=r"status -9: it said nothing"):
            ask(agent(tmp_path, "kill -9 $$"))

    @pytest.mark.parametrize("stream", [1, 2])
    def test_it_may_print_more_than_is_read(self, tmp_path: Path, stream: int) -> None:
        script = f"head -c 3000000 /dev/zero | tr '\\0' x >&{stream}; echo '{{}}'"
        if stream == 1:
            with pytest.raises(RequestError, match="printed more than the 262,144 bytes"):
                ask(agent(tmp_path, script))
        else:
            assert ask(agent(tmp_path, script))["count"] == 7

    def test_an_interpreter_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ActionAborted, match=r"cannot be started: No such file.*has to name an interpreter"):
            ask(agent(tmp_path, "#!/no/such/interpreter\n"))

    def test_progress_and_standard_error_are_told_to_who_follows(self, tmp_path: Path) -> None:
        told: list[tuple[str, str, Mapping[str, Any]]] = []
        script = """echo '{"progress": "one"}'; echo; echo '{"progress": "two", "data": {"n": 2}}'
        echo said >&2; printf rest >&2; echo '{"data": {"seen": 1}}'"""
        with working_for(Current(is_followed=True, tell=lambda *said: told.append(said))):
            assert ask(agent(tmp_path, script))["seen"] == 1
        assert [said for said in told if said[0] == "progress"] == [
            ("progress", "one", {}),
            ("progress", "two", {"n": 2}),
        ]
        assert "".join(text for stream, text, _ in told if stream == "stderr") == "said\nrest"

    def test_many_lines_of_progress_are_not_too_much(self, tmp_path: Path) -> None:
        line = json.dumps({"progress": "x" * 1000})
        script = f"i=0; while [ $i -lt 400 ]; do echo '{line}'; i=$((i+1)); done; echo '{{}}'"
        assert ask(agent(tmp_path, script))["count"] == 7


STRAYS = """
sleep 300 & echo $! >> {pids}
setsid sh -c 'echo $$ >> {pids}; exec sleep 300' &
setsid sh -c 'trap "" TERM; echo $$ >> {pids}; (exec setsid sh -c "echo \\$\\$ >> {pids}; exec sleep 300") & wait' &
while [ "$(wc -w < {pids})" -lt 4 ]; do :; done
echo '{{"progress": "ready"}}'
exec sleep 300
"""


class TestItsEnd:
    def test_the_deadline_ends_all_it_started_also_in_sessions_of_their_own(
        self, tmp_path: Path, pids: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a clock that comes to the deadline when all have begun
        gone_s = [0.0]
        real = time.monotonic
        monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: real() + gone_s[0]))
        request = Current(is_followed=True, tell=lambda *_: gone_s.append(gone_s.pop() + 2 * PATIENCE_S))
        with working_for(request), pytest.raises(TimedOut, match=r"probe#look: .*did not end before its deadline"):
            ask(agent(tmp_path, STRAYS.format(pids=pids)))
        assert await_end(pids, 4) == []

    def test_who_asked_can_end_it_too(self, tmp_path: Path, pids: Path) -> None:
        wish = Cancellation()
        request = Current(is_followed=True, cancellation=wish, tell=lambda *_: wish.cancel("cancelled"))
        with working_for(request), pytest.raises(Cancelled):
            ask(agent(tmp_path, STRAYS.format(pids=pids)))
        assert await_end(pids, 4) == []

    def test_what_an_agent_that_ends_well_leaves_behind_runs_on(self, tmp_path: Path, pids: Path) -> None:
        ask(agent(tmp_path, f"setsid sleep 300 >/dev/null 2>&1 & echo $! > {pids}; echo '{{}}'"))
        assert is_running(int(pids.read_text()))

    def test_one_change_at_a_time(self, tmp_path: Path) -> None:
        made = agent(tmp_path, "echo '{}'")
        turn = made._turns.one("another", 1)  # type: ignore[attr-defined]
        with turn:
            with pytest.raises(ActionAborted, match="another change of this agent is still at work; nothing was done"):
                ask(made, "change", seconds=0.05)
            assert ask(made, "look")["count"] == 7
        assert ask(made, "change") == {}
        assert ask(made, "change") == {}

    def test_a_mark_that_nobody_carries_ends_nobody(self) -> None:
        assert VARIABLE not in os.environ
        assert end_strays(new_mark()) == 0
