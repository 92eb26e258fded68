# SPDX-License-Identifier: Apache-2.0
"""The applications: which words mean what, how answers read best, and that each knows the agent that it asks."""

from __future__ import annotations

import io
import json
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from mco_client.cli.application import Application, Fields, input_of
from mco_client.cli.main import PLUGINS, main
from mco_client.cli.rows import Lines, Table
from mco_client.connection import Connection
from mco_client.schema.plugins import agent_schema
from mco_lab.memory import MemoryFleet

NODES = ("web1", "web2", "web10")
APPLICATIONS = {
    entry.name: entry.load()
    for entry in entry_points(group=PLUGINS)
    if entry.value.startswith("mco_client.apps.") and isinstance(entry.load(), Application)
}
VERBS = [(name, verb) for name, each in sorted(APPLICATIONS.items()) for verb in each.verbs]
# What agents of these names say on each node, in the place of the real ones.
AGENTS = '''
from mco_rpc.agent import Agent, Aggregate, Input, Output, action
from mco_rpc.errors import ActionAborted

NUMBER = {"web1": 1, "web2": 2, "web10": 10}


class Nrpe(Agent):
    """Run checks."""

    @action("Run one", inputs={"command": Input("string", "Which"), "args": Input("any", "With what", optional=True)},
            outputs={"command": Output("string", "Which"), "exitcode": Output("integer", "How"),
                     "output": Output("string", "What"), "given": Output("any", "With what")})
    def runcommand(self, command, args=None):
        if command == "check_web2":
            code = 2 if self.node.identity == "web2" else 0
        else:
            code = {"check_ok": 0, "check_strange": 77}.get(command, 1)
        return {"command": command, "exitcode": code, "output": f"\\x1b[2J{command} says {code}", "given": args}

    @action("Run all", outputs={"commands": Output("hash", "By name")})
    def runallcommands(self):
        return {"commands": {"check_a": {"exitcode": 0, "output": "good"},
                             "check_b": {"exitcode": NUMBER[self.node.identity] % 4, "output": "so"}}}


class Host(Agent):
    """Fare."""

    @action("File systems", inputs={"path": Input("string", "Which", optional=True)},
            outputs={"disks": Output("array", "Each")})
    def disks(self, path=""):
        used = NUMBER[self.node.identity] * 7.5
        size = {"size_bytes": 3 << 40, "used_bytes": 1536, "available_bytes": 10}
        return {"disks": [{"mount": path or "/", "used_percent": used, "device": "/dev/x", **size},
                          {"mount": "/tmp", "used_percent": None, "device": "tmpfs"}]}

    @action("Interfaces", outputs={"interfaces": Output("array", "Each")})
    def interfaces(self):
        return {"interfaces": [{"interface": "eth0", "is_up": True, "addresses": ["192.0.2.1/24", "::1/128"]}]}

    @action("Routes", outputs={"routes": Output("array", "Each")})
    def routes(self):
        same = {"destination": "default", "gateway": "192.168.1.254", "interface": "eth0", "metric": 0}
        return {"routes": [] if self.node.identity == "web2" else [same]}

    @action("Up", outputs={"uptime_s": Output("float", "Since")})
    def uptime(self):
        return {"uptime_s": NUMBER[self.node.identity] * 40_000.0}


class Process(Agent):
    """Processes."""

    @action("List", inputs={"pattern": Input("string", "Which", optional=True)},
            outputs={"processes": Output("array", "Each")})
    def list(self, pattern=""):
        return {"processes": [{"pid": 1, "command": "java", "args": " ".join(["-Dsome.option=on"] * 12) + " Needle"}]}


class Url(Agent):
    """Fetch."""

    @action("Fetch", inputs={"url": Input("string", "What")}, aggregates=[Aggregate("average", "took_s")],
            outputs={"status": Output("integer", "Status"), "took_s": Output("float", "Seconds"),
                     "reason": Output("string", "Why not")})
    def get(self, url):
        return {"status": None, "took_s": None, "reason": "Connection refused"}


class File(Agent):
    """Files."""

    @action("Lines", inputs={"path": Input("string", "Where"), "pattern": Input("string", "What")},
            outputs={"matches": Output("array", "Each")})
    def match(self, path, pattern):
        return {"matches": [{"number": 3, "line": f"{pattern} in {path}\\x1b[2J"}]}

    @action("Another answer than ours", inputs={"path": Input("string", "Where")},
            outputs={"surprise": Output("string", "Something else")})
    def list(self, path):
        return {"surprise": path}


class Service(Agent):
    """Services."""

    @action("State", inputs={"service": Input("string", "Which")},
            outputs={"service": Output("string", "It"), "status": Output("string", "How", display_as="Status"),
                     "enabled": Output("string", "Whether")}, aggregates=[Aggregate("summary", "status")])
    def status(self, service):
        if service == "nothing":
            raise ActionAborted("there is no service nothing")
        return {"service": service, "status": "stopped" if self.node.identity == "web2" else "running",
                "enabled": "enabled"}

    @action("Stop", inputs={"service": Input("string", "Which")}, mutating=True, noop=True,
            outputs={"changed": Output("boolean", "Whether"), "before": Output("string", "x"),
                     "after": Output("string", "x")})
    def stop(self, service):
        return {"changed": True, "before": "running", "after": "running" if self.is_noop else "stopped"}


class Greeter(Agent):
    """Say hello."""

    @action("Say hello", inputs={"name": Input("string", "To whom")}, outputs={"words": Output("string", "The words")})
    def hello(self, name):
        return {"words": f"Hello {name}, says {self.node.identity}"}
'''
INACTIVE = '''
from mco_rpc.agent import Agent, action


class Haproxy(Agent):
    """Balance."""

    @staticmethod
    def activate_when(settings):
        return "no socket of haproxy is there"

    @action("Say")
    def status(self):
        return {}
'''


