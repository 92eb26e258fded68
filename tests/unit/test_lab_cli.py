# SPDX-License-Identifier: Apache-2.0
"""The command line of the lab, signals in its foreground, and its small programs, without any lab."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click.testing
import pytest

from mco_lab import await_amqp, cli, foreground, hosts, network, probe, pytest_plugin, state
from mco_lab.errors import LabError


def mco_lab(*arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.lab, arguments)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "root", lambda: tmp_path / "labs")
    monkeypatch.setattr(network, "_NAMES", tmp_path / "netns")
    return tmp_path / "labs"


class StubLab:
    """A lab that writes down what is done with it, and runs commands here."""

    def __init__(self, on_down: Callable[[], None] = lambda: None, signalled: int = 0) -> None:
        self.done: list[str] = []
        self._on_down = on_down
        self._signalled = signalled

    def up(self) -> None:
        self.done.append("up")

    def down(self) -> None:
        self._on_down()
        self.done.append("down")

    def popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        if not self._signalled:
            return subprocess.Popen(command)
        child = SignallingPopen(command, stdout=subprocess.PIPE)
        child.number = self._signalled
        return child


class SignallingPopen(subprocess.Popen[bytes]):
    """A command; when it said something and is waited for, a signal comes to us."""

    number = 0

    def wait(self, timeout: float | None = None) -> int:
        if self.number and self.stdout:
            self.stdout.readline()
            self.stdout.close()
            number, self.number = self.number, 0
            os.kill(os.getpid(), number)
        return super().wait(timeout)


def signal_ourselves(number: int) -> int:
    os.kill(os.getpid(), number)
    time.sleep(60)  # the signal arrives before this is over
    return 0


class TestForeground:
    def test_the_lab_is_down_after_its_use(self):
        lab = StubLab()
        assert foreground.hold(lab, lambda: 3) == 3
        assert lab.done == ["up", "down"]

    def test_the_lab_is_down_after_a_failure(self):
        lab = StubLab()
        with pytest.raises(ZeroDivisionError):
            foreground.hold(lab, lambda: 1 // 0)
        assert lab.done == ["up", "down"]

    @pytest.mark.parametrize("number", foreground.SIGNALS)
    def test_a_signal_ends_its_use_and_further_ones_do_not_disturb_the_way_down(self, number):
        before = signal.getsignal(number)
        lab = StubLab(on_down=lambda: os.kill(os.getpid(), number))
        assert foreground.hold(lab, lambda: signal_ourselves(number)) == 128 + number
        assert lab.done == ["up", "down"]
        assert signal.getsignal(number) is before

    def test_the_status_of_a_command_is_passed_on(self):
        assert foreground.run(StubLab(), ["sh", "-c", "exit 5"]) == 5
        assert foreground.run(StubLab(), ["sh", "-c", "kill -9 $$"]) == 128 + signal.SIGKILL

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_is_passed_on_to_the_command(self, number):
        with foreground.interruptible():
            status = foreground.run(StubLab(signalled=number), ["sh", "-c", "echo here; exec sleep 600"])
        assert status == 128 + number

    def test_a_command_that_does_not_mind_is_killed_in_the_end(self, monkeypatch):
        monkeypatch.setattr(foreground, "_GRACE_S", 0.05)
        stubborn = ["sh", "-c", "trap '' TERM; echo here; exec sleep 600"]
        with foreground.interruptible(), pytest.raises(foreground.Interrupted) as caught:
            foreground.run(StubLab(signalled=signal.SIGTERM), stubborn)
        assert caught.value.status == 128 + signal.SIGTERM

    def test_what_the_terminal_sent_to_both_is_not_sent_again(self, monkeypatch):
        monkeypatch.setattr(foreground, "_is_terminals_foreground", lambda: True)
        with foreground.interruptible():
            status = foreground.run(StubLab(signalled=signal.SIGINT), ["sh", "-c", "echo here; sleep 0.1; exit 6"])
        assert status == 6

    def test_without_a_terminal_nothing_is_in_its_foreground(self, monkeypatch):
        for stdin in (None, open(os.devnull)):  # noqa: SIM115, PTH123
            monkeypatch.setattr(foreground.sys, "__stdin__", stdin)
            assert not foreground._is_terminals_foreground()
        stdin.close()


class TestCommands:
    @pytest.mark.parametrize("command", [["run", "my.yaml"], ["run", "--"], ["exec", "one"], ["exec", "one", "--"]])
    def test_a_command_to_run_comes_after_two_dashes(self, command):
        done = mco_lab(*command)
        assert done.exit_code == 2
        assert "the command to run comes after --, for instance: -- mco ping" in done.stderr

    def test_the_usage_shows_it(self):
        assert "[OPTIONS] HOST -- COMMAND..." in mco_lab("exec", "--help").stdout

    def test_no_lab_is_up(self, root):
        assert mco_lab("status").stdout == "no lab is up\n"
        assert json.loads(mco_lab("status", "--json").stdout) == []
        done = mco_lab("down", "--name", "x")
        assert (done.exit_code, done.stderr) == (0, "no lab named x is up\n")
        done = mco_lab("down", "--all")
        assert (done.exit_code, done.output) == (0, "")

    def test_a_lab_that_is_not_up_cannot_be_used(self, root):
        for command in (["run", "--", "true"], ["exec", "one", "--", "true"]):
            assert "no lab named 'default' is up" in str(mco_lab(*command).exception)

    def test_all_labs_can_be_removed(self, root):
        (root / "a").mkdir(parents=True)
        (root / "b").mkdir()
        assert mco_lab("down", "--all").stderr == "lab a is removed\nlab b is removed\n"
        assert not root.exists()

    def test_a_variable_names_the_lab(self, root, monkeypatch):
        monkeypatch.setenv("MCO_LAB", "other")
        assert mco_lab("down").stderr == "no lab named other is up\n"


class TestPlugin:
    def test_what_cannot_run_is_skipped_at_home_and_fails_in_ci(self, monkeypatch):
        def check() -> None:
            raise LabError("needs root")

        for value in ("", "false", "0"):
            monkeypatch.setenv("CI", value)
            with pytest.raises(pytest.skip.Exception, match="needs root"):
                pytest_plugin.require(check)
        monkeypatch.setenv("CI", "true")
        with pytest.raises(LabError, match="needs root"):
            pytest_plugin.require(check)
        pytest_plugin.require(lambda: None)


class TestProbe:
    def test_outcomes_are_told_in_the_order_asked_for(self, capsys):
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_server(("::1", 0), family=socket.AF_INET6) as server6,
            socket.socket() as closed,
        ):
            closed.bind(("127.0.0.1", 0))
            targets = [f"127.0.0.1:{closed.getsockname()[1]}", f"127.0.0.1:{server.getsockname()[1]}"]
            targets += [f"[::1]:{server6.getsockname()[1]}", "255.255.255.255:1"]
            assert probe.main(targets) == 0
        outcomes = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [outcome["target"] for outcome in outcomes] == targets
        assert [outcome["connected"] for outcome in outcomes] == [False, True, True, False]
        assert [outcome["reason"] for outcome in outcomes[:3]] == ["refused", None, None]
        assert outcomes[3]["reason"]
        assert all(isinstance(outcome["seconds"], float) for outcome in outcomes)

    def test_no_answer_in_time(self):
        with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
            assert probe.probe([server.getsockname()], 0)[0]["reason"] == "timed out"

    @pytest.mark.parametrize("target", ["host", "host:", ":80", "host:0", "host:65536", "host:http"])
    def test_a_target_is_a_host_and_a_port(self, target, capsys):
        with pytest.raises(SystemExit):
            probe.main([target])
        assert f"{target!r} is not HOST:PORT, for instance 192.168.1.11:8080" in capsys.readouterr().err


class TestSmallPrograms:
    @pytest.mark.parametrize(
        ("said", "is_broker"),
        [
            (b"\x01\x00\x00\x00\x00\x01\xf0\x00\x0a\x00\x0a\x00\x09", True),
            (b"AMQP\x00\x00\x09\x01", False),
            (b"HTTP/1.1 400 Bad Request", False),
            (b"", False),
        ],
    )
    def test_a_broker_is_what_opens_a_conversation(self, said, is_broker):
        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(8)
                connection.sendall(said)

        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=answer)
            thread.start()
            assert await_amqp.answers(*server.getsockname()) is is_broker
            thread.join()
        assert not await_amqp.answers(*("127.0.0.1", 1))

    @pytest.mark.parametrize(
        ("program", "why"),
        [("host_init", "not process 1 of a namespace"), ("systemd_init", "not in a mount namespace of its own")],
    )
    def test_a_host_is_not_made_of_the_machine(self, program, why):
        done = subprocess.run([*hosts.program(program), "{}"], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert why in done.stderr

    def test_the_programs_of_hosts_import_next_to_nothing(self):
        program = "import sys, mco_lab.probe, mco_lab.host_init, mco_lab.await_amqp, "
        program += "mco_lab.systemd_init, mco_lab.start_unit\n"
        program += "print(*sorted({'click', 'msgspec', 'yaml', 'pytest', 'nacl', 'asyncio'} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "\n"
