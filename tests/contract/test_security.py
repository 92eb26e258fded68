# SPDX-License-Identifier: Apache-2.0
"""What every security provider does: who signed is told, and nothing that was touched gets by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mco_rpc.errors import SecurityError
from mco_rpc.filters import FactTerm, Filter
from mco_rpc.messages import Request, encode
from mco_rpc.security import Security, keys
from mco_rpc.security.ed25519 import for_caller, for_node

BODY = encode(
    Request(
        id="5f0c",
        collective="mcollective",
        agent="iptables",
        action="block",
        caller="key=alice",
        sender="desk",
        sent_at=1000.0,
        ttl_s=10.0,
        data={"ipaddr": "10.0.0.1"},
        filter=Filter(classes=("/dev/",), facts=(FactTerm("country", "==", "de"),)),
        reply_to="alice.1",
    )
)


@dataclasses.dataclass(frozen=True)
class Parties:
    """A caller and a node that trust each other, and a caller whom nobody knows."""

    caller: Security
    node: Security
    stranger: Security


Make = Callable[[Path], Parties]


def in_memory(_folder: Path) -> Parties:
    alice, web1, mallory = keys.new_seed(), keys.new_seed(), keys.new_seed()
    return Parties(
        caller=for_caller("alice", alice, {"web1": keys.public_of(web1)}),
        node=for_node("web1", web1, {"alice": keys.public_of(alice)}),
        stranger=for_caller("mallory", mallory, {}),
    )


def in_folders(folder: Path) -> Parties:
    keys.generate(folder / "alice.key", folder / "callers/alice.pub")
    keys.generate(folder / "web1.key", folder / "nodes/web1.pub")
    return Parties(
        caller=for_caller("alice", keys.read_private(folder / "alice.key"), folder / "nodes"),
        node=for_node("web1", keys.read_private(folder / "web1.key"), folder / "callers"),
        stranger=for_caller("mallory", keys.new_seed(), folder / "nodes"),
    )


@pytest.fixture(params=[in_memory, in_folders], ids=["ed25519 in memory", "ed25519 in folders"])
def parties(request: pytest.FixtureRequest, tmp_path: Path) -> Parties:
    make: Make = request.param
    return make(tmp_path)


def test_both_know_who_signed(parties: Parties) -> None:
    signature = parties.caller.sign(BODY)
    assert parties.node.verify(BODY, parties.caller.signer, signature) == parties.caller.principal == "key=alice"

    signature = parties.node.sign(b"reply")
    assert parties.caller.verify(b"reply", parties.node.signer, signature) == parties.node.principal == "web1"


def test_an_altered_byte_anywhere_is_noticed(parties: Parties) -> None:
    signature = parties.caller.sign(BODY)
    for at in range(len(BODY)):
        altered = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
        with pytest.raises(SecurityError, match="altered or misattributed"):
            parties.node.verify(altered, "alice", signature)
    for altered in (b"", BODY[:-1], BODY[1:], BODY + b" ", BODY + BODY):
        with pytest.raises(SecurityError, match="altered or misattributed"):
            parties.node.verify(altered, "alice", signature)


def test_an_altered_byte_of_the_signature_is_noticed(parties: Parties) -> None:
    signature = parties.caller.sign(BODY)
    for at in range(len(signature)):
        altered = signature[:at] + bytes([signature[at] ^ 0x80]) + signature[at + 1 :]
        with pytest.raises(SecurityError):
            parties.node.verify(BODY, "alice", altered)


@pytest.mark.parametrize("length", [0, 1, 32, 63, 65, 128, 100_000])
def test_a_signature_of_another_length_is_refused(parties: Parties, length: int) -> None:
    with pytest.raises(SecurityError, match=f"signature of {length} bytes, expected 64"):
        parties.node.verify(BODY, "alice", bytes(length))


def test_a_signature_and_its_body_cannot_be_cut_elsewhere(parties: Parties) -> None:
    # Given a message whose body begins with what could be the end of a signature
    signature = parties.caller.sign(BODY)
    with pytest.raises(SecurityError, match="signature of 65 bytes"):
        parties.node.verify(BODY[1:], "alice", signature + BODY[:1])
    with pytest.raises(SecurityError, match="signature of 63 bytes"):
        parties.node.verify(signature[63:] + BODY, "alice", signature[:63])


@pytest.mark.parametrize(
    "signer",
    ["", "mallory", "Alice", "alice ", "alice\0", "../callers/alice", "./alice", "alice.pub", "x" * 5000, "\ud800"],
)
def test_an_unknown_name_is_refused_in_few_words(parties: Parties, signer: str) -> None:
    signature = parties.caller.sign(BODY)
    with pytest.raises(SecurityError, match="unknown key") as refused:
        parties.node.verify(BODY, signer, signature)
    assert len(str(refused.value)) < 1000


def test_a_name_does_not_help_who_has_another_key(parties: Parties) -> None:
    with pytest.raises(SecurityError, match="altered or misattributed"):
        parties.node.verify(BODY, "alice", parties.stranger.sign(BODY))
    with pytest.raises(SecurityError, match="unknown key 'mallory'"):
        parties.node.verify(BODY, "mallory", parties.stranger.sign(BODY))


def test_a_node_is_no_caller_and_a_caller_no_node(parties: Parties) -> None:
    with pytest.raises(SecurityError, match="unknown key"):
        parties.node.verify(BODY, "web1", parties.node.sign(BODY))
    with pytest.raises(SecurityError, match="unknown key"):
        parties.caller.verify(BODY, "alice", parties.caller.sign(BODY))


IN_MEMORY = in_memory(Path())


@given(st.binary(max_size=500))
def test_every_body_can_be_signed(body: bytes) -> None:
    assert IN_MEMORY.node.verify(body, "alice", IN_MEMORY.caller.sign(body)) == "key=alice"


@given(st.binary(max_size=100), st.text(max_size=20), st.binary(max_size=70))
def test_nothing_at_random_is_authentic(body: bytes, signer: str, signature: bytes) -> None:
    with pytest.raises(SecurityError):
        IN_MEMORY.node.verify(body, signer, signature)
