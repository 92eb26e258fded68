# SPDX-License-Identifier: Apache-2.0
"""What a shell is told of a fleet: the names that real nodes give, and what may come next on the line."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mco_client.cli import ask_names, fleet_names, main
from mco_client.cli.ask_names import gather
from mco_client.cli.candidates import is_harmless, items
from mco_client.cli.completion import answer
from mco_client.cli.fleet_names import Names
from mco_lab.memory import MemoryFleet

HOSTS = {
    "web1": {"classes": ["acme::web"], "facts": {"country": "de", "cores": 4, "is_virtual": True, "tags": ["a", "b"]}},
    "db1": {"classes": ["acme::db"], "facts": {"country": "fr", "odd": {"deep": 1}, "long": "x" * 500}},
}


@pytest.fixture(scope="module")
def fleet() -> Iterator[MemoryFleet]:
    with MemoryFleet(HOSTS) as fleet:
        yield fleet


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that nobody used, of a user who lets nobody ask."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(fleet_names.SWITCH, "no")
    return tmp_path


Complete = Callable[..., list[str]]


@pytest.fixture
def complete(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Complete:
    """Press the key behind a line; what is offered, without descriptions."""

    def press(line: str, shell: str = "fish") -> list[str]:
        monkeypatch.setenv("_MCO_WORDS", "\x1f".join(line.split(" ")))
        monkeypatch.setenv("_MCO_LINE", line)
        monkeypatch.setenv("_MCO_BREAKS", " \t\n\"'><=;|&(:")
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert answer(main.mco, shell) == 0
        said = capsys.readouterr()
        assert said.err == ""
        return [text.partition("\t")[0] for text in said.out.splitlines() if shell == "bash" or text[0] != ":"]

    return press


@pytest.mark.parametrize(
    "word",
    [f"qq{sign}b" for sign in " \t\n\r\x1b\x1f\x00\u202e\u200b$`;&|<>()[]{}*?'\"\\#!^~%"]
    + ["-rf", "~root", "=ls", "%1", "+x", "", "x" * 201],
)
def test_a_name_that_a_shell_could_misread_is_not_harmless(word: str) -> None:
    assert not is_harmless(word)
    assert [item.value for item in items([word, "good"], "")] == ["good"]


@pytest.mark.parametrize("word", ["web1.example.com", "acme::dev_server", "os.name", "a/b@c+d=e,f-g_h", "münchen"])
def test_a_name_as_they_are_is_harmless(word: str) -> None:
    assert is_harmless(word)


def keep(seen: Names) -> None:
    file = fleet_names.file_of(None, None)
    assert file is not None
    fleet_names.write(file, seen)


def test_a_fleet_gives_the_names_of_its_nodes_agents_facts_and_classes(fleet: MemoryFleet, home: Path) -> None:
    seen = gather(fleet.connection())
    assert seen.nodes == ("db1", "web1")
    assert {"rpcutil", "iptables"} <= seen.agents.keys()
    assert seen.classes == ("acme::db", "acme::web")
    assert seen.collectives == ("mcollective",)
    assert seen.facts["country"] == ("de", "fr")
    assert seen.facts["cores"] == ("4",)
    assert seen.facts["is_virtual"] == ("true",)
    assert seen.facts["tags"] == ("a", "b")
    assert seen.facts["odd"] == seen.facts["long"] == ()
    assert seen.seen_at > 0


def test_what_was_seen_is_offered_with_the_actions_of_its_agents(
    fleet: MemoryFleet, home: Path, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The cache of who asks a memory fleet is the user's, too.
    keep(gather(fleet.connection()))
    assert complete("mco ping -I ") == ["db1", "web1"]
    assert complete("mco rpc iptables is") == ["isblocked"]
    assert complete("mco rpc iptables block ") == ["force=", "ipaddr="]
    assert complete("mco iptables ") == ["block", "isblocked", "listblocked", "unblock"]
    assert complete("mco iptables isblocked ip") == ["ipaddr="]
    assert complete("mco file checksum algorithm=sha5") == ["algorithm=sha512"]
    assert complete("mco file checksum /etc/motd md") == ["md5"]
    assert complete("mco rpc rpcutil get_fact fact=c") == ["fact=cores", "fact=country"]
    assert complete("mco rpc rpcutil schema_of agent=ipt") == ["agent=iptables"]
    assert complete("mco ping -W 'acme") == ["acme::db", "acme::web"]
    assert complete("mco plugin doc ipt") == ["iptables"]


def test_a_fleet_of_which_nobody_answers_gives_nothing(home: Path) -> None:
    with MemoryFleet({}) as nobody:
        assert gather(nobody.connection()) == Names()


def test_nothing_is_offered_and_nothing_said_where_nothing_is_known(complete: Complete) -> None:
    for line in ("mco ping -I ", "mco rpc ", "mco ping -F country=", "mco rpc rpcutil ", "mco iptables block ip"):
        assert complete(line) == []


def test_names_that_cannot_be_read_are_none(complete: Complete, home: Path) -> None:
    file = fleet_names.file_of(None, None)
    assert file is not None
    keep(Names(seen_at=1.0, nodes=("web1",)))
    assert complete("mco ping -I ") == ["web1"]
    for body in (b"", b"{", b"[]", b'{"nodes": 7}', b"\xff", b"[" * 100_000):
        file.write_bytes(body)
        assert complete("mco ping -I ") == []
    file.unlink()
    file.symlink_to("/dev/zero")
    assert complete("mco ping -I ") == []


def test_each_fleet_has_names_of_its_own(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {fleet_names.file_of(None, None), fleet_names.file_of(tmp_path / "a.yaml", None)}
    files |= {fleet_names.file_of(None, "germany")}
    monkeypatch.setenv("MCO_BROKERS", "amqp://elsewhere/")
    files |= {fleet_names.file_of(None, None)}
    assert len(files) == 4


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The processes that were started to ask, and ``["wait"]`` where one was waited for; none does anything."""
    asked: list[list[str]] = []
    monkeypatch.setenv(fleet_names.SWITCH, "yes")
    monkeypatch.setattr(fleet_names.os, "posix_spawn", lambda _, command, *__, **___: asked.append(command) or 1)
    monkeypatch.setattr(fleet_names, "_await", lambda _: asked.append(["wait"]))
    return asked