class Ran(NamedTuple):
    """What a run of ``mco`` left."""

    status: int
    out: str
    err: str

    @property
    def table(self) -> list[list[str]]:
        """The rows below the line of the first table, their cells split at two blanks or more."""
        lines = self.out.split("\n")
        at = next(number for number, line in enumerate(lines) if line.startswith("---"))
        rows = lines[at + 1 : lines.index("", at)]
        return [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in rows]


Mco = Callable[..., Ran]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryFleet]:
    folder = tmp_path_factory.mktemp("libdir")
    head, *classes = AGENTS.split("\n\nclass ")
    for text in classes:
        (folder / f"{text.partition('(')[0].lower()}.py").write_text(f"{head}\n\nclass {text}")
    (folder / "haproxy.py").write_text(INACTIVE)
    settings = {"libdir": [str(folder)]}
    with MemoryFleet({name: {"classes": ["web"], "settings": settings} for name in NODES}) as fleet:
        yield fleet


@pytest.fixture
def mco(fleet: MemoryFleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mco:
    """Run ``mco`` as the fleet's caller."""
    base = fleet.connection()
    monkeypatch.setenv("COLUMNS", "120")

    def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
        settings = msgspec.structs.replace(base.settings, **changes)
        return Connection(settings, connector=fleet.broker.connector, security=base.security)

    def run(line: str) -> Ran:
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        capsys.readouterr()
        status = main(shlex.split(line), connect)
        return Ran(status, *capsys.readouterr())

    return run


# what they know of their agents


@pytest.mark.parametrize(("name", "verb"), VERBS, ids=lambda each: each)
def test_an_application_asks_for_what_its_agent_has(name: str, verb: str) -> None:
    application, told = APPLICATIONS[name], APPLICATIONS[name].verbs[verb]
    action = agent_schema(application.agent).action(told.action or verb)
    assert {input_of(each) for each in told.takes} <= action.inputs.keys()
    # The help says what may be left out, and is right; what stands before a word that is needed may not be.
    can_be_left_out = True
    for each in reversed(told.takes):
        declared = action.inputs[input_of(each)]
        can_be_left_out &= declared.optional or declared.default is not None
        assert each.endswith(("?", "...")) == can_be_left_out
    assert (told.given or {}).keys() <= action.inputs.keys()
    if isinstance(told.say, Fields):
        assert set(told.say.outputs) <= action.outputs.keys()
    if isinstance(told.say, Lines):
        assert told.say.held_in in action.outputs
    if isinstance(told.say, Table) and not told.say.held_in:
        assert {column.of for column in told.say.columns} <= action.outputs.keys()
    elif isinstance(told.say, Table) and action.outputs[told.say.held_in].type == "array":
        described = action.outputs[told.say.held_in].description.lower()
        wanted = {name for column in told.say.columns for name in (column.of, *column.then)}
        assert not [name for name in wanted if name not in described]


def test_every_agent_that_an_operator_asks_has_an_application() -> None:
    agents = {entry.name for entry in entry_points(group="mco.agents")}
    assert agents - APPLICATIONS.keys() <= {"rpcutil", "discovery", "shell"}


# words


@pytest.mark.parametrize(
    "line",
    [
        "iptables isblocked 192.0.2.1",
        "iptables 192.0.2.1 isblocked",
        "iptables isblocked ipaddr=192.0.2.1",
        "iptables ipaddr=192.0.2.1 isblocked",
    ],
)
def test_the_action_comes_first_or_after_what_it_is_about(mco: Mco, line: str) -> None:
    ran = mco(line)
    assert ran.status == 0
    assert [row[0] for row in ran.table] == list(NODES)
    assert all(row[1] == "192.0.2.1 is not blocked" for row in ran.table)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("iptables", "missing argument 'ADDRESS ACTION': expected one of block, unblock"),
        ("iptables blok 192.0.2.1", "neither 'blok' nor '192.0.2.1' is an action, did you mean block?"),
        ("iptables 192.0.2.1", "'192.0.2.1' is no action; expected one of block, unblock"),
        ("iptables block unblock", "'block' and 'unblock' are both actions"),
        ("iptables block 192.0.2.1 192.0.2.2", "'192.0.2.2' is too much"),
        ("iptables block 192.0.2.1 ipaddr=192.0.2.2 -C web", "'192.0.2.1' is too much"),
        ("iptables block ipaddr=192.0.2.1 ipaddr=192.0.2.2", "input ipaddr is given twice"),
        ("iptables block -C web", "input ipaddr is required"),
        ("iptables block 192.0.2.1 colour=red -C web", "unknown input 'colour'"),
        ("iptables isblocked nonsense", "is not valid"),
        ("host routes /", "takes no plain words"),
        ("service start stop", "say it as start service=stop"),
    ],
)
def test_what_cannot_be_understood_is_told_and_nobody_is_asked(mco: Mco, line: str, told: str) -> None:
    ran = mco(line)
    assert ran.status == 1
    assert told in ran.err
    assert not ran.out


