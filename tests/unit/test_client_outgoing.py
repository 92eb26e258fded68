# SPDX-License-Identifier: Apache-2.0
"""A request becomes one packet a named node, or as few broadcasts as can name everybody."""

from __future__ import annotations

import msgspec
import pytest

from mco_client.outgoing import MAX_BROADCAST_BYTES, PROBE, REQUEST, packets_of, probes_of
from mco_rpc.config import DEFAULT_MAX_BODY_BYTES
from mco_rpc.connector import Packet
from mco_rpc.errors import MessageError
from mco_rpc.filters import Filter
from mco_rpc.messages import Request, decode_request
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller, for_node

SEED = keys.new_seed()
ALICE = for_caller("alice", SEED, {})
NODE = for_node("web1", keys.new_seed(), {"alice": keys.public_of(SEED)})


def request(**fields: object) -> Request:
    values = {
        "id": "1", "collective": "mcollective", "agent": "rpcutil", "action": "ping", "caller": "key=alice",
        "sender": "here", "sent_at": 1.0, "ttl_s": 5.0, "reply_to": "alice.x", **fields,
    }  # fmt: skip
    return msgspec.convert(values, Request)


def verified(packet: Packet) -> Request:
    assert NODE.verify(packet.body, packet.signer, packet.signature) == "key=alice"
    return decode_request(packet.body)


def test_named_nodes_are_asked_one_by_one_up_to_the_limit() -> None:
    made = packets_of(request(targets=("a", "b")), ALICE, 2)
    assert list(made) == ["1"]
    assert [(p.exchange, p.key, p.type) for p in made["1"]] == [
        ("mcollective.node", "a", REQUEST),
        ("mcollective.node", "b", REQUEST),
    ]
    assert {p.body for p in made["1"]} == {made["1"][0].body}
    for packet in made["1"]:
        assert verified(packet).targets == ("a", "b")
        assert (packet.mandatory, packet.expiration_s, packet.message_id, packet.correlation_id) == (
            True,
            5.0,
            "1",
            "1",
        )


def test_beyond_it_by_one_broadcast_that_names_them() -> None:
    made = packets_of(request(targets=("a", "b", "c")), ALICE, 2)
    (packet,) = made["1"]
    assert (packet.exchange, packet.key) == ("mcollective.broadcast", "agent.rpcutil")
    assert verified(packet).targets == ("a", "b", "c")


def test_everybody_by_one_that_names_nobody() -> None:
    (packet,) = packets_of(request(filter=Filter(classes=("web",))), ALICE, 50)["1"]
    assert packet.exchange == "mcollective.broadcast"
    assert (verified(packet).targets, verified(packet).filter.classes) == (None, ("web",))


def test_nobody_by_nothing() -> None:
    assert packets_of(request(targets=()), ALICE, 50) == {"1": []}


@pytest.mark.parametrize("size_bytes", [0, 400_000])
def test_more_names_than_a_broadcast_holds_go_in_parts_each_with_its_id(size_bytes: int) -> None:
    # Given so many names that they fill more than two broadcasts, with inputs that are small or large
    names = tuple(f"node-{number:06}.example.net" for number in range(30_000))
    asked = request(id="1" * 32, targets=names, data={"x": "y" * size_bytes})
    made = packets_of(asked, ALICE, 50)
    # Then each part has an id of its own, and the first one the request's
    assert next(iter(made)) == asked.id
    assert len(made) > 2
    parts = [verified(packet) for packets in made.values() for packet in packets]
    assert [part.id for part in parts] == list(made)
    assert all(packet.message_id == packet.correlation_id == key for key, (packet,) in made.items())
    # And everybody is in exactly one of them, in order
    assert tuple(name for part in parts for name in part.targets or ()) == names
    if not size_bytes:
        assert all(len(packet.body) <= MAX_BROADCAST_BYTES for (packet,) in made.values())
    # And all else is the same in each
    assert len({msgspec.json.encode(msgspec.structs.replace(p, id="", targets=None)) for p in parts}) == 1


def test_a_name_alone_is_never_too_long_for_a_part() -> None:
    made = packets_of(request(targets=("ä" * 120, "b" * 128), data={"x": "y" * 300_000}), ALICE, 0)
    assert len(made) == 1


@pytest.mark.parametrize("direct_limit", [0, 50])
def test_what_nodes_would_not_read_is_not_sent(direct_limit: int) -> None:
    with pytest.raises(
        MessageError, match=r"rpcutil#ping: the request has .* bytes and nodes read at most .*; nothing"
    ):
        packets_of(request(targets=("a",), data={"x": "y" * DEFAULT_MAX_BODY_BYTES}), ALICE, direct_limit)
    with pytest.raises(MessageError, match="cannot be written as JSON"):
        packets_of(request(data={"x": object()}), ALICE, direct_limit)


def test_a_probe_is_a_ping_without_an_answer_that_comes_back_to_the_call() -> None:
    asked = request(targets=("a", "b", "c"), data={"x": 1}, noop=True, follow=True, filter=Filter(classes=("web",)))
    probes = probes_of(asked, ALICE, ("b", "c"), 1.0)
    assert [(p.key, p.type, p.exchange) for p in probes] == [
        ("b", PROBE, "mcollective.node"),
        ("c", PROBE, "mcollective.node"),
    ]
    for probe in probes:
        said = verified(probe)
        assert (probe.message_id, probe.mandatory, probe.expiration_s) == ("1", True, 1.0)
        assert (said.agent, said.action, said.reply_to, said.data) == ("discovery", "ping", None, {})
        assert (said.noop, said.follow, said.filter, said.targets, said.ttl_s) == (
            False,
            False,
            Filter(),
            ("b", "c"),
            1.0,
        )
        # A node takes an id once: this must not be the request's
        assert said.id != "1"
