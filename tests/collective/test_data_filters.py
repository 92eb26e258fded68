# SPDX-License-Identifier: Apache-2.0
"""Filters that ask data sources, all the way: each node looks for itself, and says aloud what it cannot know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mco_node import authorization
from mco_node.daemon import Node
from mco_node.data.fstat import Fstat
from mco_rpc.filters import from_options
from mco_rpc.messages import Reply
from mco_rpc.status import Status
from tests.collective.conftest import Caller, Collective

HANGING = '''
from mco_rpc.data import DataSource, Output


class Hanging(DataSource):
    """Hang in a command."""

    timeout_s = 0.2
    fields = {"x": Output("any", "never")}

    def query(self):
        return {"x": self.run("sleep", "600").returncode}
'''


def ping(caller: Caller, expression: str) -> Reply:
    """Ask one node whether it is there, if the expression holds on it."""
    request = caller.request(filter=from_options(compound=[expression]))
    return caller.reply_to(caller.send(request))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_text("hello\n")
    made.chmod(0o640)
    return made


@pytest.mark.parametrize(
    "expression",
    [
        "fstat('{file}').present",
        "fstat('{file}').present=1",
        "fstat('{file}').present=true and not fstat('{file}').present=0",
        "fstat('{file}').size>0 and not fstat('{file}.old').present",
        "fstat('{file}').mode=100640 and fstat('{file}').permissions=640",
        "fstat('{file}').md5=b1946ac92492d2347c6235b4d2611184",
        "fstat('{file}').mtime_age<3600",
        "not fstat('{file}').size>6 or fstat('{file}.old').size>=0",
        "not fstat('{file}.old').size=0",
        "process('/./').count>=1 and not process('no-such-program').exists",
        "not port('1').listening",
        "fact('disks.1.name').value=sdb and fact('disks').count=2",
        "agent('rpcutil').version>=1 and not agent('puppetd').present",
        "collective('mcollective').member",
    ],
)
def test_a_node_for_which_the_expression_holds_answers(
    collective: Collective, caller: Caller, file: Path, expression: str
) -> None:
    collective.node(facts={"disks": [{"name": "sda"}, {"name": "sdb"}]})
    assert ping(caller, expression.format(file=file)).status == Status.OK


@pytest.mark.parametrize(
    "expression", ["fstat('{file}').present=0", "fstat('{file}.old').present>0", "port('1').listening"]
)
def test_a_node_for_which_it_does_not_hold_says_nothing(
    caller: Caller, node: Node, file: Path, expression: str
) -> None:
    # When it is asked with an expression that does not hold, and then with its negation
    expression = expression.format(file=file)
    request = caller.send(caller.request(filter=from_options(compound=[expression])))
    assert ping(caller, f"not ({expression})").status == Status.OK

    # Then only the second is answered
    assert [reply for reply in caller.replies if reply.id == request.id] == []


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("fsat('/x').present", "there is no data source 'fsat', did you mean fstat?; this node has: agent, "),
        ("country=fr and fsat('/x').present", "there is no data source 'fsat', did you mean fstat?"),
        ("fstat('/x').colour=red", "has no field 'colour'"),
        ("fstat('x').present", "data source fstat('x'): expected an absolute path such as /etc/hosts, got 'x'"),
        ("fstat().present", "data source fstat: argument path is required"),
        ("not port('x').listening", "data source port('x'): expected a port such as 443"),
        ("not hanging().x=1", "data source hanging(): `sleep 600` did not end before the deadline and was killed"),
        ("service('x').status=running", "data source service is not on this node: switched off in the configuration"),
    ],
)
def test_what_a_node_cannot_know_it_says_aloud(
    collective: Collective, caller: Caller, tmp_path: Path, expression: str, why: str
) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "hanging.py").write_text(HANGING)
    settings: dict[str, Any] = {"libdir": [str(folder)], "data": {"service": {"enabled": False}}}
    node = collective.node(**settings)
    assert node.problems() == []
    reply = ping(caller, expression)
    assert reply.status == Status.INVALID_DATA
    assert why in reply.message


class OnlyInventory:
    """An authorization that allows to ask for an inventory, and nothing else."""

    def authorize(self, request: Any) -> None:
        if request.action != "inventory":
            raise PermissionError("not this")


@pytest.mark.parametrize(
    ("agent", "action", "status"),
    [
        ("rpcutil", "ping", Status.DENIED),
        ("rpcutil", "nothing", Status.UNKNOWN_ACTION),
        ("nobody", "ping", Status.UNKNOWN_ACTION),
    ],
)
def test_who_may_not_call_learns_nothing_from_data_sources(
    collective: Collective,
    caller: Caller,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    agent: str,
    action: str,
    status: Status,
) -> None:
    # Given a node whose data sources must not be asked
    monkeypatch.setitem(authorization.KINDS, "only_inventory", OnlyInventory)
    monkeypatch.setattr(Fstat, "query", lambda *_: pytest.fail("it was asked"))
    collective.node(authorization="only_inventory", facts={"country": "de"})

    # When somebody asks for what he may not, be it so or not
    held, not_held, for_others = (
        caller.send(caller.request(agent, action, filter=from_options(compound=[expression])))
        for expression in (
            f"country=de and fstat('{file}').size=6",
            f"country=de and not fstat('{file}').size=6",
            f"fstat('{file}').size=6 and country=fr",
        )
    )

    # Then both are answered alike, audited, and only where the rest of the filter does not settle it
    replies = [caller.reply_to(request) for request in (held, not_held)]
    assert [reply.status for reply in replies] == [status, status]
    assert replies[0].message == replies[1].message
    assert [len(collective.records(request)) for request in (held, not_held)] == [1, 1]
    caller.reply_to(caller.send(caller.request("rpcutil", "inventory")))
    assert for_others.id not in {reply.id for reply in caller.replies}


def test_what_is_wrong_with_a_request_is_said_only_where_its_filter_holds(
    caller: Caller, node: Node, file: Path
) -> None:
    here, elsewhere = (
        caller.send(
            caller.request("rpcutil", "get_fact", filter=from_options(compound=[f"fstat('{file}').size={size}"]))
        )
        for size in (6, 7)
    )
    assert caller.reply_to(here).status == Status.MISSING_DATA
    assert ping(caller, f"fstat('{file}').present").status == Status.OK
    assert elsewhere.id not in {reply.id for reply in caller.replies}


def test_get_data_is_what_filters_see(caller: Caller, node: Node, file: Path) -> None:
    reply = caller.ask("rpcutil", "get_data", source="fstat", query=str(file))
    assert (reply.status, reply.data["fields"]["size"]) == (Status.OK, 6)
    listed = caller.ask("rpcutil", "data_sources").data
    assert {"agent", "collective", "fact", "fstat", "process"} <= set(listed["sources"])


def test_a_broken_source_is_a_problem_of_the_node(collective: Collective, caller: Caller, tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "broken.py").write_text("1 / 0\n")
    collective.node(libdir=[str(folder)])
    (problem,) = caller.ask("rpcutil", "inventory").data["problems"]
    assert (
        problem
        == f"agents and data sources in {folder}/broken.py were not loaded: ZeroDivisionError: division by zero "
        "(line 1)"
    )
