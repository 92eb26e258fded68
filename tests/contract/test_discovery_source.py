# SPDX-License-Identifier: Apache-2.0
"""What every source of nodes does: what it decides is right, what it does not is left, and who was named is told."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mco_client.discovery.external import External
from mco_client.discovery.flatfile import FlatFile
from mco_client.discovery.inventory import Inventory
from mco_client.discovery.source import FILTER_KINDS, KINDS, Source, make, split
from mco_client.discovery.stdin import Stdin
from mco_rpc.config import ClientSettings
from mco_rpc.filters import Filter, Subject, from_options

TIMEOUT_S = 30.0
# The fleet as it is: whatever a source says of it must come out the same.
FLEET = (
    Subject("web1", frozenset({"nginx", "base"}), frozenset({"rpcutil"}), {"country": "de", "cores": 4}),
    Subject("web2", frozenset({"nginx", "base"}), frozenset({"rpcutil", "iptables"}), {"country": "fr", "cores": 8}),
    Subject("web10", frozenset({"base"}), frozenset({"rpcutil"}), {"country": "de", "cores": 16}),
    Subject("db1.example.net", frozenset({"postgresql", "base"}), frozenset({"rpcutil"}), {"country": "de"}),
)
NAMES = tuple(node.identity for node in FLEET)
EXTERNAL = """\
import json, sys
import msgspec
from mco_rpc.filters import Filter, Subject
request = json.load(sys.stdin)
asked = msgspec.convert(request["filter"], Filter)
fleet = [Subject(n, frozenset(c), frozenset(a), f) for n, c, a, f in json.load(open(sys.argv[1]))]
print(json.dumps({"nodes": [node.identity for node in fleet if asked.matches(node)]}))
"""
NOTHING_DECIDED = (
    "import json, sys; print(json.dumps({'nodes': [n[0] for n in json.load(open(sys.argv[1]))], 'serves': []}))"
)


def ours(folder: Path) -> Source:
    hosts = {node.identity: {"classes": sorted(node.classes - {"base"}), "facts": dict(node.facts)} for node in FLEET}
    said = {"hosts": hosts, "groups": {"everybody": {"hosts": list(NAMES), "classes": ["base"]}}}
    return Inventory((written(folder, yaml.safe_dump(said, sort_keys=False)),))


def bare(folder: Path) -> Source:
    return Inventory((written(folder, yaml.safe_dump({"hosts": list(NAMES)})),))


def ansible(folder: Path) -> Source:
    hosts = {node.identity: dict(node.facts) for node in FLEET}
    return Inventory((written(folder, yaml.safe_dump({"all": {"hosts": hosts}}, sort_keys=False)),))


def lines(folder: Path) -> Source:
    return FlatFile((written(folder, "# all of them\n" + "\r\n".join(NAMES)),))


def json_file(folder: Path) -> Source:
    return FlatFile((written(folder, json.dumps(NAMES)),))


def piped(_folder: Path) -> Source:
    return Stdin(io.BytesIO("\n".join(NAMES).encode()))


def piped_answers(_folder: Path) -> Source:
    answers = {"results": [{"sender": name, "status": 0} for name in NAMES], "statistics": {"responses": 4}}
    return Stdin(io.BytesIO(json.dumps(answers, indent=2).encode()))


def command(folder: Path, program: str) -> Source:
    fleet = [(node.identity, sorted(node.classes), sorted(node.agents), dict(node.facts)) for node in FLEET]
    data = written(folder, json.dumps(fleet))
    return External([shlex.join([sys.executable, "-c", program, str(data)])], "mcollective")


def deciding(folder: Path) -> Source:
    return command(folder, EXTERNAL)


def not_deciding(folder: Path) -> Source:
    return command(folder, NOTHING_DECIDED)


def written(folder: Path, text: str) -> Path:
    file = folder / "source"
    file.write_text(text)
    return file


Make = Callable[[Path], Source]
ALL: tuple[Make, ...] = (ours, bare, ansible, lines, json_file, piped, piped_answers, deciding, not_deciding)


@pytest.fixture(scope="module", params=ALL, ids=lambda make: make.__name__)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    make_source: Make = request.param
    return make_source(tmp_path_factory.mktemp("source"))


def test_each_kind_is_tried_here() -> None:
    assert {kind.__name__.lower() for kind in (Inventory, FlatFile, Stdin, External)} == set(KINDS)


def test_it_has_a_name_and_says_what_it_serves(source: Source) -> None:
    assert source.name
    assert source.serves <= FILTER_KINDS
    assert "identities" in source.serves


def test_without_a_filter_everybody_should_be_there(source: Source) -> None:
    known = source.known(Filter(), TIMEOUT_S)
    assert known.nodes == NAMES
    assert not known.residual
    assert known.absent == {}


def test_identities_are_always_decided(source: Source) -> None:
    known = source.known(from_options(identities=["web2", "/^db/"]), TIMEOUT_S)
    assert known.nodes == ("web2", "db1.example.net")
    assert not known.residual


def test_a_named_node_that_it_does_not_know_is_told_with_the_source(source: Source) -> None:
    known = source.known(from_options(identities=["web1", "web99"]), TIMEOUT_S)
    assert known.nodes == ("web1",)
    assert known.absent.keys() == {"web99"}
    assert source.name in known.absent["web99"]


def test_it_can_be_asked_again_and_by_several_at_once(source: Source) -> None:
    asked = [from_options(identities=[name]) for name in NAMES] * 3
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda one: source.known(one, TIMEOUT_S).nodes, asked))
    assert answers == [(name,) for name in NAMES] * 3


identities = st.sampled_from(["web1", "web2", "db1.example.net", "web99", "/web/", "/1$/", "/nobody/"])
classes = st.sampled_from(["nginx", "base", "postgresql", "apache", "/sql/", "/^b/"])
facts = st.sampled_from(["country=de", "country!=de", "cores>=8", "cores<10", "country=/^f/", "kernel=6", "kernel!=6"])
agents = st.sampled_from(["rpcutil", "iptables", "puppet", "/ip/"])
compound = st.sampled_from(["nginx or country=de", "not /sql/ and cores<16", "web1 or base"])
node_filters = st.builds(
    from_options,
    identities=st.lists(identities, max_size=3),
    classes=st.lists(classes, max_size=2),
    facts=st.lists(facts, max_size=2),
    agents=st.lists(agents, max_size=2),
    compound=st.lists(compound, max_size=1),
)


@settings(max_examples=40)
@given(node_filter=node_filters)
def test_what_it_decides_and_what_the_nodes_say_to_the_rest_is_the_whole_filter(
    source: Source, node_filter: Filter
) -> None:
    known = source.known(node_filter, TIMEOUT_S)
    # Then nobody is named whom the part that it decided does not match, and nobody is left out
    by_name = {node.identity: node for node in FLEET}
    found = {name for name in known.nodes if known.residual.matches(by_name[name])}
    assert found == {node.identity for node in FLEET if node_filter.matches(node)}
    # And every node that was named one by one is there or absent
    named = {name for name in node_filter.identities if not name.startswith("/")}
    assert known.absent.keys() == named - set(known.nodes)
    assert all(known.absent.values())
    # And the rest is a part of the filter, in fields and terms
    for kind in FILTER_KINDS:
        left = getattr(known.residual, kind)
        assert set(left) <= set(getattr(node_filter, kind))


@given(node_filters, st.sets(st.sampled_from(sorted(FILTER_KINDS))))
def test_the_two_parts_of_a_filter_are_the_whole(node_filter: Filter, serves: set[str]) -> None:
    served, residual = split(node_filter, serves)
    for node in FLEET:
        assert (served.matches(node) and residual.matches(node)) == node_filter.matches(node)
    for kind in FILTER_KINDS:
        assert getattr(residual if kind in serves else served, kind) == ()


@pytest.mark.parametrize(
    ("kind", "options"), [("inventory", ["x"]), ("flatfile", ["x"]), ("stdin", []), ("external", ["x"])]
)
def test_each_kind_can_be_made(kind: str, options: list[str]) -> None:
    assert make(kind, options, ClientSettings()).name
