# SPDX-License-Identifier: Apache-2.0
"""`RpcClient` and its connection against real nodes in this process."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import mco_client
from mco_client.connection import Connection
from mco_client.core import Core, Pause
from mco_client.discovery import Discovered, Discovery, Query
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_client.results import Result, Results
from mco_client.rpc import RpcClient
from mco_lab.memory import CALLER, MemoryFleet
from mco_rpc.config import ClientSettings
from mco_rpc.connector import node_endpoint
from mco_rpc.connector.memory import MemoryBroker, MemoryConnector
from mco_rpc.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    ConfigError,
    DiscoveryError,
    ExpectationFailed,
    FilterError,
    MessageError,
    SecurityError,
)
from mco_rpc.filters import Filter, from_options
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_caller
from mco_rpc.status import Status

HOSTS: dict[str, dict[str, Any]] = {
    "web1": {"classes": ["dev_server"], "facts": {"country": "de", "cores": 4}},
    "web2": {"classes": ["acme::dev_server"], "facts": {"country": "de", "cores": 8}},
    "web10": {"classes": ["web_server"], "facts": {"country": "fr", "cores": 2}},
}
EVERYBODY = ["web1", "web2", "web10"]
LONG_S = 60.0  # a test that waits for so long has failed

pytestmark = pytest.mark.timeout(30)


def settings(**values: Any) -> ClientSettings:
    # Long limits: whatever ends a wait here is something else, unless a test says so.
    defaults = {
        "connector": "memory",
        "caller": CALLER,
        "discovery_window_s": 0.3,
        "discovery_timeout_s": LONG_S,
        "timeout_s": LONG_S,
    }
    return ClientSettings(**{**defaults, **values})


@pytest.fixture
def fleet() -> Iterator[MemoryFleet]:
    with MemoryFleet(HOSTS, settings()) as made:
        yield made


@pytest.fixture
def client(fleet: MemoryFleet) -> RpcClient:
    return RpcClient("rpcutil", fleet.connection())


class TestFilters:
    def test_without_one_everybody_is_found_in_the_order_in_which_people_count(self, client: RpcClient) -> None:
        assert client.discovered == EVERYBODY

    @pytest.mark.parametrize(
        ("narrow", "nodes"),
        [
            (lambda c: c.class_filter("dev_server"), ["web1"]),
            (lambda c: c.class_filter("/dev_server/"), ["web1", "web2"]),
            (lambda c: c.fact_filter("country", "fr"), ["web10"]),
            (lambda c: c.fact_filter("country", "fr", "!="), ["web1", "web2"]),
            (lambda c: c.fact_filter("cores", "4", ">="), ["web1", "web2"]),
            (lambda c: c.fact_filter("cores>4"), ["web2"]),
            (lambda c: c.fact_filter("country=/^d/"), ["web1", "web2"]),
            (lambda c: c.identity_filter("web2"), ["web2"]),
            (lambda c: c.identity_filter("/web1/"), ["web1", "web10"]),
            (lambda c: (c.identity_filter("web2"), c.identity_filter("web10")), ["web2", "web10"]),
            (lambda c: (c.class_filter("/dev_server/"), c.fact_filter("cores=8")), ["web2"]),
            (lambda c: c.add_filter(from_options(mixed=["/dev/ cores=4"])), ["web1"]),
            (lambda c: c.agent_filter("iptables"), EVERYBODY),
            (lambda c: (c.identity_filter("web2"), c.reset_filter()), EVERYBODY),
        ],
    )
    def test_say_who_is_asked(self, client: RpcClient, narrow: Any, nodes: list[str]) -> None:
        assert client.discovered == EVERYBODY  # and changing a filter forgets that
        narrow(client)
        assert client.discovered == nodes
        assert [result.sender for result in sorted(client.ping(), key=lambda r: nodes.index(r.sender))] == nodes

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda c: c.class_filter("/[/"),
            lambda c: c.class_filter(""),
            lambda c: c.fact_filter("country"),
            lambda c: c.fact_filter("country", "de", "~"),
            lambda c: c.identity_filter("/x"),
            lambda c: c.agent_filter("/"),
        ],
    )
    def test_one_that_cannot_be_understood_is_refused_and_changes_nothing(self, client: RpcClient, wrong: Any) -> None:
        with pytest.raises(FilterError):
            wrong(client)
        assert client.filter == Filter()

    def test_the_agent_itself_need_not_be_said(self, fleet: MemoryFleet) -> None:
        # Given an agent that one node does not offer
        fleet.stop("web2")
        fleet._hosts = {**HOSTS, "web2": {"settings": {"agents": {"iptables": {"enabled": False}}}}}
        fleet.start("web2").is_connected.wait(LONG_S)
        # Then only the others are asked
        assert RpcClient("iptables", fleet.connection()).discovered == ["web1", "web10"]


class TestDiscovery:
    def test_happens_once(self, client: RpcClient, fleet: MemoryFleet) -> None:
        assert client.discover() == EVERYBODY
        fleet.stop("web10")
        assert client.discovered == client.require_discovered() == EVERYBODY
        assert client.discover() == ["web1", "web2"]

    def test_nodes_that_are_given_are_not_looked_for(self, client: RpcClient) -> None:
        # Given names, one of them twice, one of nobody
        assert client.discover(nodes=["web2", "nobody", "web2"]) == ["web2", "nobody"]
        # Then they are the population, and nobody does not get lost
        results = client.ping()
        assert (results.expected, results.offline) == (("web2", "nobody"), ("nobody",))

    def test_a_name_that_no_node_can_have_is_refused(self, client: RpcClient) -> None:
        with pytest.raises(ConfigError, match=r"identity 'web\.\*\*#' cannot be used"):
            client.discover(nodes=["web.**#"])

    def test_a_limit_ends_it(self, fleet: MemoryFleet) -> None:
        # Given a window that would not end the wait
        client = RpcClient("rpcutil", fleet.connection())
        client.connection.settings = settings(discovery_window_s=LONG_S)
        # Then so many answers do
        assert len(client.discover(limit=2)) == 2
        assert len(client.ping()) == 2

    @pytest.mark.parametrize(("names", "limit", "count"), [(["web1", "web10"], None, 2), (["web1", "web10"], 1, 1)])
    def test_so_do_the_answers_of_all_that_are_named(
        self, fleet: MemoryFleet, names: list[str], limit: int | None, count: int
    ) -> None:
        # Given a window that would not end the wait, and a filter of plain names
        client = RpcClient("rpcutil", fleet.connection())
        client.connection.settings = settings(discovery_window_s=LONG_S)
        for name in names:
            client.identity_filter(name)
        found = client.discover(limit=limit)
        assert len(found) == count
        assert set(found) <= set(names)

    def test_but_not_if_one_of_them_may_be_many(self, client: RpcClient) -> None:
        client.identity_filter("/web/")
        assert client.discover() == EVERYBODY

    def test_a_window_without_new_answers_ends_it(self, client: RpcClient) -> None:
        assert client.discovered == EVERYBODY  # and the timeout of a minute has not passed

    def test_its_timeout_ends_it_if_nobody_answers(self, fleet: MemoryFleet) -> None:
        client = RpcClient("rpcutil", fleet.connection(), discovery_timeout_s=0.05)
        client.fact_filter("country", "xx")
        assert client.discover() == []
        with pytest.raises(DiscoveryError) as told:
            client.ping()
        assert str(told.value) == (
            "no node with agent rpcutil was discovered within 0.05 s for the filter: fact country=xx"
        )

    def test_nobody_at_all_is_known_at_once(self) -> None:
        # Given a broker without nodes: what was sent to everybody comes back
        with MemoryFleet({}, settings()) as fleet:
            assert RpcClient("rpcutil", fleet.connection()).discover() == []

    def test_stats_know_of_it(self, client: RpcClient) -> None:
        client.discover()
        assert (client.stats.discovered, client.stats.discovered_nodes) == (3, EVERYBODY)
        assert client.stats.discoverytime > 0
        assert client.stats.responses == 0

    def test_another_source_can_be_given(self, fleet: MemoryFleet) -> None:
        asked: list[Any] = []

        class Register(Discovery):
            def core(self, query: Query) -> Core[Discovered]:
                asked.append((str(query.whole_filter), query.limit, query.timeout_s))
                yield Pause(0)
                return Discovered(("web2",))

        client = RpcClient("rpcutil", fleet.connection(), discovery=Register(), discovery_timeout_s=7.0)
        client.fact_filter("country", "de")
        assert client.discover(limit=1) == ["web2"]
        assert asked == [("fact country=de, agent=rpcutil", 1, 7.0)]
        assert [result.sender for result in client.ping()] == ["web2"]

    def test_a_filter_of_the_network_that_no_node_understands_fails_closed(self, fleet: MemoryFleet) -> None:
        # Given a filter that was not checked here
        found = BroadcastDiscovery(fleet.connection()).discover(Filter(classes=("/[/",)), None, LONG_S)
        # Then every node says so, and none is taken for one that does not match
        assert found.nodes == ()
        assert sorted(found.absent) == sorted(EVERYBODY)
        assert all(why.startswith("invalid data: filter: ") for why in found.absent.values())


class TestCall:
    def test_every_action_is_a_method(self, client: RpcClient) -> None:
        results = client.get_fact(fact="country")
        assert {result.sender: result.data["value"] for result in results} == {
            "web1": "de", "web2": "de", "web10": "fr",
        }  # fmt: skip
        assert isinstance(results, Results)
        assert client.get_fact.__name__ == "get_fact"
        assert results.count(value="de") == 2
        assert all(result.took_s > 0 and result.ran_s >= 0 for result in results)

    def test_what_begins_like_private_is_no_action(self, client: RpcClient) -> None:
        assert not hasattr(client, "_repr_html_")

    def test_inputs_and_actions_may_have_any_name(self, client: RpcClient) -> None:
        # "action" and "self" are words of Python's here, not of the agent's.
        results = client.call("ping", action="x")
        assert {result.status for result in results} == {Status.INVALID_DATA}

    @pytest.mark.parametrize(
        ("action", "inputs", "status"),
        [
            ("pong", {}, Status.UNKNOWN_ACTION),
            ("get_fact", {}, Status.MISSING_DATA),
            ("get_fact", {"fact": 1}, Status.INVALID_DATA),
        ],
    )
    def test_a_wrong_call_is_answered_by_everybody(
        self, client: RpcClient, action: str, inputs: dict[str, Any], status: Status
    ) -> None:
        results = client.call(action, **inputs)
        assert [result.status for result in results] == [status] * 3
        assert (client.stats.okcount, client.stats.failcount) == (0, 3)
        with pytest.raises(ExpectationFailed, match=f"web1, web2, web10: {status.text}: "):
            results.require_ok()

    def test_what_json_cannot_say_is_refused_before_it_is_sent(self, client: RpcClient) -> None:
        with pytest.raises(MessageError, match="request cannot be written as JSON"):
            client.get_fact(fact=object())

    def test_stats_are_those_of_the_last_call(self, client: RpcClient, fleet: MemoryFleet) -> None:
        client.discover(nodes=["web10", "web1", "gone"])
        results = client.ping()
        stats = client.stats
        assert len(stats.requestid) == 32
        assert stats.starttime > 1e9
        assert 0 < stats.blocktime <= stats.totaltime
        assert stats.totaltime == stats.blocktime + stats.discoverytime
        assert (stats.discovered, stats.discovered_nodes) == (3, ["gone", "web1", "web10"])
        assert (stats.responses, stats.okcount, stats.failcount) == (2, 2, 0)
        assert (stats.noresponsefrom, stats.offline) == (["gone"], ["gone"])
        assert stats.responsesfrom == [result.sender for result in results]
        assert client.ping()
        assert client.stats.requestid != stats.requestid

    @pytest.mark.parametrize("direct_limit", [0, 2, 3, 200])
    def test_the_same_nodes_are_asked_one_by_one_or_by_one_broadcast(
        self, fleet: MemoryFleet, direct_limit: int
    ) -> None:
        connection = fleet.connection()
        connection.settings = settings(direct_limit=direct_limit)
        client = RpcClient("iptables", connection)
        client.discover(nodes=["web1", "web2", "web10"])
        assert client.block(ipaddr="10.0.0.1").require_all(changed=True)
        # And who is not named is not asked
        client.discover(nodes=["web1"])
        assert client.unblock(ipaddr="10.0.0.1").require_all(changed=True)
        client.discover(nodes=EVERYBODY)
        results = client.isblocked(ipaddr="10.0.0.1")
        assert sorted(result.sender for result in results.where(blocked=True)) == ["web10", "web2"]
        assert results.unexpected == ()

    def test_an_offline_node_is_known_at_once(self, client: RpcClient, fleet: MemoryFleet) -> None:
        assert client.discovered == EVERYBODY
        fleet.stop("web2")
        results = client.ping()
        assert (results.offline, results.missing, results.silent) == (("web2",), ["web2"], [])
        with pytest.raises(ExpectationFailed, match="offline, 1 of 3: web2"):
            results.require_ok()

    def test_a_broadcast_that_reached_nobody_is_known_at_once(self, fleet: MemoryFleet) -> None:
        # Given more named nodes than are asked one by one, and none with the agent
        connection = fleet.connection()
        connection.settings = settings(direct_limit=1)
        client = RpcClient("nosuch", connection)
        client.discover(nodes=["web1", "web2"])
        results = client.ping()
        assert results.offline == ("web1", "web2")
        with pytest.raises(ExpectationFailed, match="nosuch#ping: offline, 2 of 2: web1, web2"):
            results.require_ok()

    def test_a_directed_call_of_an_agent_that_is_not_there_is_answered(self, fleet: MemoryFleet) -> None:
        client = RpcClient("iptable", fleet.connection())
        client.discover(nodes=["web1"])
        with pytest.raises(ExpectationFailed, match=r"web1: unknown action: .* did you mean iptables\?"):
            client.block(ipaddr="10.0.0.1").require_ok()

    def test_streams_yield_answers_and_complete_the_stats(self, client: RpcClient) -> None:
        answers = client.stream("ping")
        assert isinstance(next(answers), Result)
        assert client.stats.responses == 0
        assert len(list(answers)) == 2
        assert client.stats.responses == 3

    def test_a_stream_that_is_abandoned_leaves_nothing_behind(self, client: RpcClient) -> None:
        answers = client.stream("ping")
        next(answers)
        assert len(client.connection._inboxes) == 2  # the other one is for late answers to the discovery
        answers.close()
        # Then nobody collects for it any more, and the next call is not disturbed
        assert len(client.connection._inboxes) == 1
        assert len(client.ping()) == 3
        client.close()
        assert client.connection._inboxes == {}

    def test_progress_is_shown_on_a_terminal_only(self, fleet: MemoryFleet, capsys: pytest.CaptureFixture[str]) -> None:
        assert len(RpcClient("rpcutil", fleet.connection(), progress=True).ping()) == 3
        assert capsys.readouterr() == ("", "")

    def test_it_says_what_it_is(self, client: RpcClient) -> None:
        client.fact_filter("country", "de")
        assert repr(client) == "<RpcClient rpcutil: fact country=de>"
        client.discover()
        assert repr(client) == "<RpcClient rpcutil: fact country=de, nodes web1, web2>"

    @pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan")])
    @pytest.mark.parametrize("name", ["timeout_s", "discovery_timeout_s"])
    def test_a_timeout_that_is_none_is_refused(self, fleet: MemoryFleet, name: str, seconds: float) -> None:
        with pytest.raises(ConfigError, match=f"{name}: expected more than 0, got"):
            RpcClient("rpcutil", fleet.connection(), **{name: seconds})

    def test_a_timeout_of_its_own(self, fleet: MemoryFleet) -> None:
        client = RpcClient("rpcutil", fleet.connection(), timeout_s=3.0)
        assert client.ping().timeout_s == 3.0
        assert RpcClient("rpcutil", client.connection).ping().timeout_s == LONG_S


class TestSharing:
    def test_two_clients_share_one_connection_and_its_thread(self, fleet: MemoryFleet) -> None:
        connection = fleet.connection()
        one, two = RpcClient("rpcutil", connection), RpcClient("iptables", connection)
        assert len(one.ping()) == len(two.isblocked(ipaddr="10.0.0.1")) == 3
        assert len(threads_of(connection)) == 1
        # And closing one of them leaves the other alone
        one.close()
        assert connection._current is not None
        assert len(two.isblocked(ipaddr="10.0.0.1")) == 3

    def test_two_threads_call_at_once_and_each_gets_its_own(self, fleet: MemoryFleet) -> None:
        # Given one connection that is not open yet
        connection = fleet.connection()
        barrier = threading.Barrier(4)
        seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def ask(number: int) -> None:
            try:
                client = RpcClient("rpcutil", connection)
                client.discover(nodes=EVERYBODY)
                barrier.wait(LONG_S)
                for turn in range(20):
                    facts = client.get_fact(fact=f"{number}-{turn}").require_ok()
                    seen.put({result.data["fact"] for result in facts} == {f"{number}-{turn}"})
            except BaseException as e:
                seen.put(e)

        # When four threads ask
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
        # Then each had its own answers, over one connection
        assert [seen.get_nowait() for _ in range(seen.qsize())] == [True] * 80
        assert connection._inboxes == {}

    def test_a_client_leaves_only_a_connection_of_its_own(
        self, fleet: MemoryFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = fleet.connection()
        with RpcClient("rpcutil", connection) as client:
            client.ping()
        assert connection._current is not None
        monkeypatch.setattr("mco_client.client.Connection", lambda: connection)
        with RpcClient("rpcutil") as client:
            client.ping()
        assert connection._current is None


class TestConnection:
    def test_a_connection_opens_when_it_is_needed_and_again_after_a_close(self, fleet: MemoryFleet) -> None:
        with fleet.connection() as connection:
            assert connection._current is None
            first = connection.reply_key
            assert first.startswith(f"{CALLER}.")
            assert connection.reply_key == first
            connection.close()
            assert connection._current is None
            assert connection.reply_key != first
            assert len(RpcClient("rpcutil", connection).ping()) == 3
        assert connection._current is None

    def test_a_broker_that_is_down_is_told_and_nothing_goes_on_trying(self, fleet: MemoryFleet) -> None:
        before = threads_of(None)
        client = RpcClient("rpcutil", fleet.connection())
        fleet.broker.stop()
        with pytest.raises(BrokerUnreachable, match="the memory broker is stopped"):
            client.ping()
        assert threads_of(None) == before
        # And when it is there again, the same client works
        fleet.broker.start(list(fleet.connectors.values()))
        assert client.discovered == EVERYBODY

    def test_a_broker_that_was_restarted_between_two_calls_is_no_trouble(
        self, client: RpcClient, fleet: MemoryFleet
    ) -> None:
        assert len(client.ping()) == 3
        key = client.connection.reply_key
        fleet.broker.stop()
        fleet.broker.start(list(fleet.connectors.values()))
        wait_until_lost(client.connection)
        assert len(client.ping().require_ok()) == 3
        assert client.connection.reply_key != key

    def test_a_broker_that_dies_in_the_middle_of_a_call_ends_it(self, client: RpcClient, fleet: MemoryFleet) -> None:
        # Given a call of which one answer has come, and one will never
        add_deaf(fleet)
        client.discover(nodes=["web1", "deaf"])
        answers = client.stream("ping")
        assert next(answers).sender == "web1"
        fleet.broker.stop()
        # Then it is not waited for
        with pytest.raises(BrokerUnreachable) as told:
            next(answers)
        assert re.fullmatch(
            r"rpcutil#ping: the connection was lost while replies were awaited \(1 of 2 had answered; "
            r"what became of it is unknown on \S+\): the memory broker was stopped",
            str(told.value),
        )
        assert client.connection._inboxes == {}

    def test_a_connection_lost_just_before_a_request_is_told_and_nobody_gets_it(
        self, client: RpcClient, fleet: MemoryFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a connection that is lost between the making of a request, which says where to answer, and its sending
        client.discover(nodes=["web1"])
        expect = client.connection.expect
        received = fleet.nodes["web1"].stats()["counters"].get("received", 0)

        def lose(*what: Any) -> None:
            fleet.broker.stop()
            fleet.broker.start(list(fleet.connectors.values()))
            wait_until_lost(client.connection)
            expect(*what)

        monkeypatch.setattr(client.connection, "expect", lose)
        # Then it is not sent to be answered where nobody listens any more
        with pytest.raises(BrokerUnreachable, match="lost just before the request was sent; nobody got it"):
            client.ping()
        assert fleet.nodes["web1"].stats()["counters"].get("received", 0) == received

    def test_a_close_ends_the_calls_that_wait(self, client: RpcClient, fleet: MemoryFleet) -> None:
        # Given a stream that waits for somebody who is there and will not answer
        add_deaf(fleet)
        client.discover(nodes=["web1", "deaf"])
        answers = client.stream("ping")
        assert next(answers).sender == "web1"
        # When somebody closes the connection
        client.connection.close()
        # Then it ends, and says why
        with pytest.raises(BrokerUnreachable, match=r"1 of 2 had answered; .*: it was closed here"):
            next(answers)

    @pytest.mark.parametrize("error", [BrokerRefused("no"), BrokerUnreachable("nobody there")])
    def test_what_the_connector_says_is_raised(self, error: BrokerError) -> None:
        connector = Scripted(lambda listener: listener.on_disconnected(error))
        connection = made(connector)
        with pytest.raises(type(error), match=str(error)):
            connection.open()
        assert connector.is_closed

    def test_a_connector_that_says_nothing_is_given_up(self) -> None:
        connector = Scripted(lambda listener: None)
        connection = made(connector, connect_timeout_s=0.01, brokers=("a", "b"))
        with pytest.raises(BrokerUnreachable, match=r"no broker took our connection within 0\.04 s"):
            connection.open()
        assert connector.is_closed

    def test_a_late_loss_reaches_nobody_but_the_next_call_connects_again(self) -> None:
        connector = Scripted(lambda listener: listener.on_connected())
        connection = made(connector)
        key = connection.reply_key
        assert connector.listener is not None
        connector.listener.on_disconnected(BrokerUnreachable("gone"))
        assert connection.reply_key != key


class TestSettings:
    def test_an_embedded_fleet_cannot_be_reached_from_outside(self) -> None:
        connection = Connection(settings(), security=for_caller("alice", keys.new_seed(), {}))
        with pytest.raises(ConfigError, match="connector: 'memory' cannot be reached from here; expected rabbitmq"):
            connection.open()

    def test_the_rabbitmq_connector_is_chosen_by_the_settings(self) -> None:
        connection = Connection(settings(connector="rabbitmq"), security=for_caller("alice", keys.new_seed(), {}))
        connector = connection._make()
        assert type(connector).__name__ == "RabbitmqConnector"
        connector.close()

    def test_keys_come_from_the_files_of_the_settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keys.generate(tmp_path / "alice.key", tmp_path / "nodes" / "web1.pub")
        files = {"key_file": str(tmp_path / "alice.key"), "trusted_nodes": str(tmp_path / "nodes")}
        connection = Connection(settings(caller="alice", **files))
        assert (connection.security.principal, connection.security.signer) == ("key=alice", "alice")
        # And without settings, from the configuration
        for name, value in {**files, "connector": "rabbitmq", "caller": "bob"}.items():
            monkeypatch.setenv(f"MCO_{name.upper()}", value)
        assert Connection().security.principal == "key=bob"

    @pytest.mark.parametrize(
        ("break_it", "message"),
        [
            (lambda f: (f / "alice.key").unlink(), "private key .*alice.key: No such file .*`mco keygen` makes one"),
            (lambda f: (f / "alice.key").chmod(0o640), r"can be read by others \(mode 640\); run: chmod 600 "),
            (lambda f: (f / "alice.key").write_text("x"), "expected one line"),
            (lambda f: (f / "nodes" / "web1.pub").write_text("x"), "expected one line"),
            (lambda f: (f / "nodes").rename(f / "x"), "folder of trusted keys .*nodes: No such file"),
        ],
    )
    def test_a_key_that_cannot_be_used_is_told(self, tmp_path: Path, break_it: Any, message: str) -> None:
        keys.generate(tmp_path / "alice.key", tmp_path / "nodes" / "web1.pub")
        break_it(tmp_path)
        with pytest.raises(SecurityError, match=message):
            Connection(
                settings(caller="alice", key_file=str(tmp_path / "alice.key"), trusted_nodes=str(tmp_path / "nodes"))
            )


def test_the_package_offers_its_public_names_and_loads_none_before() -> None:
    assert mco_client.RpcClient is RpcClient
    assert mco_client.Connection is Connection
    assert (mco_client.Result, mco_client.Results) == (Result, Results)
    assert all(getattr(mco_client, name) for name in mco_client.__all__)
    with pytest.raises(AttributeError, match="module 'mco_client' has no attribute 'RpcClint'"):
        mco_client.RpcClint  # noqa: B018


class _Deaf:
    """A listener that does nothing."""

    def on_packet(self, packet: Any) -> None: ...

    def on_returned(self, packet: Any) -> None: ...

    def on_connected(self) -> None: ...

    def on_disconnected(self, reason: BrokerError) -> None: ...


def add_deaf(fleet: MemoryFleet) -> None:
    """Let somebody be there under the name of a node who takes requests and does not answer."""
    connector = fleet.broker.connector()
    fleet._connections.append(connector)  # type: ignore[arg-type]  # closed with the fleet
    connector.open(node_endpoint("deaf", ("mcollective",), ("rpcutil",)), _Deaf())


def threads_of(connection: Connection | None) -> list[str]:
    """Return the threads of one client's connection, or of all."""
    key = connection.reply_key if connection else ""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(f"memory mco.reply.{key}")]


class Scripted(MemoryConnector):
    """A connector that tells its listener what the test says when it is opened."""

    def __init__(self, tell: Any) -> None:
        super().__init__(MemoryBroker())
        self._tell = tell
        self.listener: Any = None
        self.is_closed = False

    def open(self, endpoint: Any, listener: Any) -> None:
        self.listener = listener
        self._tell(listener)

    def close(self) -> None:
        self.is_closed = True


def made(connector: Scripted, **values: Any) -> Connection:
    security = for_caller("alice", keys.new_seed(), {})
    return Connection(msgspec.structs.replace(settings(), **values), connector=lambda: connector, security=security)


def wait_until_lost(connection: Connection) -> None:
    """Wait until the connection's thread has told it that the broker is gone."""
    attempt = connection._current
    assert attempt is not None
    gone = threading.Event()
    # Its thread takes one thing after the other: this comes after the loss.
    attempt.connector._inbox.put(("connected", ()))  # type: ignore[attr-defined]
    attempt.on_connected = gone.set  # type: ignore[method-assign]
    assert gone.wait(LONG_S)
    assert attempt.reason is not None