def test_a_fleet_that_gave_nothing_is_not_asked_at_each_press(complete: Complete, asked: list[list[str]]) -> None:
    for _ in range(3):
        assert complete("mco ping -I w") == []
    assert [each[0] for each in asked] == [sys.executable, "wait"]
    assert complete("mco ping -T germany -I w") == []
    assert asked[2][-1] == "germany"


def test_old_names_are_offered_at_once_while_the_fleet_is_asked(complete: Complete, asked: list[list[str]]) -> None:
    keep(Names(seen_at=time.time() - fleet_names.FRESH_S - 1, nodes=("web1",)))
    assert complete("mco ping -I ") == ["web1"]
    assert [each[0] for each in asked] == [sys.executable]
    keep(Names(seen_at=time.time(), nodes=("web2",)))
    assert complete("mco ping -I ") == ["web2"]
    assert len(asked) == 1


def test_who_asks_has_no_terminal_and_is_waited_for_a_moment_only(
    complete: Complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "slow").chmod(0o755)
    pids: list[int] = []
    spawn = os.posix_spawn
    monkeypatch.setenv(fleet_names.SWITCH, "yes")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "slow"))
    monkeypatch.setattr(os, "posix_spawn", lambda *given, **rest: pids.append(spawn(*given, **rest)) or pids[-1])
    assert complete("mco ping -I w") == []
    try:
        assert os.waitpid(pids[0], os.WNOHANG) == (0, 0)  # nobody waited until it ended
        assert os.getsid(pids[0]) == pids[0]
    finally:
        os.kill(pids[0], signal.SIGKILL)
        os.waitpid(pids[0], 0)


def test_who_plays_a_recording_asks_nobody(
    complete: Complete, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCO_REPLAY", "/nowhere")
    assert complete("mco ping -I ") == []
    assert not asked


def test_one_command_that_cannot_be_loaded_hides_no_other(complete: Complete, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main.importlib, "import_module", lambda name: pytest.fail(f"{name} is loaded"))
    assert {"ping", "rpc", "service"} <= set(complete("mco "))


def test_bash_hears_only_what_it_replaces(complete: Complete, home: Path) -> None:
    keep(Names(seen_at=1.0, classes=("acme::web",), facts={"country": ("de",)}))
    assert complete("mco ping -C acme::", "bash") == ["web"]
    assert complete("mco ping -C acme:", "bash") == [":web"]
    assert complete("mco ping -F country=", "bash") == ["de"]
    assert complete("mco ping -F ", "bash") == [":open", "country="]
    assert complete("mco ping --wf=country=d", "bash") == ["de"]
    assert complete("mco ping -C 'acme::", "bash") == ["acme::web"]


def test_the_process_that_asks_tells_nobody_of_its_troubles(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_names.signal, "alarm", lambda _: 0)
    (tmp_path / "broken.yaml").write_text("brokers: [")
    for config in ("/nowhere", str(tmp_path / "broken.yaml"), str(tmp_path)):
        assert ask_names.main([str(tmp_path / "names.json"), config, ""]) == 1
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "names.json").exists()
