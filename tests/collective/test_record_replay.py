# SPDX-License-Identifier: Apache-2.0
"""What nodes in this process answered, recorded and given once more: to the client, to commands and to features."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mco_client import core
from mco_client.aio import AsyncRpcClient
from mco_client.call import Call
from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_client.discovery.broadcast import BroadcastDiscovery
from mco_client.recording import Recording
from mco_client.recording.file import create
from mco_client.results import Results
from mco_client.rpc import RpcClient
from mco_client.told import Started, Told
from mco_lab.memory import CALLER, MemoryFleet
from mco_rpc import names
from mco_rpc.config import ClientSettings
from mco_rpc.connector import Packet, node_endpoint
from mco_rpc.errors import BrokerError, BrokerUnreachable, NotRecorded, RecordingError
from mco_rpc.filters import Filter
from mco_rpc.messages import Ack, Progress, Reply, Request, decode_request, encode
from mco_rpc.security import keys
from mco_rpc.security.ed25519 import for_node

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))
WAIT_S = 20.0
LONG_S = 3600.0  # a wait for so long is a test that has failed
HOSTS: dict[str, dict[str, Any]] = {
    "web1": {"facts": {"country": "de", "password": "s3cret"}},
    "web2": {"facts": {"country": "fr", "password": "s3cret"}},
}

pytestmark = pytest.mark.timeout(60)


def settings(**values: Any) -> ClientSettings:
    defaults = {"connector": "memory", "caller": CALLER, "discovery_window_s": 0.3, "discovery_timeout_s": 20.0}
    return ClientSettings(**{**defaults, **values})


@pytest.fixture
def fleet() -> Iterator[MemoryFleet]:
    with MemoryFleet(HOSTS, settings()) as fleet:
        yield fleet


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.rec"


@pytest.fixture
def recorded(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Connection]]:
    """Make connections that are recorded."""
    made: list[Connection] = []

    def connection(fleet: MemoryFleet, **changes: Any) -> Connection:
        given = fleet.connection()
        changed = msgspec.structs.replace(given.settings, **changes)
        made.append(Connection(changed, connector=fleet.broker.connector, security=given.security))
        with monkeypatch.context() as patch:
            patch.setenv("MCO_RECORD", str(file))
            made[-1].open()
        return made[-1]

    yield connection
    for each in made:
        each.close()


@pytest.fixture
def replay(file: Path) -> Iterator[Callable[..., Connection]]:
    """Make connections to the recording, which wait for nothing: each wait would end the test."""
    made: list[Connection] = []

    def connection(**values: Any) -> Connection:
        waits = {"discovery_window_s": LONG_S, "discovery_timeout_s": LONG_S, "timeout_s": LONG_S}
        made.append(Connection(settings(connector="replay", replay=str(file), **waits, **values)))
        return made[-1]

    yield connection
    for each in made:
        each.close()


def asked(connection: Connection, agent: str, action: str, nodes: list[str] | None = None, **inputs: Any) -> Results:
    client = RpcClient(agent, connection)
    client.discover(nodes=nodes)
    return client.call(action, **inputs)


def plain(results: Results) -> Any:
    answers = {r.sender: (r.status, r.message, r.data, r.ran_s) for r in results.answers}
    return answers, results.expected, results.offline, results.lost, results.silent, set(results.unverified)


# The client.


def test_a_replay_gives_the_same_results_in_the_same_order(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection]
) -> None:
    def everything(connection: Connection) -> list[Results]:
        named = ["web1", "gone", "web2"]
        return [
            asked(connection, "rpcutil", "get_fact", fact="country"),
            asked(connection, "rpcutil", "get_fact", named, fact="country"),
            asked(connection, "iptables", "block", ipaddr="10.0.0.1"),
            asked(connection, "iptables", "block", ipaddr="10.0.0.1"),
            asked(connection, "iptables", "block", ipaddr="what"),
            asked(connection, "rpcutil", "no_such_action"),
        ]

    lived = everything(recorded(fleet))
    played = everything(replay())
    assert [plain(results) for results in played] == [plain(results) for results in lived]
    assert [[r.sender for r in results] for results in played] == [[r.sender for r in results] for results in lived]
    assert played[1].offline == ("gone",)
    assert [results.count(changed=True) for results in played[2:4]] == [2, 0]


def test_a_broadcast_is_over_at_once_and_so_is_one_that_nobody_answered(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection]
) -> None:
    def discover(connection: Connection, node_filter: Filter) -> tuple[str, ...]:
        return BroadcastDiscovery(connection).discover(node_filter, None, connection.settings.discovery_timeout_s).nodes

    live = recorded(fleet, discovery_timeout_s=0.2)
    for expected, classes in ((("web1", "web2"), ()), ((), ("none",))):
        assert discover(live, Filter(classes=classes)) == expected
    played = replay()
    for expected, classes in ((("web1", "web2"), ()), ((), ("none",))):
        assert discover(played, Filter(classes=classes)) == expected


def test_a_node_that_kept_silent_is_silent_again_and_costs_no_time(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection]
) -> None:
    with Odd(fleet, "odd", lambda odd, request: []):
        live = recorded(fleet, timeout_s=0.2)
        assert asked(live, "rpcutil", "ping", ["odd", "web1"]).silent == ["odd"]
    results = asked(replay(), "rpcutil", "ping", ["odd", "web1"])
    assert (results.silent, len(results)) == (["odd"], 1)


def test_what_was_not_believed_is_not_believed_again(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection], file: Path
) -> None:
    def forge(odd: Odd, request: Request) -> list[Packet]:
        strange = for_node("web1", keys.new_seed(), {})
        return [
            odd.packet(request, odd.reply(request, sender="web1"), security=strange, signer="web1"),
            odd.packet(request, odd.reply(request, sender="web2"), security=strange, signer="\x1b[2Jstranger"),
        ]

    fleet.stop("web1")
    with Odd(fleet, "web1", forge):
        lived = asked(recorded(fleet, timeout_s=0.2), "rpcutil", "ping", ["web1", "web2"])
    played = asked(replay(), "rpcutil", "ping", ["web1", "web2"])
    assert plain(played) == plain(lived)
    assert played.unverified == lived.unverified
    assert set(played.unverified) == {"web1", "\x1b[2Jstranger"}
    assert "\x1b" not in "".join(played.unverified.values())
    # And of what it said nothing was kept
    doubted = [event for call in Recording.read(file).calls for event in call.events if getattr(event, "doubt", "")]
    assert len(doubted) == 2
    assert all(not bytes(event.message) and not event.raw for event in doubted)  # type: ignore[union-attr]


def test_a_trusted_node_that_talks_nonsense_is_found_out_again(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection]
) -> None:
    def nonsense(odd: Odd, request: Request) -> list[Packet]:
        bodies = (b"\xff\xfe", b"[" * 50_000, b'{"kind": "reply",\n "n": 1e999}', b'{"kind":"reply"}')
        return [odd.packet(request, body) for body in bodies[odd.count % 4 : odd.count % 4 + 1]]

    fleet.stop("web1")
    with Odd(fleet, "web1", nonsense):
        live = recorded(fleet, timeout_s=0.2)
        lived = [asked(live, "rpcutil", "ping", ["web1"]).unverified for _ in range(4)]
    connection = replay()
    assert [asked(connection, "rpcutil", "ping", ["web1"]).unverified for _ in range(4)] == lived
    assert all("web1" in unverified for unverified in lived)


def test_an_action_that_tells_how_it_goes_is_told_again(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection]
) -> None:
    def talk(odd: Odd, request: Request) -> list[Packet]:
        told = {**odd.fields(request), "sender": "web1"}
        says = [Ack(**told), Progress(**told, number=1, text="half"), Progress(**told, number=2), Reply(**told)]
        return [odd.packet(request, encode(each)) for each in says]

    def follow(connection: Connection, *, is_followed: bool = True) -> list[str]:
        call = Call(
            connection, "rpcutil", "ping", {}, node_filter=Filter(), targets=("web1",), timeout_s=20.0,
            follow=is_followed,
        )  # fmt: skip
        return [item.text if isinstance(item, Told) else type(item).__name__ for item in core.run(call.core())]

    fleet.stop("web1")
    with Odd(fleet, "web1", talk):
        assert follow(recorded(fleet)) == [Started.__name__, "half", "", "Result"]
    assert follow(replay()) == [Started.__name__, "half", "", "Result"]
    assert follow(replay(), is_followed=False) == ["Result"]


def test_a_broker_that_went_away_goes_away_again(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection], file: Path
) -> None:
    live = recorded(fleet)
    asked(live, "rpcutil", "ping", ["web2"])
    fleet.stop("web1")

    def stop(odd: Odd, request: Request) -> list[Packet]:
        threading.Thread(target=fleet.broker.stop).start()
        return []

    with Odd(fleet, "web1", stop), pytest.raises(BrokerUnreachable) as lived:
        asked(live, "rpcutil", "ping", ["web1"])
    connection = replay()
    asked(connection, "rpcutil", "ping", ["web2"])
    with pytest.raises(BrokerUnreachable) as played:
        asked(connection, "rpcutil", "ping", ["web1"])
    assert str(played.value) == str(lived.value)
    # The call that was over by then was not cut off
    assert len(asked(connection, "rpcutil", "ping", ["web2"])) == 1
    assert [type(call.events[-1]).__name__ for call in Recording.read(file).calls] == ["Came", "Lost"]


def test_a_node_that_answered_late_is_late_again(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection], file: Path
) -> None:
    gate = threading.Event()

    def wait(odd: Odd, request: Request) -> list[Packet]:
        gate.wait(20)
        return [odd.packet(request, odd.reply(request))]

    fleet.stop("web1")
    with Odd(fleet, "web1", wait):
        live = recorded(fleet, discovery_window_s=0.1)
        found = BroadcastDiscovery(live).discover(Filter(), None, 0.4)
        gate.set()
        until(lambda: len(Recording.read(file).calls[0].events) == 2)
    assert found.nodes == ("web2",)
    assert BroadcastDiscovery(replay()).discover(Filter(), None, LONG_S).nodes == ("web2",)


def until(condition: Callable[[], bool]) -> None:
    waited = threading.Event()
    while not condition():
        waited.wait(0.01)


def test_who_was_not_asked_then_is_named_now(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection]
) -> None:
    asked(recorded(fleet), "rpcutil", "ping", ["web1", "web2"])
    results = asked(replay(), "rpcutil", "ping", ["web1", "web9"])
    assert [result.sender for result in results] == ["web1"]
    assert results.missing == ["web9"]
    assert results.unverified == {"web9": "it was not asked this when the answers were recorded"}
    with pytest.raises(NotRecorded, match="recorded web1, web2"):
        asked(replay(replay_strict=True), "rpcutil", "ping", ["web1", "web9"])


def test_a_question_that_was_not_asked_then_is_an_error_and_nobody_is_said_to_be_silent(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection]
) -> None:
    asked(recorded(fleet), "rpcutil", "get_fact", fact="country")
    client = RpcClient("rpcutil", replay())
    with pytest.raises(NotRecorded, match=r'data\.fact: "cores", recorded "country"'):
        client.call("get_fact", fact="cores")
    assert client.last_results is None
    # The connection is as good as before
    assert len(client.call("get_fact", fact="country")) == 2


def test_an_answer_that_is_too_large_is_not_kept_and_its_node_is_not_forgotten(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("mco_client.recording.recorder.MAX_MESSAGE_BYTES", 100)
    assert len(asked(recorded(fleet), "rpcutil", "ping", ["web1"])) == 1
    unverified = asked(replay(), "rpcutil", "ping", ["web1"]).unverified
    assert re.fullmatch(r"a message of \d+ bytes was not recorded; at most 100 are", unverified["web1"])


def test_services_with_an_event_loop_replay_too(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection]
) -> None:
    async def ask(connection: Connection) -> list[str]:
        async with AsyncRpcClient("rpcutil", connection) as client:
            return sorted(result.sender for result in await client.ping())

    assert asyncio.run(ask(recorded(fleet))) == asyncio.run(ask(replay())) == ["web1", "web2"]


def test_a_call_that_is_cancelled_is_cancelled_again_whatever_its_id(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection]
) -> None:
    def cancel(connection: Connection) -> list[Any]:
        call = Call(connection, "rpcutil", "ping", {}, node_filter=Filter(), targets=("odd",), timeout_s=0.2)
        assert list(call) == []
        cancellation = Call(
            connection, "rpcutil", "cancel", {"requests": [*call.request_ids]}, node_filter=Filter(),
            targets=("web1",), timeout_s=20.0,
        )  # fmt: skip
        return [(result.sender, result.status) for result in cancellation]

    with Odd(fleet, "odd", lambda odd, request: []):
        lived = cancel(recorded(fleet))
    assert cancel(replay(replay_strict=True)) == lived
    assert lived[0][0] == "web1"


def test_hundreds_of_nodes_and_requests_in_parts(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection], file: Path
) -> None:
    # Given more names than a broadcast can hold
    named = ["web1", *(f"{number:05}.{'x' * 100}" for number in range(3000)), "web2"]
    lived = asked(recorded(fleet, timeout_s=1.0), "rpcutil", "ping", named)
    assert len(Recording.read(file).calls) > 1
    played = asked(replay(), "rpcutil", "ping", named)
    assert plain(played) == plain(lived)
    assert len(played) == 2


def test_several_connections_and_threads_share_a_recording(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection], file: Path
) -> None:
    def ask_all(connections: list[Connection]) -> list[int]:
        counts: list[int] = []

        def ask(connection: Connection, fact: str) -> None:
            counts.append(len(asked(connection, "rpcutil", "get_fact", ["web1", "web2"], fact=fact)))

        threads = [threading.Thread(target=ask, args=(connections[n % 2], f"fact{n}")) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return counts

    assert ask_all([recorded(fleet), recorded(fleet)]) == [2] * 8
    assert len(Recording.read(file).sessions) == 2
    connection = replay()
    assert ask_all([connection, connection]) == [2] * 8


def test_secrets_are_left_out_and_questions_are_found_all_the_same(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection], file: Path
) -> None:
    create(file, ("value", "ipaddr"))
    live = recorded(fleet)
    assert asked(live, "rpcutil", "get_fact", fact="password").count(value="s3cret") == 2
    asked(live, "iptables", "isblocked", ipaddr="10.11.12.13")
    assert "s3cret" not in file.read_text()
    assert '"ipaddr":"10.11.12.13"' not in file.read_text()
    connection = replay()
    assert asked(connection, "rpcutil", "get_fact", fact="password").count(value="(redacted)") == 2
    assert len(asked(connection, "iptables", "isblocked", ipaddr="10.99.99.99")) == 2
    assert connection.notice.endswith("nothing was asked now; redacted: value, ipaddr")


def test_nothing_secret_of_ours_is_recorded(
    fleet: MemoryFleet, recorded: Callable[..., Connection], file: Path
) -> None:
    asked(recorded(fleet), "rpcutil", "ping")
    text = file.read_text()
    for word in ("signature", "amqp://", "guest", "reply_to"):
        assert word not in text
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_down_is_not_asked(
    fleet: MemoryFleet, recorded: Callable[..., Connection], caplog: pytest.LogCaptureFixture
) -> None:
    live = recorded(fleet)
    asked(live, "rpcutil", "ping", ["web1"])
    connector = live.open().connector
    connector._file.close()  # type: ignore[attr-defined]
    with pytest.raises(RecordingError, match="is closed"):
        asked(live, "rpcutil", "ping", ["web1"])
    assert [entry["action"] for entry in fleet.audits["web1"].entries].count("ping") == 1
    # What comes then is given to who waits for it, and nothing more is asked
    packet = Packet("x", "y", b"{}", "reply", "m", "web1", b"", next(iter(connector._open)))  # type: ignore[attr-defined]
    for _ in range(2):
        connector.on_packet(packet)  # type: ignore[attr-defined]
    assert caplog.text.count("the recording is not complete") == 1
    with pytest.raises(RecordingError, match="is closed"):
        connector.publish([])
    assert connector.addresses() == []


class Odd:
    """A node of the test's own making, whose key is trusted."""

    def __init__(self, fleet: MemoryFleet, identity: str, answer: Callable[[Odd, Request], list[Packet]]) -> None:
        self.identity, self._answer = identity, answer
        self.count = -1
        self._security = for_node(identity, fleet._node_seeds.get(identity, keys.new_seed()), {})
        self._connector = fleet.broker.connector()
        self._connector.open(node_endpoint(identity, ("mcollective",), ("rpcutil", "discovery")), self)

    def fields(self, request: Request) -> dict[str, Any]:
        where = {"collective": request.collective, "agent": request.agent, "action": request.action}
        return {"id": request.id, "sent_at": 1.0, **where}

    def reply(self, request: Request, **fields: Any) -> bytes:
        return encode(Reply(**{**self.fields(request), "sender": self.identity, **fields}))

    def packet(self, request: Request, body: bytes, *, security: Any = None, signer: str = "") -> Packet:
        security = security or self._security
        return Packet(
            exchange=names.exchange("mcollective", names.REPLY),
            key=request.reply_to or "",
            body=body,
            type="reply",
            message_id=request.id,
            correlation_id=request.id,
            signer=signer or security.signer,
            signature=security.sign(body),
        )

    def on_packet(self, packet: Packet) -> None:
        if packet.type == "request":
            self.count += 1
            request = decode_request(packet.body)
            self._connector.publish(self._answer(self, request))

    def on_returned(self, packet: Packet) -> None: ...

    def on_connected(self) -> None: ...

    def on_disconnected(self, reason: BrokerError) -> None: ...

    def __enter__(self) -> Odd:
        return self

    def __exit__(self, *_: object) -> None:
        self._connector.close()


