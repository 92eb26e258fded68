# SPDX-License-Identifier: Apache-2.0
"""Inventories, ours and Ansible's: what they decide, and that every mistake names its file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mco_client.discovery import inventory_file, marked_yaml
from mco_client.discovery.inventory import Inventory
from mco_client.discovery.source import Known
from mco_rpc.errors import ConfigError, DiscoveryError, McoError
from mco_rpc.filters import Filter, from_options

OURS = """\
# What should be there.
hosts:
  web[01:03].example.net:
    classes: [nginx]
    facts: {cores: 4}
  db1:
    facts:
      cores: 16
      disks: [sda, sdb]
  lonely:
groups:
  web:
    hosts: ["web[01:03].example.net"]
    classes: [acme::front]
    facts: {tier: front}
  db:
    hosts: [db1]
    facts: {tier: back, cores: 8}
  germany:
    groups: [web, db]
    facts: {country: de, tier: any}
"""
ANSIBLE = """\
all:
  vars:
    country: de
    url: "https://{{ inventory_hostname }}/"
  hosts:
    mail.example.net:
      ansible_host: 10.0.0.1
      cores: 2
  children:
    web:
      hosts:
        web[1:3]:
        web2:
          cores: 8
      vars:
        tier: front
        cores: 4
        password: !vault |
          $ANSIBLE_VAULT;1.1;AES256
          3330
    db:
      hosts: db1
      vars: {tier: back}
    eu:
      children:
        web:
        db:
      vars: {tier: any, zone: eu, ways: {north: ["{{ way }}", 1]}}
