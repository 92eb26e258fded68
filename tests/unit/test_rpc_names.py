# SPDX-License-Identifier: Apache-2.0
"""Names on the wire, status codes, the error tree and suggestions: small things that all the rest spells."""

from __future__ import annotations

import re
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mco_rpc import errors, names
from mco_rpc.connector import client_endpoint, node_endpoint
from mco_rpc.status import Status
from mco_rpc.suggestion import did_you_mean

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,60}", fullmatch=True)


@pytest.mark.parametrize(
    "name", ["web1", "web1.example.net", "a", "9", "alice@example.net", "acme::x", "x" * 128, "a_b-c+d"]
)
def test_ordinary_names_can_be_used(name: str) -> None:
    assert names.check("identity", name) == name
    assert names.is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "#",
        "*",
        "a.#",
        "a*",
        "../etc",
        "/x",
        "a/b",
        "-a",
        ".a",
        "_a",
        "a\n",
        "a\0",
        "ä",
        "٣",
        "x" * 129,
        "a=b",
    ],
)
def test_names_that_mean_something_elsewhere_cannot(name: str) -> None:
    assert not names.is_name(name)
    with pytest.raises(errors.ConfigError, match=r"identity .* cannot be used: 1 to 128 letters, digits"):
        names.check("identity", name)


@given(st.text(max_size=200))
@example("\ud800")
def test_a_name_that_can_be_used_fits_an_amqp_key_and_holds_no_wildcard(name: str) -> None:
    if names.is_name(name):
        assert len(names.reply_queue(names.reply_key(name, "0" * 32)).encode()) <= 255
        assert not set(name) & set("*#/ \n\0")


def test_everybody_is_addressed_as_on_the_wire() -> None:
    node = node_endpoint("web1", ["a", "b"], ["iptables"])
    assert node.queue == "mco.node.web1"
    assert node.collectives == ("a", "b")
    assert set(node.bindings) == {
        ("a.node", "web1"),
        ("b.node", "web1"),
        ("a.broadcast", "agent.iptables"),
        ("b.broadcast", "agent.iptables"),
    }
    client = client_endpoint(names.reply_key("key=alice", "5f"), "a")
    assert (client.queue, client.bindings) == ("mco.reply.alice.5f", (("a.reply", "alice.5f"),))
    assert names.event_key("presence", "web1") == "presence.web1"


@given(NAMES, st.from_regex(r"[0-9a-f]{1,16}", fullmatch=True))
def test_a_caller_is_answered_under_its_own_key(caller: str, token: str) -> None:
    assert names.is_reply_key_of(f"key={caller}", names.reply_key(f"key={caller}", token))


@pytest.mark.parametrize(
    ("caller", "key"),
    [
        ("key=alice", "bob.1"),
        ("key=alice", "alice"),
        ("key=alice", "alice."),
        ("key=alice", ".1"),
        ("key=alice", ""),
        ("key=alice", "alice.1.2"),
        ("key=alice", "alice.smith.1"),  # that is alice.smith's
        ("key=alice.smith", "alice.1"),
        ("key=alice", "alicex.1"),
        ("key=alice", "alice.#"),
        ("key=alice", "alice.*"),
        ("key=alice", "alice.1\n"),
        ("key=alice", "alice." + "x" * 128),
        ("key=", ".1"),
        ("", ".1"),
    ],
)
def test_nobody_is_answered_under_anothers_key(caller: str, key: str) -> None:
    assert not names.is_reply_key_of(caller, key)


@given(NAMES, NAMES, st.from_regex(r"[0-9a-f]{1,16}", fullmatch=True))
def test_a_key_belongs_to_one_caller(one: str, other: str, token: str) -> None:
    if one != other:
        assert not names.is_reply_key_of(one, names.reply_key(other, token))


def test_the_status_codes_are_mcollectives_and_ours() -> None:
    assert [(int(status), status.text) for status in Status] == [
        (0, "ok"),
        (1, "aborted"),
        (2, "unknown action"),
        (3, "missing data"),
        (4, "invalid data"),
        (5, "unknown error"),
        (6, "denied"),
        (7, "timed out"),
        (8, "expired"),
    ]


Kind = TypeVar("Kind", bound=errors.McoError)


def tree(root: type[Kind]) -> set[type[Kind]]:
    found = {root}
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            found |= tree(child)
    return found


def test_the_tree_in_the_documentation_is_the_tree() -> None:
    drawn = re.findall(r"^(?:[│├└─ ]*)([A-Z]\w+)   ", errors.__doc__ or "", re.MULTILINE)
    assert sorted(drawn) == sorted(kind.__name__ for kind in tree(errors.McoError))


@pytest.mark.parametrize("kind", sorted(tree(errors.RequestError), key=str))
def test_an_error_that_crosses_the_wire_has_a_status_and_keeps_its_data(kind: type[errors.RequestError]) -> None:
    data = {"changed": False}
    made = kind("why", data)
    data["changed"] = True
    assert (str(made), made.data) == ("why", {"changed": False})
    assert made.status is not Status.OK
    assert kind("why").data == {}


def test_every_failing_status_has_one_error() -> None:
    kinds_of_another = (errors.Cancelled, errors.ClockSkew)
    statuses = [kind.status for kind in tree(errors.RequestError) if kind not in kinds_of_another]
    assert (errors.Cancelled.status, errors.ClockSkew.status) == (Status.ABORTED, Status.EXPIRED)
    assert sorted(statuses) == [status for status in Status if status is not Status.OK]


def test_a_failed_expectation_is_an_assertion() -> None:
    with pytest.raises(AssertionError):
        raise errors.ExpectationFailed("not blocked on 2 of 27: web3, web9")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("isblockd", ", did you mean isblocked?"), ("zzz", ""), ("", ""), (3, ""), ("block", ", did you mean block?")],
)
def test_the_nearest_name_is_suggested(name: object, suggestion: str) -> None:
    assert did_you_mean(name, ["block", "isblocked"]) == suggestion
    assert did_you_mean(name, []) == ""


def test_a_name_of_a_megabyte_is_not_compared_at_length() -> None:
    known = [f"{letter}" * 100 for letter in "abcdefgh"]
    assert did_you_mean("a" * 1_000_000, known).startswith(", did you mean aaa")


def test_a_caller_leaves_room_for_the_rest_of_its_reply_key() -> None:
    longest = names.check("caller", "x" * 100)
    assert names.is_reply_key_of(f"key={longest}", names.reply_key(f"key={longest}", "0" * 16))
    with pytest.raises(errors.ConfigError, match="101 characters; at most 100 are allowed"):
        names.check("caller", "x" * 101)
