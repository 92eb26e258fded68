# SPDX-License-Identifier: Apache-2.0
"""An external command gets the whole filter, and whatever it does wrong is told with its own words."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mco_client.discovery import external
from mco_client.discovery.external import External
from mco_client.discovery.source import Known
from mco_rpc.errors import ConfigError, DiscoveryError, FilterError, McoError
from mco_rpc.filters import Filter, Subject, from_options

PATIENCE_S = 60.0
ALL = from_options(identities=["web1", "/^db/"], classes=["nginx"], facts=["country=de"], agents=["rpcutil"])


def command(program: str, *arguments: str) -> list[str]:
    return [shlex.join([sys.executable, "-c", program, *arguments])]


def printing(text: str) -> list[str]:
    return [shlex.join(["printf", "%s", text])]


def ask(words: list[str], node_filter: Filter = Filter(), seconds: float = PATIENCE_S) -> Known:  # noqa: B008
    return External(words, "mcollective").known(node_filter, seconds)


def replying(reply: Any, node_filter: Filter = Filter()) -> Known:  # noqa: B008
    return ask(printing(json.dumps(reply)), node_filter)


def test_it_gets_the_whole_filter_and_what_else_it_needs(tmp_path: Path) -> None:
    seen = tmp_path / "request"
    ask(command("import sys; open(sys.argv[1], 'w').write(sys.stdin.read()); print('{\"nodes\": []}')", str(seen)), ALL)
    assert json.loads(seen.read_text()) == {
        "version": 1,
        "collective": "mcollective",
        "timeout_s": PATIENCE_S,
        "filter": {
            "identities": ["web1", "/^db/"],
            "classes": ["nginx"],
            "facts": [["country", "==", "de"]],
            "agents": ["rpcutil"],
        },
    }


def test_it_decides_everything_unless_it_says_otherwise() -> None:
    known = replying({"nodes": ["web1", "db7"]}, ALL)
    assert (known.nodes, known.residual, known.absent) == (("web1", "db7"), Filter(), {})


def test_what_it_does_not_decide_is_left_to_the_nodes_and_names_are_compared_here() -> None:
    known = replying({"nodes": ["web1", "web2", "db7"], "serves": ["classes"]}, ALL)
    assert known.nodes == ("web1", "db7")
    assert known.residual == from_options(facts=["country=de"], agents=["rpcutil"])
    assert replying({"nodes": ["web1", "web2"], "serves": []}).nodes == ("web1", "web2")


def test_a_reply_as_a_choria_client_expects_it_is_taken() -> None:
    reply = {"protocol": "io.choria.choria.discovery.v1.external_reply", "nodes": ["web1"], "error": ""}
    assert replying(reply).nodes == ("web1",)


def test_a_group_is_its_own_business() -> None:
    known = replying({"nodes": ["web1", "web2"]}, from_options(identities=["group:web"]))
    assert (known.nodes, known.absent) == (("web1", "web2"), {})


def test_a_node_that_was_named_and_is_not_in_the_reply_is_absent() -> None:
    known = replying({"nodes": ["db1"]}, ALL)
    assert known.absent.keys() == {"web1"}
    assert "does not name it" in known.absent["web1"]


def test_each_node_counts_once() -> None:
    assert replying({"nodes": ["web1", "db1", "web1"]}).nodes == ("web1", "db1")


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"error": "the database is down"}, "the database is down$"),
        ({"error": "no\x1b[2J", "nodes": ["web1"]}, r"no\\x1b\[2J$"),
        ({}, "nodes: expected a list of identities, found nothing"),
        ({"nodes": None}, "nodes: expected a list of identities, found nothing"),
        ({"nodes": "web1"}, "nodes: expected a list of identities, found a text"),
        ({"nodes": {"web1": {}}}, "nodes: expected a list of identities, found an object"),
        ({"nodes": ["web1", 7]}, r"nodes\[1\]: expected an identity, found a number"),
        ({"nodes": ["web1", "web 2"]}, r"nodes\[1\]: identity 'web 2' cannot be used"),
        ({"nodes": ["web1", "web\x1b[2J"]}, r"nodes\[1\]: identity 'web\\x1b\[2J' cannot be used"),
        ({"nodes": ["x" * 100_000]}, r"nodes\[0\]: identity 'x+\.\.\.' cannot be used"),
        ({"node": ["web1"]}, "its reply has the unknown key 'node', did you mean nodes?"),
        ({"nodes": [], "servs": []}, "its reply has the unknown key 'servs', did you mean serves?"),
        ({"nodes": [], "serves": ["clases"]}, "serves: 'clases' is not one of .*, did you mean classes?"),
        ({"nodes": [], "serves": [["classes"]]}, r"serves: \['classes'\] is not one of agents, classes"),
        ({"nodes": [], "serves": "classes"}, "serves: expected a list of filter kinds, found a text"),
        ({"nodes": [], "serves": None}, "serves: expected a list of filter kinds, found nothing"),
        (["web1"], "expected an object such as .*, found a list"),
        (True, "expected an object such as .*, found true or false"),
    ],
)
def test_a_reply_that_is_not_right_is_told(reply: Any, message: str) -> None:
    with pytest.raises(DiscoveryError, match=f"^external discovery `printf .*`: {message}") as wrong:
        replying(reply)
    assert len(str(wrong.value)) < 1000
    assert str(wrong.value).isprintable()


def test_a_command_that_looks_at_no_filter_is_found_out() -> None:
    with pytest.raises(DiscoveryError, match=r"it names db1, and was asked for identity=web1; .*\"serves\": \[\]"):
        replying({"nodes": ["web1", "db1"]}, from_options(identities=["web1"]))


@pytest.mark.parametrize("text", ["web1\nweb2\n", "{", '{"nodes": ["web1"]} {"nodes": []}', "[" * 5000, "\x1b[2J"])
def test_what_is_no_json_is_shown(text: str) -> None:
    with pytest.raises(
        DiscoveryError, match=r'it did not print JSON: .*; expected \{"nodes": \["web1", "web2"\]\}, found '
    ):
        ask(printing(text))


def test_bytes_that_are_no_text_are_no_names() -> None:
    with pytest.raises(DiscoveryError, match=r"nodes\[0\]: identity .* cannot be used"):
        ask([r"""printf '{"nodes": ["web\377"]}'"""])


def test_what_it_said_last_is_told_with_its_status() -> None:
    with pytest.raises(DiscoveryError, match=r"`: it ended with status 3: no such host$"):
        ask(command("import sys; print('{\"nodes\": []}'); print('no such host', file=sys.stderr); sys.exit(3)"))
    with pytest.raises(DiscoveryError, match=r"`: it ended with status -9$"):
        ask(["sh -c 'kill -9 $$'"])
    with pytest.raises(DiscoveryError, match=r"`: it printed nothing; expected .*: warning$"):
        ask(["sh -c 'echo warning >&2'"])


def test_it_need_not_read_what_it_is_asked() -> None:
    many = from_options(identities=[f"web{number}" for number in range(9000)])
    assert len(replying({"nodes": [], "serves": []}, many).absent) == 9000


def test_past_the_deadline_it_and_all_it_started_are_ended(tmp_path: Path) -> None:
    # Given a command that starts another one, which would outlive it, and waits for ever
    pid_file = tmp_path / "pid"
    script = f"sleep 1000 & echo $! > {shlex.quote(str(pid_file))}; wait"
    with pytest.raises(DiscoveryError, match="`: no reply within 1 s; it was ended"):
        ask([shlex.join(["sh", "-c", script])], seconds=1.0)
    # Then both are gone
    pid = int(pid_file.read_text())
    until = time.monotonic() + PATIENCE_S
    while _runs(pid):
        assert time.monotonic() < until, "still there"
        os.sched_yield()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "MAX_BYTES", 10_000)
    with pytest.raises(DiscoveryError, match=r"`: it printed more than the 10,000 bytes that are read"):
        ask(command("print('x' * 10_001)"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/no/such/command"], "it cannot be started: No such file or directory"),
        (["/"], "it cannot be started: Permission denied"),
        (["a\0b"], "it cannot be started: embedded null byte"),
    ],
)
def test_what_cannot_be_started_is_told(words: list[str], message: str) -> None:
    with pytest.raises(DiscoveryError, match=message) as wrong:
        ask(words)
    assert str(wrong.value).isprintable()


@pytest.mark.parametrize("words", [[], [""], ["   "]])
def test_a_command_is_needed(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="external needs a command: give it in discovery_options"):
        External(words, "mcollective")


def test_a_quote_that_is_not_closed_is_told() -> None:
    with pytest.raises(ConfigError, match="is no command: No closing quotation"):
        External(["cmdb 'a"], "mcollective")


def test_words_may_come_one_by_one_and_no_shell_reads_them(tmp_path: Path) -> None:
    program = "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w')); print('{\"nodes\": []}')"
    seen = tmp_path / "words"
    ask([*command(program, str(seen)), "--site", "'two words' $HOME ; id"])
    assert json.loads(seen.read_text()) == ["--site", "two words", "$HOME", ";", "id"]


def test_half_a_character_in_a_filter_is_an_error_of_ours() -> None:
    with pytest.raises(FilterError, match="not text that can be sent"):
        replying({"nodes": []}, Filter(classes=("\udcff",)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["web1", "classes"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(external._REPLY_KEYS), inner, max_size=4)
    ),
    max_leaves=6,
)


@settings(max_examples=60)
@given(json_values, st.sampled_from([Filter(), ALL, from_options(identities=["web1"])]))
def test_no_reply_gives_anything_but_matching_nodes_or_an_error_of_ours(reply: Any, node_filter: Filter) -> None:
    try:
        known = replying(reply, node_filter)
    except McoError:
        return
    assert all(Filter(node_filter.identities).matches(Subject(name)) for name in known.nodes)