# Commands and features.


def run(*words: str | Path, status: int = 0, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program of ours, and require its exit status."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MCO_")}
    done = subprocess.run(
        [SCRIPTS / words[0], *words[1:]],
        cwd=cwd,
        env={**clean, "HOME": "/nonexistent", "PATH": f"{SCRIPTS}{os.pathsep}{clean['PATH']}", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    return done


FEATURE = "features/firewall.feature"
BEHAVE = ("behave", "--no-color", "-D")


@pytest.fixture(scope="module")
def firewall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firewall feature, recorded."""
    file = tmp_path_factory.mktemp("recorded") / "firewall.rec"
    done = run("mco", "record", file, "--", *BEHAVE, "connector=memory", FEATURE)
    assert "4 scenarios passed, 0 failed, 1 skipped" in done.stdout
    assert done.stderr == f"mco: recorded 14 questions and 42 answers in {file}\n"
    return file


def test_a_recorded_feature_passes_again_and_says_that_it_was_recorded(firewall: Path) -> None:
    done = run(*BEHAVE, "connector=replay", "-D", f"replay={firewall}", "-D", "discovery_timeout=30", FEATURE)
    assert "REPLAY answers recorded 20" in done.stdout
    assert "UTC from collective mcollective by key=operator; nothing was asked now" in done.stdout
    assert done.stdout.index("REPLAY") < done.stdout.index("Feature:")
    assert "4 scenarios passed, 0 failed, 1 skipped" in done.stdout
    assert "UNDONE unblock 192.168.1.1 on dev1, dev2, dev3" in done.stdout
    assert "and these answers are recorded ones" in done.stdout


def test_the_environment_chooses_a_replay_too(firewall: Path) -> None:
    chosen = {"MCO_CONNECTOR": "replay", "MCO_REPLAY": str(firewall)}
    assert "REPLAY answers recorded" in run(*BEHAVE, "x=y", FEATURE, **chosen).stdout
    # And strictness: the recording is what the feature asks, no more and no less
    run(*BEHAVE, "x=y", FEATURE, **chosen, MCO_REPLAY_STRICT="true")


def test_a_feature_that_asks_something_else_fails_and_says_what(firewall: Path, tmp_path: Path) -> None:
    text = (ROOT / FEATURE).read_text().replace("192.168.1.1", "10.0.0.1")
    (tmp_path / "changed.feature").write_text(text)
    done = run(*BEHAVE, "connector=replay", "-D", f"replay={firewall}", tmp_path / "changed.feature", status=1)
    assert (
        f"could not judge: iptables#block: {firewall} holds no answer to this question; the nearest that it holds is "
        'iptables#block, which differs in data.ipaddr: "10.0.0.1", recorded "192.168.1.1"; record anew'
    ) in done.stdout
    (tmp_path / "changed.feature").write_text((ROOT / FEATURE).read_text().replace("country=de", "country=fr"))
    done = run(*BEHAVE, "connector=replay", "-D", f"replay={firewall}", tmp_path / "changed.feature", status=1)
    assert "discovery#ping" in done.stdout
    assert 'filter.facts: [["country","==","fr"]], recorded [["country","==","de"]]' in done.stdout


def test_a_scenario_that_is_no_longer_true_of_the_recording_fails(firewall: Path, tmp_path: Path) -> None:
    text = firewall.read_text()
    assert '"blocked":true' in text
    (tmp_path / "edited.rec").write_text(text.replace('"blocked":true', '"blocked":false'))
    done = run(*BEHAVE, "connector=replay", "-D", f"replay={tmp_path}/edited.rec", FEATURE, status=1)
    assert "not blocked on 3 of 3: dev1, dev2, dev3" in done.stdout


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("-D", "connector=replay"), "a recording is answered from by `connector: replay`"),
        (("-D", "replay=x.rec"), "-D replay=x.rec: only with -D connector=replay"),
        (("-D", "connector=replay", "-D", "replay=none.rec"), "recording none.rec: No such file or directory"),
        (("-D", "connector=replay", "-D", "replays=x.rec"), "-D replays=...: did you mean replay?"),
    ],
)
def test_a_run_that_could_not_be_a_replay_is_none(options: tuple[str, ...], why: str) -> None:
    done = run("behave", "--no-color", *options, FEATURE, status=1)
    assert why in done.stdout
    assert "0 scenarios passed" in done.stdout


def test_a_command_answers_from_a_recording_and_says_so_once(firewall: Path) -> None:
    chosen = {"MCO_CONNECTOR": "replay", "MCO_REPLAY": str(firewall)}
    done = run("mco", "find", "-C", "/dev_server/", "-F", "country=de", **chosen)
    assert done.stdout == "dev1\ndev2\ndev3\n"
    assert done.stderr.startswith("mco: answers recorded 20")
    assert done.stderr.endswith(" UTC from collective mcollective by key=operator; nothing was asked now\n")
    done = run("mco", "ping", "-j", "-C", "/dev_server/", "-F", "country=de", **chosen)
    assert len(json.loads(done.stdout)["results"]) == 3
    done = run("mco", "rpc", "rpcutil", "ping", "--nodes", "-", "-I", "web9", **chosen, status=1)
    done = run("mco", "ping", "-C", "none", **chosen, status=1)
    assert done.stderr.splitlines()[1].startswith("mco: discovery#ping: ")
    assert 'filter.classes: ["none"], recorded ["/dev_server/"]' in done.stderr


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b'"after_s":0.', b'"after_s":-0.5,"x":0.', 1),
        lambda text: b"\x1b[2J" + text,
        lambda text: b"",
        lambda text: text.replace(b'"kind":"recording","version":1', b'"kind":"recording","version":7'),
        lambda text: text.replace(b'"principal":"dev1"', b'"principal":"dev1\\u001b[2J"'),
        lambda text: text.replace(b'"message":{', b'"message":' + b'{"a":' * 100_000 + b"{", 1),
    ],
)
def test_a_spoiled_recording_is_refused_in_a_line(spoil: Callable[[bytes], bytes], firewall: Path, file: Path) -> None:
    file.write_bytes(spoil(firewall.read_bytes()))
    done = run("mco", "ping", MCO_CONNECTOR="replay", MCO_REPLAY=str(file), status=1)
    (line,) = done.stderr.splitlines()
    assert str(file) in line
    assert line.isprintable()


def test_a_recording_that_was_cut_off_is_played_as_far_as_it_goes(firewall: Path, file: Path) -> None:
    file.write_bytes(firewall.read_bytes()[:-20])
    done = run("mco", "find", "-C", "/dev_server/", "-F", "country=de", MCO_CONNECTOR="replay", MCO_REPLAY=str(file))
    assert done.stdout == "dev1\ndev2\ndev3\n"
    assert "; the last line of the recording is cut off\n" in done.stderr


def test_a_command_that_is_killed_leaves_what_was_recorded_by_then(file: Path, tmp_path: Path) -> None:
    # Given a feature that kills its run in its second scenario
    steps = (
        "from behave import when\nimport os\n@when('all is lost')\ndef step(context):\n    os.kill(os.getpid(), 9)\n"
    )
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "own.py").write_text(steps)
    whole = (ROOT / FEATURE).read_text()
    (tmp_path / "x.feature").write_text(
        whole.replace("Then exactly these", "When all is lost\n        Then exactly these")
    )
    bundled = (sys.executable, "-m", "mco_client.bdd", "-D")
    done = run("mco", "record", file, "--", *bundled, "connector=memory", "x.feature", cwd=tmp_path, status=128 + 9)
    assert f" in {file}\n" in done.stderr
    # Then its first scenario can be played
    (tmp_path / "x.feature").write_text(whole)
    name = ("-n", "Manage the firewall")
    done = run(*bundled, "connector=replay", "-D", f"replay={file}", *name, "x.feature", cwd=tmp_path)
    assert "1 scenario passed, 0 failed" in done.stdout


def test_two_commands_at_once_write_one_recording(file: Path) -> None:
    both = f"({' '.join(BEHAVE)} connector=memory {FEATURE} & {' '.join(BEHAVE)} connector=memory {FEATURE}; wait)"
    done = run("mco", "record", file, "--", "sh", "-c", both)
    assert done.stdout.count("4 scenarios passed") == 2
    made = Recording.read(file)
    assert (len(made.sessions), len(made.calls), made.is_cut) == (2, 28, False)
    assert {len(call.events) for call in made.calls} == {3}


def test_two_recordings_at_once_do_not_share_a_file(file: Path, firewall: Path) -> None:
    shutil.copy(firewall, file)
    done = run("mco", "record", file, "--", "true", status=1)
    assert done.stderr == f"mco: recording {file} is there already; give another name, or --force to replace it\n"
    assert file.read_bytes() == firewall.read_bytes()
    done = run("mco", "record", "--force", file, "--", "true")
    assert Recording.read(file).calls == []
    assert "the command asked the fleet nothing: does it use mco, behave or mco_client?" in done.stderr


def test_the_command_has_its_own_arguments_status_and_signals(tmp_path: Path) -> None:
    script = "import sys; print(sys.argv[1:]); sys.exit(7)"
    done = run("mco", "record", "a.rec", "--", sys.executable, "-c", script, "--force", "--", cwd=tmp_path, status=7)
    assert done.stdout == "['--force', '--']\n"
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        # A signal to mco is one to the command
        script = (
            "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); "
            f"os.kill(os.getppid(), {int(number)}); time.sleep(60)"
        )
        run("mco", "record", "--force", "a.rec", sys.executable, "-c", script, cwd=tmp_path, status=128 + number)
    assert Recording.read(tmp_path / "a.rec").calls == []


def test_a_terminal_s_ctrl_c_reaches_the_command_once(tmp_path: Path) -> None:
    # Given a terminal, and a command that counts how often it is interrupted until it is told to end
    script = (
        "import os, signal, sys; got = []; "
        "signal.signal(signal.SIGINT, lambda *_: (got.append(1), os.write(1, b'hit\\n'))); "
        "os.write(1, b'ready\\n'); sys.stdin.readline(); print('count', len(got), flush=True)"
    )
    own_terminal = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [SCRIPTS / "mco", "record", tmp_path / "a.rec", "--", sys.executable, "-c", script]
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", own_terminal, *words], stdin=end, stdout=end, stderr=end, start_new_session=True
    ) as asking:
        os.close(end)
        said = b""
        for wanted, typed in ((b"ready", b"\x03"), (b"hit", b"\n"), (b"recorded", b"")):
            with contextlib.suppress(OSError):  # the last who had the terminal has gone
                while wanted not in said:
                    said += os.read(terminal, 1024)
                os.write(terminal, typed)
        assert asking.wait(WAIT_S) == 0, said
    os.close(terminal)
    assert b"count 1" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("x.rec",), "missing argument 'COMMAND...'"),
        ((), "missing argument 'FILE'"),
        (("x.rec", "--", "no-such-command"), "there is no command 'no-such-command' to run; nothing was recorded"),
        (("x.rec", "--", ""), "there is no command '' to run"),
        (("none/x.rec", "--", "true"), "none/x.rec cannot be written: No such file or directory"),
        (("--forse", "x.rec", "--", "true"), "no such option"),
    ],
)
def test_mistakes_record_nothing(words: tuple[str, ...], why: str, tmp_path: Path) -> None:
    done = run("mco", "record", *words, cwd=tmp_path, status=1)
    assert why in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_fields_are_blanked_on_request(file: Path) -> None:
    run("mco", "record", "--redact", "ipaddr", "--redact", "block*", file, *BEHAVE, "connector=memory", FEATURE)
    text = file.read_text()
    assert '"ipaddr":"(redacted)"' in text
    assert '"blocked":"(redacted)"' in text
    assert '"blocked":true' not in text


def test_it_runs_in_this_process_too(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    assert main(["record", str(file), "--", "sh", "-c", 'echo "$MCO_RECORD"; kill -TERM $$']) == 128 + signal.SIGTERM
    assert {number: signal.getsignal(number) for number in before} == before
    said = capfd.readouterr()
    assert said.out == f"{file}\n"
    assert "recorded 0 questions and 0 answers" in said.err


def test_a_notice_is_printed_once_a_command(
    fleet: MemoryFleet, recorded: Callable[..., Connection], replay: Callable[..., Connection],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked(recorded(fleet), "rpcutil", "ping")

    def connect(_: Path | None, changes: Mapping[str, Any]) -> Connection:
        return replay()

    for words in (["rpc", "rpcutil", "ping", "--nodes", "/dev/null"], ["find"]):
        main(words, connect)
        assert capsys.readouterr().err.count("nothing was asked now") == (words == ["find"])