def test_an_agent_that_nobody_offers_is_told_with_the_reason(mco: Mco) -> None:
    ran = mco("haproxy status --dt 1")
    assert ran.status == 1
    assert "no node that offers agent 'haproxy' was discovered" in ran.err
    assert "web1, web2, web10: no socket of haproxy is there" in ran.err


# the same options as those of mco rpc


def test_a_change_of_everybody_needs_consent(mco: Mco) -> None:
    ran = mco("service nginx stop")
    assert ran.status == 1
    assert "refused to ask all 3 nodes" in ran.err
    assert mco("service nginx stop --yes").status == 0


def test_noop_changes_nothing_and_says_so(mco: Mco) -> None:
    ran = mco("service stop nginx --noop")
    assert ran.status == 0
    assert [row[1:] for row in ran.table] == [["true", "running", "running"]] * 3
    assert "noop: nothing was changed" in ran.out


def test_json_has_everything_whatever_people_are_shown(mco: Mco) -> None:
    told = json.loads(mco("service nginx status -C web -j").out)
    assert [result["data"]["service"] for result in told["results"]] == ["nginx"] * 3
    assert told["statistics"]["okcount"] == 3


def test_lines_of_json_come_for_each_answer(mco: Mco) -> None:
    lines = [json.loads(line) for line in mco("host uptime --jsonl").out.splitlines()]
    assert sorted(line["sender"] for line in lines if line["kind"] == "answer") == sorted(NODES)
    assert lines[-1]["kind"] == "statistics"


def test_fields_take_the_place_of_the_columns_of_the_application(mco: Mco) -> None:
    ran = mco("service nginx status --fields service")
    assert [row[1:] for row in ran.table] == [["nginx"]] * 3


def test_filters_choose_the_nodes(mco: Mco) -> None:
    assert [row[0] for row in mco("service nginx status -I web2").table] == ["web2"]


def test_who_fails_is_shown_below(mco: Mco) -> None:
    ran = mco("service nothing status")
    assert ran.status == 2
    assert "web1, web2, web10: aborted: there is no service nothing" in ran.out


# how answers read


def test_the_state_of_a_service_comes_with_a_summary(mco: Mco) -> None:
    ran = mco("service nginx status")
    assert ran.table == [
        ["web1", "running", "enabled"],
        ["web2", "stopped", "enabled"],
        ["web10", "running", "enabled"],
    ]
    assert "Summary of Status: running = 2, stopped = 1" in ran.out


def test_the_fullest_disk_comes_first_and_sizes_are_for_people(mco: Mco) -> None:
    ran = mco("host disks")
    assert ran.table[0] == ["web10", "/", "3.0T", "1.5K", "10B", "75.0%", "/dev/x"]
    assert [row[0] for row in ran.table[:3]] == ["web10", "web2", "web1"]


