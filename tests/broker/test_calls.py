# SPDX-License-Identifier: Apache-2.0
"""Calls over a real RabbitMQ to real nodes: spread, repeated, followed, cancelled, sent, and many at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mco_client.aio import AsyncRpcClient
from mco_client.receiving import Receiver
from mco_client.rpc import RpcClient
from mco_client.told import Started, Told
from mco_lab.broker import Broker
from mco_rpc.errors import BrokerUnreachable, ExpectationFailed, IdentityTaken, TooManyNodes
from mco_rpc.status import Status
from tests.broker.test_client_faults import LONG_S
from tests.broker.test_client_faults import World as FaultyWorld
from tests.collective.calls import LIBDIR, pauses, spin

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


class World(FaultyWorld):
    """A virtual host whose nodes have the agent that does everything."""

    collectives: tuple[str, ...] = ("mcollective",)

    def _values(self, identity: str) -> dict[str, Any]:
        values = super()._values(identity)
        return {**values, "libdir": [*values["libdir"], str(LIBDIR)], "collectives": list(self.collectives)}

    def worker(self, *nodes: str, connection: Any = None, **options: Any) -> RpcClient:
        made = RpcClient("worker", connection or self.connection())
        if nodes:
            made.discover(nodes=nodes)
        return made.using(**options)

    def close(self) -> None:
        for node in self._nodes:
            node.agent("worker").gate.set()  # type: ignore[attr-defined]
        super().close()


@pytest.fixture
def world(broker_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(broker_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def processes(world: World) -> dict[str, subprocess.Popen[bytes]]:
    """Two nodes, as processes."""
    return {name: world.process(name) for name in ("web1", "web2")}


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def pid_in(file: Path) -> int:
    """Return the number of a process that is written into a file, waiting for it."""
    spin(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


class TestSpread:
    def test_batches_waves_and_limits(self, world: World, processes: Any) -> None:
        client = world.worker("web1", "web2")
        assert len(client.using(batch_size=1, batch_sleep_s=0.0).call("talk", count=0).require_ok()) == 2
        waves = client.using(waves=("1",)).call("talk", count=0).require_ok()
        assert (waves.expected, waves.left_out) == (("web1",), ("web2",))
        with pytest.raises(TooManyNodes):
            client.using(max_nodes=1).call("talk", count=0)
        found = RpcClient("worker", client.connection)
        found.identity_filter("/web1/")
        with pytest.raises(TooManyNodes, match="1 of 2 nodes would be asked, and at most 49% may be"):
            found.using(max_nodes="49%").call("talk", count=0)

    def test_too_many_failures_stop_it(self, world: World, processes: Any) -> None:
        client = world.worker("web1", "web2", batch_size=1, batch_sleep_s=0.0, abort_on=0)
        results = client.script(script="exit 0", nosuch=1)
        assert (results.untouched, [r.status for r in results]) == (("web2",), [Status.INVALID_DATA])
        with pytest.raises(ExpectationFailed, match=r"not asked, 1 of 2: web2 \(stopped: 1 of 1 failed"):
            results.require_ok()

    def test_noop_changes_nothing(self, world: World, processes: Any) -> None:
        client = world.worker("web1", "web2")
        for _ in range(2):
            client.using(noop=True).install(version="2.0").require_all(changed=True)
        assert {result.status for result in client.using(noop=True).change()} == {Status.ABORTED}


class TestRepeated:
    def test_an_offline_node_that_comes_back_is_reached(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses(monkeypatch, lambda: world.process("web1") and None)
        client = world.worker("web1", retries=1)
        results = client.call("talk", count=0).require_ok()
        assert (results[0].attempt, results.offline) == (2, ())

    def test_one_that_dies_with_the_first_request_in_hand_and_comes_back(
        self,
        world: World,
        processes: dict[str, subprocess.Popen[bytes]],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        # Given a node that works on a request
        client = world.worker("web1", retries=1)
        pauses(monkeypatch, lambda: world.process("web1") and None)
        file = tmp_path / "pid"
        said = client.follow("script", script=f"if [ -e {file} ]; then exit 0; fi; echo $$ > {file}; exec sleep 3600")
        assert isinstance(next(said), Started)
        pid = pid_in(file)
        # When it is killed, and started again in the pause
        processes["web1"].send_signal(signal.SIGKILL)
        # Then it is asked again, and answers
        assert [type(item).__name__ for item in said] == ["Started", "Result"]
        assert client.stats.retried == ["web1"]
        os.kill(pid, signal.SIGKILL)  # what a killed daemon leaves behind

    @pytest.mark.xdist_group("client-broker-dies")
    def test_a_lost_connection_is_made_again(
        self, own_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = World(own_broker.url, tmp_path)
        try:
            node = made.node("web1")
            odd = made.scripted(lambda scripted, request: [])

            def back() -> None:
                own_broker.start()
                assert node.is_connected.wait(LONG_S)
                assert odd._is_there.wait(LONG_S)

            pauses(monkeypatch, back)
            connection = made.connection()
            client = RpcClient("rpcutil", connection)
            client.discover(nodes=["web1", "odd"])
            answered = client.using(retries=1, timeout_s=20.0).stream("ping")
            assert next(answered).sender == "web1"
            spin(lambda: len(odd.requests) == 1)
            odd._answer = lambda scripted, request: [scripted.reply(request)]
            # When the broker dies in the middle of the call, and is back in the pause
            first_key = connection.reply_key
            odd._is_there.clear()
            own_broker.kill()
            # Then the one who had not answered is asked again, over a new connection
            assert [(result.sender, result.attempt) for result in answered] == [("odd", 2)]
            assert connection.reply_key != first_key
            assert len(connection._inboxes) == 0
        finally:
            made.close()
            own_broker.start()

    def test_a_broker_that_stays_away_is_told(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        made = pauses(monkeypatch)
        client = world.worker("web1", connection=world.connection("amqp://a:b@127.0.0.1:1/"), retries=2)
        with pytest.raises(BrokerUnreachable, match="connection refused"):
            client.call("talk", count=0)
        assert len(made) == 2


class TestFollowed:
    def test_output_comes_while_the_command_runs(self, world: World, processes: Any, tmp_path: Path) -> None:
        # Given a command on each node that goes on only after the test has read the first line of both
        go_on = tmp_path / "go-on"
        script = f"echo first; while [ ! -e {go_on} ]; do sleep 0.01; done; echo second >&2; printf third"
        said: list[Any] = []
        for item in world.worker("web1", "web2").follow("script", script=script):
            said.append(item)
            if len([one for one in said if isinstance(one, Told)]) == 2:
                go_on.touch()
        for node in ("web1", "web2"):
            ours = [item for item in said if item.sender == node]
            told = [item for item in ours if isinstance(item, Told)]
            assert (type(ours[0]), type(ours[-1]).__name__) == (Started, "Result")
            assert "".join(item.text for item in told if item.stream == "stdout") == "first\nthird"
            assert "".join(item.text for item in told if item.stream == "stderr") == "second\n"
            assert [item.number for item in told] == list(range(1, len(told) + 1))

    def test_megabytes_come_whole_and_in_order(self, world: World, processes: Any) -> None:
        said = list(world.worker("web1").follow("script", script="seq 1 300000"))
        told = [item for item in said if isinstance(item, Told)]
        assert "".join(item.text for item in told) == "".join(f"{number}\n" for number in range(1, 300_001))
        assert [item.number for item in told] == list(range(1, len(told) + 1))


class TestCancelled:
    def test_a_command_is_ended_with_all_that_it_started(self, world: World, processes: Any, tmp_path: Path) -> None:
        file = tmp_path / "pid"
        client = world.worker("web1")
        said = client.follow("script", script=f"trap '' TERM; sleep 3600 & echo $! > {file}; wait")
        assert isinstance(next(said), Started)
        pid = pid_in(file)
        told = client.cancel()
        assert told is not None
        assert list(told.require_ok()[0].data["states"].values()) == ["running"]
        (result,) = said
        assert result.status == Status.ABORTED  # type: ignore[union-attr]
        spin(lambda: is_gone(pid))

    def test_two_hundred_commands_leave_no_file_open_in_the_daemon(self, world: World, processes: Any) -> None:
        fds = Path(f"/proc/{processes['web1'].pid}/fd")
        client = world.worker("web1")
        client.script(script="true").require_ok()
        before = len(list(fds.iterdir()))
        for _ in range(200):
            client.script(script="true").require_ok()
        for _ in range(10):
            said = client.follow("script", script="sleep 3600")
            next(said)
            client.cancel()
            list(said)
        assert len(list(fds.iterdir())) <= before


class TestAtOnce:
    def test_fifty_threads_call_twenty_times_each_over_one_connection(self, world: World, processes: Any) -> None:
        connection = world.connection()
        barrier = threading.Barrier(50)
        wrong: list[Any] = []

        def ask(number: int) -> None:
            try:
                client = RpcClient("rpcutil", connection)
                client.discover(nodes=["web1", "web2"])
                barrier.wait(LONG_S)
                for turn in range(20):
                    results = client.get_fact(fact=f"{number}-{turn}").require_ok()
                    if {result.data["fact"] for result in results} != {f"{number}-{turn}"} or len(results) != 2:
                        wrong.append(results)
            except BaseException as e:
                wrong.append(e)

        threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
        assert wrong == []
        assert not any(thread.is_alive() for thread in threads)
        assert len(connection._inboxes) == 0

    def test_a_hundred_calls_are_awaited_at_once(self, world: World, processes: Any) -> None:
        connection = world.connection()

        async def ask(number: int) -> set[str]:
            client = AsyncRpcClient("rpcutil", connection)
            await client.discover(nodes=["web1", "web2"])
            return {result.data["fact"] for result in (await client.get_fact(fact=f"f{number}")).require_ok()}

        async def use() -> list[set[str]]:
            return await asyncio.gather(*(ask(number) for number in range(100)))

        assert asyncio.run(use()) == [{f"f{number}"} for number in range(100)]
        assert len(connection._inboxes) == 0


class TestSent:
    def test_answers_come_to_who_receives_and_a_second_one_is_told(self, world: World, processes: Any) -> None:
        with Receiver(world.connection(), "jobs") as receiver:
            with pytest.raises(IdentityTaken, match="reply_to: somebody else receives what is sent to 'jobs'"):
                Receiver(world.connection(), "jobs").__enter__()
            client = RpcClient("worker", world.connection())
            (request_id,) = client.send("flaky", reply_to="jobs")
            received = []
            for one in receiver.receive(LONG_S):
                received.append(one)
                if len(received) == 2:
                    break
        assert sorted(one.result.sender for one in received) == ["web1", "web2"]
        assert {one.request_id for one in received} == {request_id}

    def test_what_is_only_sent_is_done(self, world: World, processes: Any, tmp_path: Path) -> None:
        RpcClient("worker", world.connection()).send("touch", file=str(tmp_path / "done"))
        spin((tmp_path / "done").exists)


class TestSubCollectives:
    def test_a_client_reaches_only_the_nodes_of_its_collective(self, world: World) -> None:
        world.process("web1")
        world.collectives = ("mcollective", "europe")
        world.process("web2")
        europe = world.worker(connection=world.connection(collective="europe"))
        assert europe.discover() == ["web2"]
        assert europe.discover(nodes=["web1", "web2"])
        results = europe.call("talk", count=0)
        assert ([result.sender for result in results], results.offline) == (["web2"], ("web1",))
        assert world.worker(connection=world.connection()).discover() == ["web1", "web2"]
