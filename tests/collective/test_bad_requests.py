# SPDX-License-Identifier: Apache-2.0
"""Requests that a node must not act on: each is answered or dropped, and audited, and the node goes on."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import msgspec
import pytest

from mco_node.daemon import Node
from mco_rpc.connector import Packet
from mco_rpc.filters import Filter, from_options
from mco_rpc.messages import encode, new_id
from mco_rpc.status import Status


class TestWrongCall:
    """The caller is known, the call is wrong: it is told what, with the nearest right thing."""

    @pytest.mark.parametrize(
        ("agent", "action", "data", "status", "message"),
        [
            pytest.param(
                "rpcutl", "ping", {}, Status.UNKNOWN_ACTION,
                "this node offers no agent 'rpcutl', did you mean rpcutil?", id="unknown agent",
            ),
            pytest.param(
                "rpcutil", "pong", {}, Status.UNKNOWN_ACTION,
                "agent rpcutil has no action 'pong', did you mean ping?; it has ", id="unknown action",
            ),
            pytest.param(
                "rpcutil", "__init__", {}, Status.UNKNOWN_ACTION,
                "agent rpcutil has no action '__init__'", id="a method that is no action",
            ),
            pytest.param(
                "rpcutil", "ping", {"fact": 1}, Status.INVALID_DATA,
                "rpcutil#ping: unknown input 'fact'; it takes no inputs", id="argument where none is",
            ),
            pytest.param(
                "iptables", "block", {"ipadr": "10.0.0.1"}, Status.INVALID_DATA,
                "iptables#block: unknown input 'ipadr', did you mean ipaddr?; it takes ipaddr, force",
                id="unknown argument",
            ),
            pytest.param(
                "iptables", "block", {}, Status.MISSING_DATA,
                "iptables#block: input ipaddr is required: An IPv4 or IPv6 address", id="missing argument",
            ),
            pytest.param(
                "iptables", "block", {"ipaddr": 17}, Status.INVALID_DATA,
                "iptables#block: input ipaddr: expected string, got 17", id="wrong type",
            ),
            pytest.param(
                "iptables", "block", {"ipaddr": None}, Status.INVALID_DATA,
                "iptables#block: input ipaddr: expected string, got None", id="nothing",
            ),
            pytest.param(
                "iptables", "block", {"ipaddr": ["10.0.0.1"]}, Status.INVALID_DATA,
                "iptables#block: input ipaddr: expected string, got ['10.0.0.1']", id="list",
            ),
            pytest.param(
                "iptables", "block", {"ipaddr": "1" * 50}, Status.INVALID_DATA,
                "iptables#block: input ipaddr: 50 characters; at most 49 are allowed", id="too long",
            ),
            pytest.param(
                "iptables", "block", {"ipaddr": "; rm -rf /"}, Status.INVALID_DATA,
                "iptables#block: input ipaddr: '; rm -rf /' is not valid: expected an IPv4 or IPv6 address",
                id="shell command",
            ),
            pytest.param(
                "iptables", "block", {"ipaddr": "-j ACCEPT"}, Status.INVALID_DATA,
                "iptables#block: input ipaddr: '-j ACCEPT' is not valid: expected an IPv4 or IPv6 address",
                id="option",
            ),
            pytest.param(
                "iptables", "block", {"ipaddr": "web1"}, Status.INVALID_DATA,
                "iptables#block: input ipaddr: 'web1' is not valid: expected an IPv4 or IPv6 address",
                id="not an address",
            ),
            pytest.param(
                "iptables", "block", {"ipaddr": "10.0.0.1", "force": "yes"}, Status.INVALID_DATA,
                "iptables#block: input force: expected boolean, got 'yes'", id="text for a boolean",
            ),
        ],
    )  # fmt: skip
    def test_is_answered_and_audited(
        self, collective: Any, caller: Any, node: Node, agent: str, action: str, data: Any, status: Status, message: str
    ) -> None:
        # When a node is asked for it
        request = caller.send(caller.request(agent, action, data=data))

        # Then the reply has the status, and says what is wrong
        reply = caller.reply_to(request)
        assert reply.status == status
        assert reply.message.startswith(message)
        assert reply.data == {}

        # And so has the audit
        (record,) = collective.records(request)
        assert (record["status"], record["outcome"]) == (status, status.text)
        assert record["reason"] == reply.message
        assert record["data"] == data

        # And nothing was blocked
        assert caller.ask("iptables", "listblocked").data == {"blocked": []}

    def test_names_of_any_length_are_cut_in_the_answer(self, collective: Any, caller: Any, node: Node) -> None:
        # When an agent, an action and an argument with very long names are asked for
        requests = [
            caller.send(caller.request("x" * 200_000, "ping", sender="s" * 100_000)),
            caller.send(caller.request("rpcutil", "y" * 200_000)),
            caller.send(caller.request("rpcutil", "ping", data={"z" * 200_000: 1})),
        ]

        # Then the answers and the records are short, and name them still
        for request, name in zip(requests, "xyz", strict=True):
            reply = caller.reply_to(request)
            assert name * 50 in reply.message
            assert len(encode(reply)) < 1000
            (record,) = collective.records(request)
            assert len(msgspec.json.encode({**record, "data": {}})) < 1000

    def test_with_noop_does_not_change_anything(self, caller: Any, node: Node) -> None:
        # When an action that changes something is asked for as a mere trial, and one that does not
        changing = caller.reply_to(caller.send(caller.request("faulty", "change", noop=True)))
        reading = caller.reply_to(caller.send(caller.request("faulty", "echo", data={"what": 1}, noop=True)))

        # Then the first is refused with that reason, and the second runs
        assert changing.status == Status.ABORTED
        assert changing.message == "noop: faulty#change would run; it cannot say what it would change"
        assert caller.ask("faulty", "count").data == {"number": 1}
        assert reading.data == {"what": 1}

    @pytest.mark.parametrize("fact", ["/(/", "/" + "x" * 2000 + "/"])
    def test_with_a_filter_that_cannot_be_understood_is_answered(
        self, collective: Any, caller: Any, node: Node, fact: str
    ) -> None:
        # When the filter holds an expression that is none
        request = caller.send(caller.request(filter=Filter(classes=(fact,))))

        # Then the caller learns that it was the filter
        reply = caller.reply_to(request)
        assert reply.status == Status.INVALID_DATA
        assert reply.message.startswith("filter: ")
        assert collective.records(request)[0]["outcome"] == "invalid data"


class TestNotAuthentic:
    """Nobody we trust sent it: nobody is answered, and the audit has it."""

    def rejected(self, collective: Any, caller: Any, packet: Packet) -> str:
        """Send a packet, and return the reason why it was rejected; nothing else may come of it."""
        before = len(caller.packets)
        caller.connector.publish([packet])
        good = caller.send(caller.request("faulty", "count"))  # comes after it, so what becomes of both is known then

        reply = caller.reply_to(good)
        assert reply.status == Status.OK
        assert reply.data == {"number": 1}, "the bad one ran"
        assert len(caller.packets) == before + 1, "the bad one was answered"
        (record,) = [entry for entry in collective.audits["web1"].entries if entry["outcome"] == "rejected"]
        assert record["request"] == packet.message_id[:128]
        assert record["signer"] == packet.signer[:128]
        reason: str = record["reason"]
        return reason

    @pytest.mark.parametrize(
        "body",
        [
            b"not JSON",
            b"",
            b"\xff\xfe",
            b"{}",
            b"[]",
            b"null",
            b'{"kind":"reply"}',
            b"[" * 100_000,
            b'{"kind":"request","data":' + b'{"a":' * 50_000,
        ],
    )
    def test_what_is_no_request_is_rejected(self, collective: Any, caller: Any, node: Node, body: bytes) -> None:
        # When bytes that are no request come with a good signature
        packet = caller.packet(caller.request(), "web1", body=body, signature=caller.security.sign(body))

        # Then they are rejected
        assert "bytes that are not a request: " in self.rejected(collective, caller, packet)

    def test_an_unknown_field_is_rejected(self, collective: Any, caller: Any, node: Node) -> None:
        # When a request holds a field that this version does not know
        values = msgspec.json.decode(encode(caller.request("faulty", "count")))
        body = msgspec.json.encode({**values, "only_if": "friday"})
        packet = caller.packet(caller.request(), "web1", body=body, signature=caller.security.sign(body))

        # Then it is rejected, because it might be a restriction
        assert "unknown field `only_if`" in self.rejected(collective, caller, packet)

    def test_an_id_of_any_length_is_rejected(self, collective: Any, caller: Any, node: Node) -> None:
        # When a request has an id that would fill the memory of every node
        packet = caller.packet(caller.request("faulty", "count", id="x" * 100_000), "web1")

        # Then it is rejected
        assert "`$.id`" in self.rejected(collective, caller, packet)

    @pytest.mark.parametrize("name", ["", "x\ny", "x y", "\x1b[2J", "../x"])
    def test_an_id_that_is_no_name_is_rejected(self, collective: Any, caller: Any, node: Node, name: str) -> None:
        # When a request has an id that could do harm in a log
        packet = caller.packet(caller.request("faulty", "count", id=name), "web1")

        # Then it is rejected
        assert "cannot be the id of a request" in self.rejected(collective, caller, packet)

    def test_what_is_too_large_is_rejected_unread(self, collective: Any, caller: Any) -> None:
        # Given a node that reads up to 4,000 bytes
        collective.node(max_body_bytes=4000)

        # When one more comes, then it is rejected
        request = caller.request("faulty", "count", data={"text": ""})
        room = 4000 - len(encode(request))
        too_much = caller.request("faulty", "count", id=request.id, data={"text": "x" * (room + 1)})
        assert len(encode(too_much)) == 4001
        reason = self.rejected(collective, caller, caller.packet(too_much, "web1"))
        assert reason == "4001 bytes; at most 4000 are read"

        # When it has just that size, then it is done
        just = caller.send(caller.request("faulty", "count", data={"text": "x" * room}))
        assert caller.reply_to(just).data == {"number": 2}

    def test_what_is_unsigned_is_rejected(self, collective: Any, caller: Any, node: Node) -> None:
        # When a request comes without a signature
        packet = caller.packet(caller.request("faulty", "count"), "web1", signature=b"")

        # Then it is rejected
        assert self.rejected(collective, caller, packet) == "signature of 0 bytes, expected 64"

    def test_what_names_no_key_is_rejected(self, collective: Any, caller: Any, node: Node) -> None:
        # When a request does not say who signed it
        packet = caller.packet(caller.request("faulty", "count"), "web1", signer="")

        # Then it is rejected
        assert self.rejected(collective, caller, packet).startswith("unknown key ''")

    def test_what_an_unknown_key_signed_is_rejected(self, collective: Any, caller: Any, node: Node) -> None:
        # Given somebody whom the node does not know
        stranger = collective.caller("stranger", is_trusted=False)

        # When a request comes from there
        packet = stranger.packet(stranger.request("faulty", "count"), "web1")

        # Then it is rejected, and the stranger hears nothing
        reason = self.rejected(collective, caller, packet)
        assert reason == "unknown key 'stranger': our set of trusted keys holds no 'stranger'"
        assert stranger.packets == []

    def test_what_a_stranger_signed_in_a_friends_name_is_rejected(
        self, collective: Any, caller: Any, node: Node
    ) -> None:
        # Given somebody who claims to be a caller whom the node trusts
        stranger = collective.caller("stranger", is_trusted=False)
        request = caller.request("faulty", "count")

        # When a request comes from there
        packet = stranger.packet(request, "web1", signer="operator")

        # Then it is rejected
        reason = self.rejected(collective, caller, packet)
        assert reason == "signature does not fit key 'operator': the message was altered or misattributed"

    def test_what_a_friend_signed_in_another_friends_name_is_rejected(
        self, collective: Any, caller: Any, node: Node
    ) -> None:
        # Given two callers whom the node trusts
        other = collective.caller("other")

        # When one of them claims to be the other one inside of the request
        packet = other.packet(caller.request("faulty", "count"), "web1")

        # Then it is rejected
        reason = self.rejected(collective, caller, packet)
        assert reason == "signed by key=other, but claims to be from 'key=operator'"

    def test_what_was_altered_in_one_byte_of_its_filter_is_rejected(
        self, collective: Any, caller: Any, node: Node
    ) -> None:
        # Given a request for nodes in France, which this one is not
        request = caller.request("faulty", "count", filter=from_options(facts=["country=fr"]))
        packet = caller.packet(request, "web1")
        assert packet.body.count(b'"fr"') == 1

        # When somebody changes the filter on its way, so that it would match
        altered = dataclasses.replace(packet, body=packet.body.replace(b'"fr"', b'"de"'))

        # Then it is rejected
        reason = self.rejected(collective, caller, altered)
        assert reason == "signature does not fit key 'operator': the message was altered or misattributed"

    def test_its_log_line_cannot_be_forged(
        self, collective: Any, caller: Any, node: Node, caplog: pytest.LogCaptureFixture
    ) -> None:
        # When the names outside of the signature hold line ends, escapes, and a lot
        name = "x\n2026-01-31T12:00:00 INFO all is well\x1b[2J" + "y" * 100_000
        packet = caller.packet(caller.request("faulty", "count"), "web1", message_id=name, signer=name)

        # Then it is rejected with short records and log lines that show them
        reason = self.rejected(collective, caller, packet)
        assert len(reason) <= 1024
        lines = [record.getMessage() for record in caplog.records if "was rejected" in record.getMessage()]
        assert len(lines) == 1
        assert len(lines[0]) < 1000
        assert lines[0].isprintable()


class TestWrongTime:
    """The signature is good, the time is not: the caller learns about its clock, and nothing runs."""

    def refused(self, collective: Any, caller: Any, **fields: Any) -> str:
        """Send a request and return the reason why it expired."""
        request = caller.send(caller.request("faulty", "count", **fields))
        reply = caller.reply_to(request)
        assert reply.status == Status.EXPIRED
        (record,) = collective.records(request)
        assert (record["outcome"], record["reason"]) == ("expired", reply.message)
        assert caller.ask("faulty", "count").data == {"number": 1}
        message: str = reply.message
        return message

    def test_from_tomorrow(self, collective: Any, caller: Any, node: Node) -> None:
        # When a request is from a clock that is a day ahead
        message = self.refused(collective, caller, sent_at=collective.clock() + 86400)

        # Then the reply says so, and what to do
        assert message == (
            "clock skew: the request is from 86400.0 s in the future of this node's clock; "
            "up to 10 s is accepted; set both clocks (NTP)"
        )

    def test_too_old(self, collective: Any, caller: Any, node: Node) -> None:
        # When a request is older than its time to live and the skew that is allowed
        collective.clock.advance(1000)
        message = self.refused(collective, caller, sent_at=collective.clock() - 20.5, ttl_s=10.0)

        # Then the reply says so
        assert message.startswith("expired: sent 20.5 s ago by this node's clock, to live for 10 s; ")

    def test_from_before_the_node_started(self, collective: Any, caller: Any, node: Node) -> None:
        # When a request was sent before the node began to remember what it did
        message = self.refused(collective, caller, sent_at=collective.clock() - 1)

        # Then the reply says so
        assert message.startswith("sent 1.0 s before this node started, by its clock; ask again")

    @pytest.mark.parametrize("ttl_s", [0.0, -1.0, 3600.1, 1e300])
    def test_with_an_impossible_time_to_live(self, collective: Any, caller: Any, node: Node, ttl_s: float) -> None:
        # When a request wants to live for no time, or for ever
        message = self.refused(collective, caller, ttl_s=ttl_s)

        # Then the reply says what is possible
        assert message.startswith("time to live of ")
        assert message.endswith("more than 0 and at most 3600 s is accepted")

    def test_at_the_edges_is_accepted(self, collective: Any, caller: Any, node: Node) -> None:
        # Given a node that has run for a while
        collective.clock.advance(1000)

        # When requests come that are just young, old and long-lived enough
        for fields in (
            {"sender": "ahead", "sent_at": 10.0},
            {"sender": "behind", "sent_at": -19.0, "ttl_s": 10.0},
            {"ttl_s": 3600.0},
        ):
            fields["sent_at"] = collective.clock() + fields.get("sent_at", 0.0)
            reply = caller.reply_to(caller.send(caller.request(**fields)))

            # Then they are done
            assert reply.status == Status.OK, reply.message

    def test_replayed(self, collective: Any, caller: Any, node: Node) -> None:
        # Given a request that was done
        request = caller.request("faulty", "count")
        packet = caller.packet(request, "web1")
        caller.connector.publish([packet])
        assert caller.reply_to(request).data == {"number": 1}

        # When the same bytes come again, at once and for as long as they would be accepted
        for wait_s in (0.0, 5.0, 5.0, 10.0):
            collective.clock.advance(wait_s)
            caller.connector.publish([packet])

        # Then they are refused without an answer, which could overtake the true one, and that is audited
        records = collective.records(request, count=5)
        assert [record["outcome"] for record in records] == ["ok", *["rejected"] * 4]
        assert records[-1]["reason"] == "replayed: a request with this id was accepted before"
        assert len(caller.replies_to(request, 1)) == 1

        # When they come after that, they are too old
        collective.clock.advance(1.0)
        caller.connector.publish([packet])
        assert caller.replies_to(request, 2)[-1].message.startswith("expired: sent 21.0 s ago")
        assert node.agent("faulty").ran == 1  # type: ignore[attr-defined]

    def test_replayed_after_a_restart(self, collective: Any, caller: Any, node: Node) -> None:
        # Given a request that was done before the daemon was restarted
        request = caller.request("faulty", "count")
        packet = caller.packet(request, "web1")
        caller.connector.publish([packet])
        caller.reply_to(request)
        node.stop()
        collective.clock.advance(1.0)
        again = collective.node()

        # When the same bytes come again
        caller.connector.publish([packet])

        # Then they are refused, though nobody remembers them
        assert caller.replies_to(request, 2)[-1].status == Status.EXPIRED
        assert again.agent("faulty").ran == 0


class TestNotForUs:
    """Requests for others, and replies to others."""

    def test_a_filter_that_does_not_match_gets_no_reply(self, collective: Any, caller: Any, node: Node) -> None:
        # Given two nodes, one of which the filter matches
        collective.node("web2", facts={"country": "fr"})

        # When both are asked
        request = caller.send(caller.request(filter=from_options(facts=["country=fr"])), None)
        everybody = caller.send(caller.request(), None)

        # Then one answers, and the other has not even a record of it
        assert {reply.sender for reply in caller.replies_to(everybody, 2)} == {"web1", "web2"}
        assert [reply.sender for reply in caller.replies_to(request, 1)] == ["web2"]
        assert collective.records(request, count=0) == []
        assert node.stats()["counters"]["filtered"] == 1

    def test_a_list_of_others_gets_no_reply(self, collective: Any, caller: Any, node: Node) -> None:
        # Given two nodes
        collective.node("web2")

        # When everybody is asked who is on a list
        request = caller.send(caller.request(targets=("web2", "web3")), None)
        everybody = caller.send(caller.request(), None)

        # Then only who is on it answers
        assert len(caller.replies_to(everybody, 2)) == 2
        assert [reply.sender for reply in caller.replies_to(request, 1)] == ["web2"]

    @pytest.mark.parametrize("token", ["admin.test", "operatorx.test", "operator", "operator.", "#", "operator.*"])
    def test_replies_are_not_sent_to_somebody_else(self, collective: Any, caller: Any, node: Node, token: str) -> None:
        # Given somebody else who listens there
        other = collective.caller("admin")

        # When a caller wants replies to go there
        request = caller.send(caller.request("faulty", "count", reply_to=token))
        good = caller.reply_to(caller.send(caller.request("faulty", "count")))

        # Then nothing runs, nobody is answered, and the audit has it
        assert good.data == {"number": 1}
        assert other.packets == []
        assert len(caller.packets) == 1
        (record,) = collective.records(request)
        assert record["outcome"] == "denied"
        assert record["reason"] == f"key=operator may not have replies sent to {token!r}"

    def test_who_wants_no_reply_gets_none_and_it_runs(self, collective: Any, caller: Any, node: Node) -> None:
        # When nobody waits for a reply
        request = caller.send(caller.request("faulty", "count", reply_to=None))

        # Then it runs all the same, and the audit has it
        second = caller.ask("faulty", "count")
        assert second.data["number"] in (1, 2)
        node.stop()
        assert node.agent("faulty").ran == 2  # type: ignore[attr-defined]
        assert [record["outcome"] for record in collective.records(request)] == ["ok"]
        assert len(caller.packets) == 1

    def test_another_collective_is_denied(self, collective: Any, caller: Any, node: Node) -> None:
        # When a request is for a collective that the node is not in, though it came through one that it is in
        request = caller.send(caller.request("faulty", "count", collective="other"))
        caller.ask("faulty", "echo", what=1)

        # Then nothing runs, nobody is answered, and the audit has it
        assert node.agent("faulty").ran == 0  # type: ignore[attr-defined]
        assert len(caller.packets) == 1
        (record,) = collective.records(request)
        assert (record["outcome"], record["reason"]) == ("denied", "this node is not in collective 'other'")

    def test_a_reply_or_an_event_is_no_request(self, collective: Any, caller: Any, node: Node) -> None:
        # When a node gets its own reply back, with the caller's signature
        caller.ask("faulty", "count")
        body = caller.packets[0].body
        packet = caller.packet(caller.request(id=new_id()), "web1", body=body, signature=caller.security.sign(body))
        caller.connector.publish([packet])

        # Then it is rejected
        assert caller.ask("faulty", "count").data == {"number": 2}
        node.stop()
        assert sorted(entry["outcome"] for entry in collective.audits["web1"].entries) == ["ok", "ok", "rejected"]


def test_the_node_says_how_much_it_rejected(
    collective: Any, caller: Any, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    # Given messages of all kinds
    caplog.set_level(logging.INFO)
    caller.connector.publish([caller.packet(caller.request(), "web1", signature=b"x")])
    caller.send(caller.request(filter=from_options(facts=["country=fr"])))
    caller.ask("faulty", "crash", text="oops")

    # When it is asked how it fares
    stats = caller.ask("rpcutil", "daemon_stats")

    # Then it has counted them
    assert stats.data["counters"] == {"received": 4, "rejected": 1, "filtered": 1, "unknown error": 1}


def test_a_flood_of_rejected_messages_leaves_some_records_and_a_number(
    collective: Any, caller: Any, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    # When far more messages come than can be true, and the node stops
    bad = caller.packet(caller.request(), "web1", signature=b"x")
    for _ in range(1000):
        node.on_packet(bad)
    node.stop()

    # Then all are counted, and few are written of
    assert node.stats()["counters"]["rejected"] == 1000
    records = [entry for entry in collective.audits["web1"].entries if entry["outcome"] == "rejected"]
    assert len(records) < 500
    assert sum(entry.get("count", 1) for entry in records) == 1000
    assert "more messages were rejected within 1 s" in caplog.text


def test_the_record_is_kept_before_the_reply_is_sent(
    collective: Any, caller: Any, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a node that is watched
    happened: list[str] = []
    publish, record = node._connector.publish, node._audit.record
    monkeypatch.setattr(node._connector, "publish", lambda packets: (happened.append("sent"), publish(packets)))
    monkeypatch.setattr(node._audit, "record", lambda entry: (happened.append("recorded"), record(entry)))

    # When it answers
    caller.ask("rpcutil", "ping")

    # Then nobody has an answer of which there is no record
    assert happened == ["recorded", "sent"]