def test_who_reads_a_pipe_gets_what_a_terminal_has_no_room_for(mco: Mco, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Needle" not in mco("process list").out
    monkeypatch.delenv("COLUMNS")
    assert "Needle" in mco("process list").out


def test_a_list_of_words_in_a_cell_is_no_json(mco: Mco) -> None:
    assert mco("host interfaces -I web1").table[0][-1] == "192.0.2.1/24, ::1/128"


def test_a_number_that_no_node_has_is_no_reason_to_warn(mco: Mco) -> None:
    ran = mco("url http://192.0.2.1/")
    assert (ran.status, ran.err) == (0, "")
    (failure,) = json.loads(mco("url http://192.0.2.1/ -j").out)["statistics"]["aggregate_failures"]
    assert failure["reason"] == "no node gave a value of took_s"


def test_the_help_says_which_words_may_be_left_out(mco: Mco) -> None:
    told = mco("process --help").out
    assert "list [PATTERN]" in told
    assert "count PATTERN" in told
    assert "runcommand COMMAND [ARGS]..." in mco("nrpe --help").out


def test_who_is_up_for_the_longest_comes_first(mco: Mco) -> None:
    assert mco("host uptime").table == [["web10", "4d15h"], ["web2", "22h13m"], ["web1", "11h06m"]]
    assert mco("host uptime -r").table == [["web1", "11h06m"], ["web2", "22h13m"], ["web10", "4d15h"]]


def test_equal_rows_become_one_and_who_has_none_is_named(mco: Mco) -> None:
    ran = mco("host routes")
    assert ran.table == [["web1, web10", "default", "192.168.1.254", "eth0", "0"]]
    assert "nothing to list on 1 node: web2" in ran.out
    assert [row[0] for row in mco("host routes --no-group").table] == ["web1", "web10"]


def test_lines_of_files_come_with_their_node_and_number(mco: Mco) -> None:
    ran = mco("file match /etc/motd hello")
    assert ran.out.splitlines()[:3] == [rf"{node:<5} | 3: hello in /etc/motd\x1b[2J" for node in NODES]


def test_an_agent_that_answers_otherwise_is_shown_as_it_answers(mco: Mco) -> None:
    assert [row[1] for row in mco("file list /etc").table] == ["/etc"] * 3


# checks


def test_only_checks_that_are_not_well_are_shown_and_counted(mco: Mco) -> None:
    ran = mco("nrpe check_web2")
    assert ran.status == 2
    assert ran.table == [["web2", "check_web2", "CRITICAL", r"\x1b[2Jcheck_web2 says 2"]]
    assert "OK: 2, WARNING: 0, CRITICAL: 1, UNKNOWN: 0" in ran.out
    assert "web1" not in ran.out
    assert "web10" in mco("nrpe check_web2 -v").out


def test_checks_that_are_well_are_only_counted(mco: Mco) -> None:
    ran = mco("nrpe check_ok")
    assert ran.status == 0
    assert ran.out.startswith("OK: 3, WARNING: 0, CRITICAL: 0, UNKNOWN: 0\n")


def test_a_status_that_no_check_has_is_unknown(mco: Mco) -> None:
    ran = mco("nrpe check_strange")
    assert ran.status == 2
    assert "UNKNOWN: 3" in ran.out


def test_all_checks_come_the_worst_first(mco: Mco) -> None:
    ran = mco("nrpe runallcommands")
    worst = [("web2", "CRITICAL"), ("web10", "CRITICAL"), ("web1", "WARNING")]
    assert ran.status == 2
    assert ran.table == [[node, "check_b", word, "so"] for node, word in worst]
    assert "OK: 3, WARNING: 1, CRITICAL: 2, UNKNOWN: 0" in ran.out


def test_arguments_of_a_check_follow_its_name(mco: Mco) -> None:
    told = json.loads(mco("nrpe check_ok 5 10 -j").out)
    assert [result["data"]["given"] for result in told["results"]] == [["5", "10"]] * 3


# those of others


def test_an_application_of_another_package_is_a_command_like_ours(
    mco: Mco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the guide shows it."""
    (tmp_path / "acme_greeter.py").write_text(
        textwrap.dedent('''
        """``mco greeter``: say hello on many nodes."""
        from mco_client.cli.application import Verb, application, fields

        greeter = application(
            "greeter",
            "Say hello.",
            {"hello": Verb("say hello", ("name",), fields("words"))},
            words="ACTION NAME",
            examples="  mco greeter hello world",
        )
        ''')
    )
    info = tmp_path / "acme_greeter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-greeter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mco.commands]\ngreeter = acme_greeter:greeter\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert mco("greeter world hello").table == [[node, f"Hello world, says {node}"] for node in NODES]
    assert "greeter" in mco("--help").out
    assert "mco greeter hello world" in mco("greeter --help").out
