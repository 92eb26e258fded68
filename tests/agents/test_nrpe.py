# SPDX-License-Identifier: Apache-2.0
"""The checks of an nrpe.cfg: run as the real NRPE runs them, and what a caller cannot do with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_agents.nrpe import MAX_OUTPUT_BYTES, Nrpe
from mco_agents.nrpe.command_line import argv_of, takes_arguments
from mco_agents.nrpe.output import MAX_METRICS, metrics_of, taken_apart
from mco_client.rpc import RpcClient
from mco_lab.memory import MemoryFleet
from mco_rpc.errors import ActionAborted, ConfigError, Denied, InvalidData
from tests.agents.asking import ask
from tests.agents.servers import free_port, need, serving

PLUGINS = Path("/usr/lib/nagios/plugins")
COMMANDS = r"""
   command[indented]=/bin/echo indented
command[twice]=/bin/echo first
command[twice]=/bin/echo second
command[order]=/bin/echo main
include_dir={folder}/d
include={folder}/missing.cfg
include={folder}/other.txt
# command[comment]=/bin/echo comment
command[after]=/bin/echo after the includes
command[five]=/bin/sh -c 'echo five; exit 5'
command[warning]=/bin/sh -c 'echo "warn | a=1;2;3"; echo long; echo "l2 | b=2"; exit 1'
command[silent]=/bin/true
command[stderr]=/bin/sh -c 'echo err >&2; exit 2'
command[killed]=/bin/sh -c 'echo x; kill -9 $$$$'
command[gone]=/nonexistent/check -a
command[slow]=/bin/sleep 20
command[dollar]=/bin/echo a$HOME/x
command[dollars]=/bin/echo a$$HOME/x
command[between]=/bin/echo a$USER$ b
command[arguments]=/bin/echo [$ARG1$] [$ARG2$]
command[zero]=/bin/echo [$ARG0$] [$ARGx$]
command[pipe]=/bin/echo hi | tr h H
command[who]=/usr/bin/id -un
command[groups]=/usr/bin/id -G
command[equal]=/bin/echo a=b=c
command [space]=/bin/echo space
command[open=/bin/echo not closed
command[glob]=/bin/echo /etc/host?
command[quoted]=/usr/bin/printf '<%s>' 'a b' "c d"
command[unclosed]=/bin/echo 'a
command[real_load]=/usr/lib/nagios/plugins/check_load -w 99999,99999,99999 -c 99999,99999,99999
command[real_dummy]=/usr/lib/nagios/plugins/check_dummy 2 "as it is"
command[real_procs]=/usr/lib/nagios/plugins/check_procs -c 1:99999 -C init-that-is-not-there
"""

FURTHER = {
    "gone": "`/nonexistent/check` cannot be started: No such file",
    "slow": "timed out after 1 seconds",
    "stderr": "Unable to read output err",
    "unclosed": "Unterminated quoted string",
}


@pytest.fixture(scope="module")
def config() -> Iterator[Path]:
    """A configuration with includes of all kinds."""
    folder = Path(tempfile.mkdtemp(prefix="mco-nrpe-", dir="/tmp"))
    try:
        (folder / "d/sub").mkdir(parents=True)
        (folder / "d/a.cfg").write_text("command[a]=/bin/echo a\ncommand[order]=/bin/echo a\n")
        (folder / "d/b.cfg").write_text(f"command[order]=/bin/echo b\ninclude={folder}/nrpe.cfg.loop\n")
        (folder / "d/c.conf").write_text("command[conf]=/bin/echo conf\n")
        (folder / "d/sub/s.cfg").write_text("command[sub]=/bin/echo sub\n")
        (folder / "other.txt").write_text("command[other]=/bin/echo other\n")
        (folder / "link.txt").write_text("command[linked]=/bin/echo linked\n")
        (folder / "d/l.cfg").symlink_to("../link.txt")
        user = "nrpe_user=nagios\nnrpe_group=nagios\n" if os.geteuid() == 0 else ""
        path = folder / "nrpe.cfg"
        path.write_text(f"{user}command_timeout=1\n{COMMANDS.format(folder=folder)}")
        for each in (folder, *folder.rglob("*")):
            each.chmod(0o755 if each.is_dir() else 0o644)
        yield path
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def nrpe_port(config: Path) -> Iterator[int]:
    """The port of a real NRPE with the same configuration."""
    program = need("nrpe", "nagios-nrpe-server")
    if not (PLUGINS / "check_nrpe").exists():
        need("check_nrpe", "nagios-nrpe-plugin")
    port = free_port()
    real = config.with_name("real.cfg")
    own = f"server_port={port}\nserver_address=127.0.0.1\nallowed_hosts=127.0.0.1\npid_file={config.parent}/pid\n"
    real.write_text(own + config.read_text())
    with serving(port, program, "-c", real, "-f", log=config.with_name("log")):
        yield port


def agent_of(path: Path, **settings: Any) -> Nrpe:
    return Nrpe(settings={"config": str(path), **settings})


def names() -> list[str]:
    return [
        line.strip().partition("[")[2].partition("=")[0].rstrip("]")
        for line in COMMANDS.splitlines()
        if line.strip().startswith("command")
    ]


@pytest.mark.parametrize("name", [*dict.fromkeys(names()), "a", "conf", "sub", "other", "linked", "nowhere"])
def test_a_check_says_what_it_says_through_nrpe(config: Path, nrpe_port: int, name: str) -> None:
    # Given what check_nrpe is told by a real NRPE
    asked = [str(PLUGINS / "check_nrpe"), "-H", "127.0.0.1", "-p", str(nrpe_port), "-t", "30", "-c", name]
    real = subprocess.run(asked, capture_output=True, text=True, check=False)
    if "not defined" in real.stdout:
        # Then what it does not know is not known here
        with pytest.raises(InvalidData, match=f"names no command '{name}'"):
            ask(agent_of(config), "runcommand", command=name)
        return

    # When the agent is asked for the same
    made = ask(agent_of(config), "runcommand", command=name)

    # Then the verdict and every text are the same
    expected = taken_apart(real.stdout.removeprefix("NRPE: "))
    assert made["exitcode"] == real.returncode, made
    assert made["state"] == ("OK", "WARNING", "CRITICAL", "UNKNOWN")[real.returncode]
    if name in FURTHER:
        # But where NRPE says little, the agent says why
        assert FURTHER[name] in f"{made['output']} {made['long_output']}"
    elif name != "real_load":  # the load is another a moment later
        assert {key: made[key] for key in expected} == expected


def test_the_files_are_listed_as_they_are_read(config: Path) -> None:
    listed = ask(agent_of(config), "list")
    assert listed["commands"]["order"] == "/bin/echo b"
    assert listed["commands"]["twice"] == "/bin/echo second"
    assert listed["commands"]["linked"] == "/bin/echo linked"
    assert not {"conf", "comment", "space"} & set(listed["commands"])
    assert listed["config"] == str(config)
    assert listed["takes_arguments"] is False
    assert any(
        "missing.cfg: No such file" in problem or "missing.cfg: no such file" in problem
        for problem in listed["problems"]
    )


def test_includes_in_a_circle_end(tmp_path: Path) -> None:
    # Given two files that include each other, and a folder with a way back into itself
    (tmp_path / "a.cfg").write_text(f"include={tmp_path}/d/b.cfg\ncommand[a]=/bin/true\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/b.cfg").write_text(f"include={tmp_path}/a.cfg\ninclude_dir={tmp_path}/d\ncommand[b]=/bin/true\n")
    (tmp_path / "d/round").symlink_to("..")
    listed = ask(agent_of(tmp_path / "a.cfg"), "list")
    assert set(listed["commands"]) == {"a", "b"}
    assert any("it includes itself" in problem for problem in listed["problems"])
    assert len(listed["problems"]) <= 100


def test_all_checks_are_run_at_once_and_who_is_late_is_unknown(config: Path) -> None:
    made = ask(agent_of(config), "runallcommands")
    assert made["commands"]["slow"]["state"] == "UNKNOWN"
    assert "timed out after 1 seconds" in made["commands"]["slow"]["output"]
    assert made["commands"]["after"]["output"] == "after the includes"
    assert made["skipped"] == ["arguments", "zero"]
    assert made["worst"] == "CRITICAL"
    assert sum(made["counts"].values()) == len(made["commands"])


def test_arguments_are_taken_where_nrpe_cfg_says_so(tmp_path: Path) -> None:
    path = tmp_path / "nrpe.cfg"
    path.write_text("command[echo]=/bin/echo $ARG1$ - $ARG2$\n")
    with pytest.raises(Denied, match="dont_blame_nrpe is not 1"):
        ask(agent_of(path, user=""), "runcommand", command="echo", args="a!b")
    path.write_text(f"dont_blame_nrpe=1\n{path.read_text()}")
    for args in ("a b!c", ["a b", "c"]):
        assert ask(agent_of(path, user=""), "runcommand", command="echo", args=args)["output"] == "a b - c"
    assert ask(agent_of(path, user=""), "runcommand", command="echo")["output"] == "-"
    assert ask(agent_of(path, user=""), "runcommand", command="echo", args=[7])["output"] == "7 -"


@pytest.mark.parametrize(
    "line",
    [
        "/bin/echo $ARG1$",
        "/usr/bin/printf '<%s>' $ARG1$",
        "/usr/bin/printf '<%s>' \"$ARG1$\"",
        "/usr/bin/printf '<%s>' '$ARG1$'",
        "/usr/bin/printf '<%s>' \"a'$ARG1$'\"",
        "/usr/bin/printf '<%s>' \\'$ARG1$\\'",
        "/usr/bin/printf '<%s>' '\"$ARG1$\"' | cat",
        "X=1 /usr/bin/printf '<%s>' x$ARG1$y",
    ],
)
@pytest.mark.parametrize(
    "evil", ["$(touch {0})", "`touch {0}`", ";touch {0}", '"; touch {0}; "', "'; touch {0}; '", "${{IFS}}"]
)
def test_an_argument_is_never_run(tmp_path: Path, line: str, evil: str) -> None:
    # Given a configuration that takes every character, as only a careless administrator would have it
    path, made = tmp_path / "nrpe.cfg", tmp_path / "made"
    path.write_text(f"dont_blame_nrpe=1\nallow_bash_command_substitution=1\nnasty_metachars=@\ncommand[x]={line}\n")
    # When an argument tries to become a command
    given = evil.format(made)
    said = ask(agent_of(path, user=""), "runcommand", command="x", args=[given])
    # Then it is the text that it is, whatever the line's quotes make of blanks
    assert not made.exists()
    assert said["exitcode"] == 0
    assert "".join(given.split()) in "".join(said["output"].replace("><", "").split())


@pytest.mark.parametrize("character", [*"|`&><'\\[]{};\r\n", "\0"])
def test_what_nrpe_refuses_in_an_argument_is_refused(tmp_path: Path, character: str) -> None:
    path = tmp_path / "nrpe.cfg"
    path.write_text("dont_blame_nrpe=1\ncommand[x]=/bin/echo $ARG1$\n")
    with pytest.raises(InvalidData, match=r"which nrpe\.cfg does not allow"):
        ask(agent_of(path), "runcommand", command="x", args=[f"a{character}b"])


@pytest.mark.parametrize("args", ["a!!b", ["a", ""], [True], [["a"]], {"a": 1}, "!".join("x" * 17), "$(id)"])
def test_arguments_that_are_none_are_refused(tmp_path: Path, args: Any) -> None:
    path = tmp_path / "nrpe.cfg"
    path.write_text("dont_blame_nrpe=1\ncommand[x]=/bin/echo $ARG1$\n")
    with pytest.raises(InvalidData, match="args: "):
        ask(agent_of(path), "runcommand", command="x", args=args)


@pytest.mark.parametrize("name", ["", "a=b", "a]b", "a\nb", "a!b", "x" * 300])
def test_what_cannot_be_a_command_is_refused(config: Path, name: str) -> None:
    with pytest.raises(InvalidData):
        ask(agent_of(config), "runcommand", command=name)


def test_a_prefix_comes_before_every_command(tmp_path: Path) -> None:
    path = tmp_path / "nrpe.cfg"
    path.write_text("command_prefix=/usr/bin/env A=1\ncommand[x]=/bin/sh -c 'echo A is $$A'\n")
    assert ask(agent_of(path, user=""), "runcommand", command="x")["output"] == "A is 1"


def test_a_user_who_is_not_there_is_unknown(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs checks as somebody else")
    path = tmp_path / "nrpe.cfg"
    path.write_text("nrpe_user=nobody-of-this-name\ncommand[x]=/bin/true\n")
    made = ask(agent_of(path), "runcommand", command="x")
    assert made["state"] == "UNKNOWN"
    assert "there is no user 'nobody-of-this-name'" in made["output"]


def test_nothing_needs_a_shell_that_has_no_shell_in_it() -> None:
    assert argv_of("check -w $ARG1$", ["5 4 3"]) == ["check", "-w", "5", "4", "3"]
    assert argv_of("check 'a b'", []) == ["check", "a b"]
    assert argv_of("check $ARG1$ | x", ["a"])[:2] == ["/bin/sh", "-c"]
    assert takes_arguments("a $ARG1$")
    assert not takes_arguments("a $HOME$")


@pytest.mark.parametrize(
    ("perfdata", "metrics"),
    [
        ("", []),
        ("time=0.01s;;;0", [("time", 0.01, "s", None, None, 0.0, None)]),
        ("/=2643MB;5948;5958;0;5968", [("/", 2643.0, "MB", "5948", "5958", 0.0, 5968.0)]),
        (
            "'it''s'=U b=5%;@1:2;~:3",
            [("it's", None, "", None, None, None, None), ("b", 5.0, "%", "@1:2", "~:3", None, None)],
        ),
        (
            "a=1,5;2 c=-1e3c junk d= e=x",
            [("a", 1.5, "", "2", None, None, None), ("c", -1000.0, "c", None, None, None, None)],
        ),
        ("a=1e999", []),
    ],
)
def test_performance_data_is_taken_apart(perfdata: str, metrics: list[tuple[Any, ...]]) -> None:
    assert [tuple(metric.values()) for metric in metrics_of(perfdata)] == metrics


def test_performance_data_may_come_after_the_long_output() -> None:
    made = taken_apart("DISK OK | /=1MB\nline 1\nline 2 | /boot=2MB\n/home=3MB\n")
    assert (made["output"], made["long_output"]) == ("DISK OK", "line 1\nline 2")
    assert [metric["label"] for metric in made["metrics"]] == ["/", "/boot", "/home"]


def test_it_is_offered_where_a_configuration_is(config: Path, tmp_path: Path) -> None:
    assert Nrpe.activate_when({"config": str(config)}) is None
    assert Nrpe.activate_when({"config": str(tmp_path / "x")}) == f"there is no {tmp_path}/x"
    with pytest.raises(ActionAborted, match="there is no"):
        ask(agent_of(tmp_path / "x"), "list")


@pytest.mark.parametrize("settings", [{"parallel": 0}, {"parallel": "8"}, {"config": 7}, {"colour": "red"}])
def test_wrong_settings_are_said_so(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="agents: nrpe: "):
        Nrpe(settings=settings)


def test_the_whole_way(config: Path) -> None:
    settings = {"agents": {"nrpe": {"config": str(config)}}}
    with MemoryFleet({"web1": {"settings": settings}, "web2": {"settings": settings}}) as fleet:
        results = RpcClient("nrpe", fleet.connection()).runcommand(command="warning")
        results.require_all(exitcode=1, state="WARNING", output="warn")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("part", ["a", "'", "''", " '", " ''''", " 'x", "a=", "=", "'a''", "1.", "a=1e9"])
def test_no_output_takes_longer_than_to_read_it(part: str) -> None:
    # Were it quadratic, the daemon as a whole would stand still for an hour
    text = f"ok | {part * (256 * 1024 // len(part))}"
    assert taken_apart(text)["output"] == "ok"
    assert len(metrics_of(text)) <= MAX_METRICS


def test_a_check_sees_no_settings_of_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nrpe.cfg").write_text("command[env]=/usr/bin/env\n")
    monkeypatch.setenv("MCO_BROKERS", "amqp://node:secret@broker/")
    monkeypatch.setenv("OTHER_PASSWORD", "secret")
    said = ask(Nrpe(None, {"config": str(tmp_path / "nrpe.cfg")}), "runcommand", command="env")
    assert "PATH=" in str(said)
    assert "secret" not in str(said)


def test_what_a_check_prints_is_kept_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "nrpe.cfg").write_text("command[much]=/bin/sh -c 'yes | head -c 1000000'\n")
    said = ask(Nrpe(None, {"config": str(tmp_path / "nrpe.cfg")}), "runcommand", command="much")
    assert 0 < len(said["long_output"]) <= MAX_OUTPUT_BYTES