"""
WEB = tuple(f"web0{number}.example.net" for number in (1, 2, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ours.yaml").write_text(OURS)
    (tmp_path / "ansible.yml").write_text(ANSIBLE)
    return tmp_path


def ask(file: Path, node_filter: Filter = Filter(), /, **options: list[str]) -> Known:  # noqa: B008
    return Inventory((file,)).known(node_filter.merged(from_options(**options)), 1.0)


@pytest.mark.parametrize(
    ("options", "nodes", "residual"),
    [
        ({}, (*WEB, "db1", "lonely"), {}),
        ({"identities": ["group:web"]}, WEB, {}),
        ({"identities": ["group:web", "lonely", "/^db/"]}, (*WEB, "db1", "lonely"), {}),
        ({"identities": ["group:germany"]}, (*WEB, "db1"), {}),
        ({"identities": ["group:germany"], "facts": ["tier=back"]}, ("db1",), {}),
        ({"classes": ["nginx"]}, WEB, {}),
        ({"classes": ["/front/"]}, WEB, {}),
        ({"classes": ["apache"]}, (), {}),
        ({"facts": ["country=de"]}, (*WEB, "db1"), {}),
        # Said of the host, else by the group that is nested deepest.
        ({"facts": ["cores=16"]}, ("db1",), {}),
        ({"facts": ["cores=8"]}, (), {}),
        ({"facts": ["tier=front"]}, WEB, {}),
        ({"facts": ["tier=any"]}, (), {}),
        ({"facts": ["disks=sdb"]}, ("db1",), {}),
        # Of which nothing is said there, the nodes must be asked.
        ({"facts": ["kernel=/^6/", "tier=back"]}, ("db1",), {"facts": ["kernel=/^6/"]}),
        ({"agents": ["puppet"], "classes": ["nginx"]}, WEB, {"agents": ["puppet"]}),
    ],
)
def test_what_an_inventory_decides(
    folder: Path, options: dict[str, list[str]], nodes: tuple[str, ...], residual: dict[str, list[str]]
) -> None:
    known = ask(folder / "ours.yaml", **options)
    assert (known.nodes, known.residual) == (nodes, from_options(**residual))


@pytest.mark.parametrize(
    ("options", "nodes", "residual"),
    [
        ({}, ("mail.example.net", "web1", "web2", "web3", "db1"), {}),
        ({"identities": ["group:web"]}, ("web1", "web2", "web3"), {}),
        ({"identities": ["group:eu"]}, ("web1", "web2", "web3", "db1"), {}),
        ({"identities": ["group:all"]}, ("mail.example.net", "web1", "web2", "web3", "db1"), {}),
        ({"facts": ["country=de"]}, ("mail.example.net", "web1", "web2", "web3", "db1"), {}),
        ({"facts": ["tier=front"]}, ("web1", "web2", "web3"), {}),
        ({"facts": ["zone=eu", "cores>=8"]}, ("web2",), {}),
        ({"facts": ["cores<4"]}, ("mail.example.net",), {}),
        # No classes, no templates, no secrets, and how to reach a host is no fact of it.
        ({"classes": ["web"]}, ("mail.example.net", "web1", "web2", "web3", "db1"), {"classes": ["web"]}),
        ({"facts": ["url=/web1/", "tier=back"]}, ("db1",), {"facts": ["url=/web1/"]}),
        ({"facts": ["password=x", "tier=back"]}, ("db1",), {"facts": ["password=x"]}),
        ({"facts": ["ways=north", "tier=back"]}, ("db1",), {"facts": ["ways=north"]}),
        ({"facts": ["ansible_host=10.0.0.1", "tier=back"]}, ("db1",), {"facts": ["ansible_host=10.0.0.1"]}),
    ],
)
def test_what_ansibles_inventory_decides(
    folder: Path, options: dict[str, list[str]], nodes: tuple[str, ...], residual: dict[str, list[str]]
) -> None:
    known = ask(folder / "ansible.yml", **options)
    assert (known.nodes, known.residual) == (nodes, from_options(**residual))


def test_ansibles_groups_may_disagree_and_the_last_by_name_wins(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yml"
    file.write_text("b: {hosts: {x: }, vars: {tier: b}}\na: {hosts: {x: }, vars: {tier: a}}\n")
    assert ask(file, facts=["tier=b"]).nodes == ("x",)
    assert ask(file, facts=["tier=a"]).nodes == ()


def test_an_inventory_without_classes_leaves_them_to_the_nodes(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("hosts: [web1, web2]\n")
    known = ask(file, classes=["nginx"], facts=["country=de"], identities=["web1"])
    assert known.nodes == ("web1",)
    assert known.residual == from_options(classes=["nginx"], facts=["country=de"])


def test_groups_alone_make_an_inventory(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("groups:\n  web: {hosts: ['web[1:2]']}\n  all: {hosts: [db1], groups: [web]}\n")
    assert ask(file).nodes == ("web1", "web2", "db1")
    assert set(ask(file, identities=["group:all"]).nodes) == {"web1", "web2", "db1"}


def test_groups_that_are_nested_a_thousand_deep_are_read(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    chain = {f"g{number}": {"groups": [f"g{number + 1}"]} for number in range(1000)}
    file.write_text(yaml.safe_dump({"groups": {**chain, "g1000": {"hosts": ["web1"]}}, "hosts": ["web1", "web2"]}))
    assert ask(file, identities=["group:g0"]).nodes == ("web1",)


def test_a_group_that_many_ways_lead_to_is_walked_through_once(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    inner = {f"{side}{n}": {"groups": [f"a{n + 1}", f"b{n + 1}"]} for n in range(60) for side in "ab"}
    file.write_text(yaml.safe_dump({"groups": {**inner, "a60": {"hosts": ["x"]}, "b60": {"hosts": ["y"]}}}))
    assert set(ask(file, identities=["group:a0"]).nodes) == {"x", "y"}


def test_a_fact_that_one_file_leaves_open_is_asked_of_the_nodes(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yml", tmp_path / "two.yml"
    one.write_text("a: {hosts: {x: {url: plain}}}\n")
    two.write_text("a: {hosts: {y: {url: '{{ made }}'}}}\n")
    known = Inventory((one, two)).known(from_options(facts=["url=plain"]), 1.0)
    assert known == Known(("x", "y"), from_options(facts=["url=plain"]))


def test_anchors_aliases_and_merges_are_read(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(
        "hosts:\n  web1: &web {classes: [nginx], facts: &facts {tier: front, cores: 4}}\n  web2: *web\n"
        "  web3: {<<: *web, facts: {<<: *facts, cores: 8}}\n"
    )
    assert ask(file, classes=["nginx"], facts=["tier=front"]).nodes == ("web1", "web2", "web3")
    assert ask(file, facts=["cores=8"]).nodes == ("web3",)
    # Of several that are merged the first one counts
    file.write_text("hosts: {a: &a {facts: {t: 1}}, b: &b {facts: {t: 2}}, c: {<<: [*a, *b]}}\n")
    assert ask(file, facts=["t=1"]).nodes == ("a", "c")


def test_several_files_are_one_inventory(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yml"
    one.write_text("hosts: {web1: }\ngroups: {web: {hosts: [web1], facts: {tier: front}}}\n")
    two.write_text("web: {hosts: {web2: }, vars: {tier: front}}\n")
    both = Inventory((one, two))
    assert both.known(from_options(identities=["group:web"], facts=["tier=front"]), 1.0).nodes == ("web1", "web2")
    two.write_text("hosts: [web2, web1]\n")
    with pytest.raises(ConfigError, match=rf"^{two}, line 1: hosts\[1\]: host web1 is given twice: see {one}, line 1"):
        both.known(Filter(), 1.0)


def test_who_is_named_and_not_there_is_told_why(folder: Path) -> None:
    file = folder / "ours.yaml"
    known = ask(file, identities=["lonely", "db1", "db2", "group:web"], facts=["tier=front"])
    assert known.nodes == WEB
    assert known.absent == {
        "lonely": f"inventory {file} says that the rest of the filter does not match it",
        "db1": f"inventory {file} says that the rest of the filter does not match it",
        "db2": f"inventory {file} does not name it, did you mean db1?",
    }


def test_a_group_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(DiscoveryError, match=r"ours.yaml: there is no group 'wbe', did you mean web\?$"):
        ask(folder / "ours.yaml", identities=["group:wbe"])


MISTAKES = [
    ("", "FILE: it names no host; expected `hosts:`, `groups:` or an Ansible inventory"),
    ("# nothing", "FILE: it names no host"),
    ("hosts:", "FILE: it names no host"),
    ("all:", "FILE: it names no host"),
    ("[web1]", "FILE, line 1: expected `key: value` lines, found a list"),
    ("web1", "FILE, line 1: expected `key: value` lines, found 'web1'"),
    ("\nhots: {web1: }", "FILE, line 2: hots: unknown key, did you mean hosts?"),
    ("xyz: 3", "FILE, line 1: xyz: unknown key: expected hosts, groups, or the groups of an Ansible inventory"),
    ("hosts: [a]\ngrups: {}", "FILE, line 2: grups: unknown key, did you mean groups?"),
    ("hosts: web1", "FILE, line 1: hosts: expected a list, found 'web1'"),
    ("hosts:\n  - [web1]", "FILE, line 2: hosts[0]: expected a name, found a list"),
    ("hosts:\n  web1:\n    fact: {a: 1}", "FILE, line 3: hosts.web1.fact: unknown key, did you mean facts?"),
    ("hosts:\n  web1: {facts: [1]}", "FILE, line 2: hosts.web1.facts: expected `key: value` lines, found a list"),
    ("hosts:\n  web1: {classes: nginx}", "FILE, line 2: hosts.web1.classes: expected a list, found 'nginx'"),
    ("hosts:\n  - web1\n  - web1", "FILE, line 3: hosts[1]: host web1 is given twice: see FILE, line 2: hosts[0]"),
    ("hosts:\n  web1:\n  web1:", "FILE, line 3: hosts.web1: it stands there twice, in line 2 as well"),
    ("hosts:\n  a[1:3]:\n  a2:", "FILE, line 3: hosts.a2: host a2 is given twice: see FILE, line 2: hosts.a[1:3]"),
    ("hosts:\n  - a b", "FILE, line 2: hosts[0]: identity 'a b' cannot be used: 1 to 128 letters"),
    ("hosts:\n  - a[3:1]", "FILE, line 2: hosts[0]: range [3:1] cannot be understood"),
    ("hosts: ['a[1:999999999]']", "FILE, line 1: hosts[0]: range [1:999999999] has more than 1,000,000 names"),
    ('hosts: {"a\\e]": }', "FILE, line 1: hosts.a\\x1b]: the brackets of 'a\\x1b]' do not match"),
    ('hosts: {"a\\0": }', "FILE, line 1: hosts.a\\x00: identity 'a\\x00' cannot be used"),
    ("hosts: {? {a: b} : c}", "FILE, line 1: hosts: expected a name as key, found `key: value` lines"),
    ("groups: {a: {hosts: {x: }}}", "FILE, line 1: groups.a.hosts: expected a list, found `key: value` lines"),
    ("hosts: {x: {classes: [[y]]}}", "FILE, line 1: hosts.x.classes[0]: expected a name, found a list"),
    ("hosts: {? [a] : b}", "FILE, line 1: hosts: expected a name as key, found a list"),
    ("hosts: {a: {facts: {b: !!python/name:os.x }}}", "FILE, line 1: hosts.a.facts.b: its value cannot be read: could"),
    ("hosts: {a: {facts: {b: !!int x}}}", "FILE, line 1: hosts.a.facts.b: its value cannot be read: invalid literal"),
    ("hosts: &a {<<: *a}", "FILE, line 1: hosts: it merges itself"),
    ("hosts: {<<: [b]}", "FILE, line 1: hosts: expected `key: value` lines, found 'b'"),
    ("groups:\n  a b: {hosts: [x]}", "FILE, line 2: groups.a b: group 'a b' cannot be used"),
    ("groups: {a: {hosts: [x, x]}}", "FILE, line 1: groups.a.hosts[1]: host x is given twice"),
    ("groups: {a: {host: [x]}}", "FILE, line 1: groups.a.host: unknown key, did you mean hosts?"),
    (
        "groups:\n  web: {hosts: [x]}\n  b: {groups: [wbe]}",
        "FILE, line 3: groups.b.groups[0]: there is no group 'wbe', ",
    ),
    (
        "hosts: [web1]\ngroups:\n  a:\n    hosts: [web2]",
        "FILE, line 4: groups.a.hosts[0]: host web2 is not among the `hosts:` of this file, did you mean web1?",
    ),
    (
        "groups:\n  a: {groups: [b]}\n  b: {groups: [c], hosts: [x]}\n  c: {groups: [b]}",
        "FILE, line 3: groups.b.groups[0]: group b is in itself: b -> c -> b",
    ),
    ("groups: {a: {groups: [a], hosts: [x]}}", "FILE, line 1: groups.a.groups[0]: group a is in itself: a -> a"),
    ("all: {hosts: [x]}", "FILE, line 1: all.hosts: expected `key: value` lines, found a list"),
    ("all: {host: {x: }}", "FILE, line 1: all.host: unknown key, did you mean hosts?"),
    ("all: &a {hosts: {x: }, children: {b: *a}}", "FILE, line 1: all.children.b: the group is in itself"),
    (
        "a: {children: {b: {children: {a: }}}, hosts: {x: }}",
        "FILE, line 1: a.children.b: group a is in itself: a -> b -> a",
    ),
    ("hosts: [x", "FILE: line 2, column 1: not YAML: did not find expected ',' or ']'"),
    ("hosts: *nobody", "FILE: line 1, column 8: not YAML: found undefined alias"),
    ("hosts:\n\t- x", "FILE: line 2, column 1: not YAML: found character that cannot start any token"),
    ("hosts: \x00", "FILE: not YAML: unacceptable character #x0000"),
    ("hosts: " + "[" * 600, "FILE: line 1, column 507: not YAML: nested more than 500 deep"),
    (
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
        "FILE: line 15, column 18: not YAML: its aliases stand for more than 100000 values",
    ),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_every_mistake_names_its_file_its_line_and_its_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as wrong:
        ask(file)
    assert str(wrong.value).startswith(message.replace("FILE", str(file)))
    assert len(str(wrong.value)) < 1000


def test_two_groups_that_disagree_about_a_host_are_a_mistake_where_it_matters(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    said = (
        "groups:\n  a: {hosts: [x, y], facts: {tier: one, site: s}}\n  b: {hosts: [x], facts: {tier: two, site: s}}\n"
        "hosts: {x: , y: }\n"
    )
    file.write_text(said)
    with pytest.raises(ConfigError, match=r"line 3: groups.b: groups a and b say different things of x's fact tier, "):
        ask(file, facts=["site=s"])
    # Where nothing depends on it, nobody is told off
    assert ask(file).nodes == ("x", "y")
    # A host's own word, and that of a group that is nested deeper, count
    file.write_text(said.replace("x: ,", "x: {facts: {tier: three}},"))
    assert ask(file, facts=["tier=three"]).nodes == ("x",)
    file.write_text(said.replace("  b: {", "  all: {groups: [b]}\n  b: {"))
    assert ask(file, facts=["tier=two"]).nodes == ("x",)


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("hosts: ['a[1:9]']\n")
    monkeypatch.setattr(inventory_file, "MAX_NODES", 8)
    with pytest.raises(ConfigError, match=r"line 1: hosts\[0\]: more than 8 hosts"):
        ask(file)
    monkeypatch.setattr(marked_yaml, "_MAX_BYTES", 10)
    with pytest.raises(ConfigError, match=r"hosts.yaml: more than the 10 bytes that are read"):
        ask(file)


@pytest.fixture(scope="module")
def some_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inventory") / "hosts.yaml"


keys = st.sampled_from(
    ["hosts", "groups", "classes", "facts", "all", "children", "vars", "web", "web1", "a[1:3]", "<<"]
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.dates() | st.text(max_size=5) | keys,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)
FILTERS = [Filter(), from_options(identities=["group:web"]), from_options(classes=["/w/"], facts=["web=1", "web1=web"])]


@given(
    st.text(alphabet="hostsgrupweb1[]{}:,-&*<!|>'\"#% \n\t") | trees.map(lambda tree: yaml.safe_dump(tree)),
    st.sampled_from(FILTERS),
)
@example("hosts: {web1: {facts: {web: &a [*a]}}}", FILTERS[2])
@example("web: &a {hosts: {x: }, vars: {web: *a}}", FILTERS[2])
def test_no_text_gives_anything_but_hosts_or_an_error_of_ours(some_file: Path, text: str, node_filter: Filter) -> None:
    some_file.write_text(text)
    try:
        known = ask(some_file, node_filter)
    except McoError:
        return
    assert set(known.nodes) <= set(ask(some_file).nodes)
    assert set(known.residual.facts) <= set(node_filter.facts)


names = st.sampled_from([f"g{number}" for number in range(6)])
hosts = st.sampled_from([f"h{number}" for number in range(6)])


@given(st.dictionaries(names, st.tuples(st.lists(hosts, unique=True), st.lists(names, unique=True)), min_size=1))
def test_a_group_is_its_hosts_and_those_of_the_groups_in_it(
    some_file: Path, groups: dict[str, tuple[list[str], list[str]]]
) -> None:
    inner = {name: [g for g in of if g in groups and g > name] for name, (_, of) in groups.items()}
    said = {name: {"hosts": members, "groups": inner[name]} for name, (members, _) in groups.items()}
    some_file.write_text(yaml.safe_dump({"hosts": [f"h{number}" for number in range(6)], "groups": said}))

    def members(name: str) -> set[str]:
        return set(groups[name][0]).union(*(members(child) for child in inner[name]))

    for name in groups:
        assert set(ask(some_file, identities=[f"group:{name}"]).nodes) == members(name)
