# SPDX-License-Identifier: Apache-2.0
"""The process agent on real processes: who is listed, who is counted, and who is signalled and who never."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_agents.process import Process
from mco_client.rpc import RpcClient
from mco_host import processes, signals
from mco_host.process_rows import rows
from mco_lab.memory import MemoryFleet
from mco_rpc.current import Current, working_for
from mco_rpc.errors import ActionAborted, Cancelled, ConfigError, InvalidData, MissingData, RequestError
from mco_rpc.messages import Reply, encode

Start = Callable[..., subprocess.Popen[bytes]]
# Nobody else's, another worker of this suite included; a process name has at most 15 characters.
NAME = f"mcop{os.getpid()}_"
OBEYS = "echo; read x"
IGNORES = "trap '' TERM; echo; read x"


def ask(action: str, /, settings: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    """Call an action as a node does: inputs and outputs are checked, and the answer can be sent."""
    agent = Process(settings=settings or {})
    schema = agent.schema().action(action)
    made = schema.check_outputs("process", getattr(agent, action)(**schema.check_inputs("process", data)))
    encode(Reply(id="1", collective="c", agent="process", action=action, sender="s", sent_at=0.0, data=made))
    return made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a program under a name of its own; it says a line when it runs."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *arguments: str, script: str = OBEYS) -> subprocess.Popen[bytes]:
        program = tmp_path / name
        if not program.exists():
            shutil.copy2(shutil.which("sh") or "/bin/sh", program)
        command = [str(program), "-c", script, name, *arguments]
        made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(made)
        assert made.stdout is not None
        made.stdout.readline()
        return made

    yield begin
    for process in started:
        with process:  # closes its pipes, and waits
            process.kill()


def test_a_listed_process_is_as_ps_shows_it(start: Start, tmp_path: Path) -> None:
    # Given a process
    pid = start(NAME, "an argument", "--x").pid

    # When it is listed
    listed = ask("list", pattern=f"{NAME} an argument")

    # Then it is alone, and as ps says
    (seen,) = listed["processes"]
    assert (listed["count"], listed["is_cut"]) == (1, False)
    said = subprocess.run(
        ["ps", "-o", "pid=,ppid=,user:64=,nlwp=,comm=", "-p", str(pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert [str(seen[key]) for key in ("pid", "ppid", "user", "threads", "name")] == said
    assert seen["state"] == "sleeping"
    assert seen["command"] == str(tmp_path / NAME)
    assert seen["args"] == f"-c {OBEYS} {NAME} an argument --x"
    assert seen["rss_bytes"] > 0
    assert seen["cpu_percent"] >= 0
    assert 0 <= seen["memory_percent"] < 100
    assert seen["started_at"] + seen["age_s"] == pytest.approx(time.time(), abs=60)


def test_who_is_asked_for_is_listed_and_nobody_else(start: Start) -> None:
    # Given two processes, of another name each
    one, two = start(NAME).pid, start(f"{NAME}x").pid
    me = pwd.getpwuid(os.getuid()).pw_name

    def pids(**data: Any) -> list[int]:
        return [process["pid"] for process in ask("list", **data)["processes"]]

    # Then patterns and users choose among them
    assert pids(pattern=NAME, sort="pid") == sorted((one, two))
    assert pids(pattern=f"{NAME}x") == [two]
    assert pids(pattern=NAME, user=me, sort="name") == [one, two]
    assert pids(pattern=NAME, user=str(os.getuid())) == sorted((one, two))
    assert pids(pattern=NAME, user="4000000000") == []
    assert ask("list", pattern=NAME, limit=1) | {"processes": []} == {"processes": [], "count": 2, "is_cut": True}


def test_lists_are_in_the_order_that_is_asked_for() -> None:
    for sort, key, sign in (("cpu", "cpu_percent", -1), ("memory", "rss_bytes", -1), ("age", "age_s", -1)):
        values = [sign * process[key] for process in ask("list", sort=sort)["processes"]]
        assert values == sorted(values)


def test_a_measured_share_of_a_processor_is_of_the_time_of_the_measurement(start: Start) -> None:
    # Given a process that computes, and one that waits
    busy = start(NAME, script="echo; while :; do :; done").pid
    lazy = start(f"{NAME}x").pid

    # When that is measured, then only one of them used a processor
    measured = {each["pid"]: each["cpu_percent"] for each in ask("list", pattern=NAME, measure_s=0.5)["processes"]}
    assert measured[busy] > 0
    assert measured[lazy] == 0


def test_a_share_is_of_what_was_used_since_the_first_look() -> None:
    own = processes.one(os.getpid())
    assert own is not None
    # Given that half of the last 10,000 seconds was used by it
    earlier = own._replace(computed=own.computed - 5_000 * processes.ticks_per_s())
    (row,) = rows([own], {own.pid: earlier}, processes.up_s() - 10_000)
    assert row["cpu_percent"] == pytest.approx(50, abs=1)


def test_a_share_is_not_measured_against_an_earlier_process_of_the_number() -> None:
    own = processes.one(os.getpid())
    assert own is not None
    earlier = own._replace(started=own.started - 1, computed=own.computed + 10**6)
    (row,) = rows([own], {own.pid: earlier}, 0.0)
    assert row["cpu_percent"] >= 0


def test_zombies_are_listed_as_such_and_not_counted(start: Start) -> None:
    # Given a process that has ended, and whose parent has not asked how
    process = start(NAME)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    # Then it is one of the zombies, and counts nowhere else
    zombies = ask("list", just_zombies=True)["processes"]
    assert {each["state"] for each in zombies} == {"zombie"}
    (zombie,) = [each for each in zombies if each["pid"] == process.pid]
    assert (zombie["name"], zombie["state"]) == (NAME, "zombie")
    assert ask("count", pattern=NAME) == {"count": 0, "pids": []}
    assert ask("signal", pattern=NAME)["before"] == []


def test_arguments_are_hidden_where_the_node_says_so(start: Start) -> None:
    # Given a process with a secret among its arguments
    pid = start(NAME, "--password=hunter2").pid
    hidden = {"command_lines": False}

    # Then it is told, and found by, unless the administrator hides it
    assert ask("count", pattern="hunter2")["pids"] == [pid]
    assert ask("count", hidden, pattern="hunter2") == {"count": 0, "pids": []}
    (seen,) = ask("list", hidden, pattern=f"^{NAME}$")["processes"]
    assert (seen["command"], seen["args"]) == (NAME, None)
    assert "hunter2" not in str(ask("status", hidden, pid=pid))


def test_the_status_of_one_has_more(start: Start) -> None:
    pid = start(NAME).pid
    told = ask("status", pid=pid)
    assert told["exists"]
    process = told["process"]
    assert process["executable"] == str(Path(f"/proc/{pid}/exe").readlink())
    assert process["folder"] == str(Path.cwd())
    assert process["open_files"] == len(list(Path(f"/proc/{pid}/fd").iterdir()))
    assert ask("status", pid=(1 << 22)) == {"exists": False, "process": None}


def test_all_that_a_pattern_is_found_in_end_and_who_does_not_is_told(start: Start) -> None:
    # Given a process that obeys, and one that does not
    obeys, ignores = start(NAME), start(f"{NAME}x", script=IGNORES)
    both = sorted((obeys.pid, ignores.pid))

    # When both are asked to end
    told = ask("signal", pattern=NAME, wait_s=0.3)

    # Then one is left, and is told
    expected = {"changed": True, "before": both, "after": [ignores.pid], "signalled": both, "spared": [], "failed": {}}
    assert told == expected
    assert obeys.wait() == -signal.SIGTERM

    # And a stronger signal ends it, which is waited for no longer than it takes
    told = ask("signal", pid=ignores.pid, signal="KILL", wait_s=10)
    assert (told["before"], told["after"]) == ([ignores.pid], [])
    assert ignores.wait() == -signal.SIGKILL

    # And a second time there is nothing to do
    again = ask("signal", pid=ignores.pid)
    assert (again["changed"], again["before"], again["after"]) == (False, [], [])


def test_noop_says_who_would_get_it(start: Start) -> None:
    process = start(NAME)
    with working_for(Current(is_noop=True)):
        told = ask("signal", pattern=NAME, signal="KILL")
    assert (told["changed"], told["before"], told["after"]) == (True, [process.pid], None)
    assert told["signalled"] == []
    assert process.poll() is None


def test_the_first_process_this_one_and_those_above_it_are_spared() -> None:
    # When one of them is named, then it is refused (and noop, should that fail, keeps us alive)
    with working_for(Current(is_noop=True)):
        for pid in (1, 2, os.getpid(), os.getppid()):
            if processes.one(pid) is None:
                continue
            with pytest.raises(ActionAborted, match=r"will not signal .* only with force=true"):
                ask("signal", pid=pid)
            assert ask("signal", pid=pid, force=True)["before"] == [pid]


def test_who_is_spared_among_others_is_told(start: Start) -> None:
    other = start(NAME).pid
    with working_for(Current(is_noop=True)):
        own = re.escape(processes.command_line(os.getpid())[:200])
        told = ask("signal", pattern=f"{NAME}|{own}", user=str(os.getuid()))
    assert other in told["before"]
    assert os.getpid() in told["spared"]
    assert os.getpid() not in told["before"]


def test_a_number_that_was_given_away_anew_is_nobody(start: Start) -> None:
    # Given a process that was found, and that started at another time than the one of its number now
    process = start(NAME)
    found = processes.one(process.pid)
    assert found is not None

    # When it is held, then only the one that was found is
    with signals.held([found._replace(started=found.started - 1)]) as fds:
        assert fds == {}
    with signals.held([found]) as fds:
        assert list(fds) == [process.pid]

        # And it is nobody else, however it ended
        process.kill()
        process.wait()
        assert signals.send(fds, signal.SIGTERM) == ([], {})


def test_a_wait_ends_when_the_caller_wishes_so(start: Start) -> None:
    start(NAME, script=IGNORES)
    request = Current()

    def cancelled_by_now() -> None:
        request.cancellation.cancel("enough")
        request.cancellation.check()

    found = [process for process in processes.running() if process.name == NAME]
    with signals.held(found) as fds, pytest.raises(Cancelled):
        signals.remaining(fds, 60.0, cancelled_by_now)


def test_all_above_a_process_are_known() -> None:
    # Given a process below five others, each of which waits for the next
    script = "read x"
    for _ in range(5):
        script = f"sh -c {shlex.quote(script)}; true"
    with subprocess.Popen(["sh", "-c", f"echo; {script}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as root:
        try:
            chain = [root.pid]
            while len(chain) < 6:
                chain += [each.pid for each in processes.running() if each.parent == chain[-1]][:1]

            # Then they are, from the nearest to the first
            assert processes.ancestors(chain[-1])[:6] == [*reversed(chain[:-1]), os.getpid()]
            assert processes.ancestors(1) == []
        finally:
            assert root.stdin is not None
            root.stdin.close()


@pytest.mark.parametrize(
    ("action", "data", "kind", "why"),
    [
        ("signal", {}, MissingData, "expected either pattern or pid"),
        ("signal", {"pattern": "x", "pid": 7}, MissingData, "expected either pattern or pid"),
        ("signal", {"pid": 0}, InvalidData, "input pid: expected 1 to 4194304, got 0"),
        ("signal", {"pid": -1}, InvalidData, "input pid: expected 1 to"),
        ("signal", {"pid": 7, "signal": "SEGV"}, InvalidData, "is not one of TERM, KILL"),
        ("signal", {"pid": 7, "wait_s": 100}, InvalidData, "input wait_s: expected 0 to 10"),
        ("list", {"limit": 0}, InvalidData, "input limit: expected 1 to"),
        ("list", {"pattern": "("}, InvalidData, "input pattern: regular expression /(/ cannot be used"),
        ("list", {"user": "no-such-user"}, InvalidData, "expected a user of this host, got 'no-such-user'"),
        ("list", {"user": "-u"}, InvalidData, "does not match"),
        ("list", {"sort": "size"}, InvalidData, "is not one of pid, cpu"),
        ("count", {}, MissingData, "input pattern is required"),
        ("status", {"pid": 1 << 40}, InvalidData, "input pid: expected 1 to"),
    ],
)
def test_what_cannot_be_meant_is_refused(action: str, data: dict[str, Any], kind: type[RequestError], why: str) -> None:
    with pytest.raises(kind) as raised:
        ask(action, **data)
    assert why in str(raised.value)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x"])
def test_no_pattern_takes_long(start: Start, pattern: str) -> None:
    start(NAME, "a" * 50_000)
    assert ask("count", pattern=pattern)["count"] >= 0


def test_a_setting_of_another_type_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"agents: process: command_lines: Expected `bool`, got `str`"):
        Process(settings={"command_lines": "no"})


def test_a_fleet_counts_together(start: Start) -> None:
    start(NAME)
    with MemoryFleet({"web1": {}, "web2": {}}) as fleet:
        results = RpcClient("process", fleet.connection()).count(pattern=NAME)
        results.require_all(count=1)
        assert len(results) == 2


def test_an_expression_may_stand_between_slashes_as_in_filters() -> None:
    agent, mine = Process(), Path("/proc/self/comm").read_text().strip()
    assert agent.count(f"/{mine[:4]}/")["count"] == agent.count(mine[:4])["count"] >= 1
