# SPDX-License-Identifier: Apache-2.0
"""The service agent with real init scripts, in folders of their own."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mco_agents.service import Service
from mco_agents.service.verbs import VERBS
from mco_agents.service.watching import settled
from mco_host import init_scripts, systemd
from mco_host.services import ServiceState
from mco_rpc.errors import ActionAborted, ConfigError, InvalidData

from .asking import ask

# A daemon as far as anybody can see: a file that says that it runs.
SCRIPT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides: {name}
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
echo "$1" >> {folder}/{name}.called
case "$1" in
start) {start} ;;
stop) rm -f {folder}/{name}.runs ;;
restart) touch {folder}/{name}.runs ;;
reload) touch {folder}/{name}.reloaded ;;
status) if [ -e {folder}/{name}.runs ]; then exit 0; elif [ -e {folder}/{name}.dead ]; then exit 1; else exit 3; fi ;;
esac
"""
AT_THE_THIRD_LOOK = "while [ $(grep -c status {folder}/{name}.called) -lt 3 ]; do sleep 0.01; done"


class Host:
    """A folder with init scripts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scripts = root / "etc/init.d"
        self.scripts.mkdir(parents=True)

    def add(self, name: str = "web", start: str = "touch {folder}/{name}.runs") -> None:
        start = start.format(folder=self.root, name=name)
        (self.scripts / name).write_text(SCRIPT.format(name=name, folder=self.root, start=start))
        (self.scripts / name).chmod(0o755)

    def called(self, name: str = "web") -> list[str]:
        file = self.root / f"{name}.called"
        return [word for word in file.read_text().split() if word != "status"] if file.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host without systemd, and with one service."""
    made = Host(tmp_path)
    monkeypatch.setattr(init_scripts, "SCRIPTS", made.scripts)
    monkeypatch.setattr(init_scripts, "RUN_LEVELS", tmp_path / "etc")
    monkeypatch.setattr(systemd, "RUNNING_HERE", tmp_path / "no-systemd")
    made.add()
    return made


@pytest.fixture
def service() -> Service:
    return Service(None, {"settle_s": 0.05})


def told(answer: dict[str, Any]) -> tuple[Any, ...]:
    return answer["changed"], answer["before"], answer["after"]


def test_start_and_stop_change_what_is_not_so_already(host: Host, service: Service) -> None:
    assert told(ask(service, "start", service="web")) == (True, "stopped", "running")
    assert told(ask(service, "start", service="web")) == (False, "running", "running")
    assert told(ask(service, "stop", service="web")) == (True, "running", "stopped")
    assert told(ask(service, "stop", service="web")) == (False, "stopped", "stopped")
    assert host.called() == ["start", "stop"]


def test_restart_and_reload_change_always(host: Host, service: Service) -> None:
    with pytest.raises(ActionAborted, match="will not reload web: it does not run, it is stopped; start it"):
        ask(service, "reload", service="web")
    assert told(ask(service, "restart", service="web")) == (True, "stopped", "running")
    assert told(ask(service, "restart", service="web")) == (True, "running", "running")
    assert told(ask(service, "reload", service="web")) == (True, "running", "running")
    assert host.called() == ["restart", "restart", "reload"]


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "reload", "enable", "disable"])
def test_noop_says_what_would_be_and_changes_nothing(host: Host, service: Service, verb: str) -> None:
    if verb in ("stop", "reload"):
        (host.root / "web.runs").touch()
    answer = ask(service, verb, service="web", noop=True)
    assert answer["changed"] is (verb != "disable")
    would_be = {"stop": "stopped", "enable": "enabled", "disable": "disabled"}.get(verb, "running")
    assert answer["after"] == would_be
    assert host.called() == []
    assert not list(host.root.glob("etc/rc*"))


def test_masking_needs_systemd(host: Host, service: Service) -> None:
    with pytest.raises(ActionAborted, match="will not mask web: only systemd can do that"):
        ask(service, "mask", service="web")


def test_a_script_that_fails_is_an_error_with_what_it_said(host: Host, service: Service) -> None:
    host.add(start="echo no port left; echo again >&2; exit 7")
    with pytest.raises(ActionAborted, match=r"web did not start: status 7; it said: no port left \| again"):
        ask(service, "start", service="web")


@pytest.mark.parametrize(
    ("start", "trouble"),
    [
        ("true", "it started and ended again at once, with success"),
        ("touch {folder}/{name}.dead", "it started and ended at once"),
        # It dies between two looks at it.
        (
            f"touch {{folder}}/{{name}}.runs; ({AT_THE_THIRD_LOOK}; rm {{folder}}/{{name}}.runs) >/dev/null 2>&1 &",
            "it started and ended again at once, with success",
        ),
    ],
)
def test_what_starts_and_dies_is_not_running(host: Host, start: str, trouble: str) -> None:
    host.add(start=start)
    with pytest.raises(ActionAborted, match=f"web did not start: {trouble}"):
        ask(Service(None, {"settle_s": 10}), "start", service="web")


def test_a_script_that_does_not_stop_it_is_an_error(host: Host, service: Service) -> None:
    (host.root / "web.runs").touch()
    text = (host.scripts / "web").read_text()
    (host.scripts / "web").write_text(text.replace("rm -f", "true"))
    with pytest.raises(ActionAborted, match=r"web did not stop: afterwards it is running \(exit status 0\)"):
        ask(service, "stop", service="web")


def test_a_script_without_a_word_for_its_status_is_started_all_the_same(host: Host, service: Service) -> None:
    (host.scripts / "old").write_text(f"#!/bin/sh\ntouch {host.root}/old.$1\n")
    (host.scripts / "old").chmod(0o755)
    assert ask(service, "status", service="old")["status"] == "unknown"
    assert told(ask(service, "start", service="old")) == (True, "unknown", "unknown")
    assert told(ask(service, "stop", service="old")) == (True, "unknown", "unknown")
    assert sorted(path.name for path in host.root.glob("old.*")) == ["old.start", "old.stop"]


def test_an_unknown_service_is_an_error_with_the_nearest(host: Host, service: Service) -> None:
    for verb in ("status", "start", "enable"):
        with pytest.raises(ActionAborted, match=r"there is no service wbe on this node, did you mean web\?; `list`"):
            ask(service, verb, service="wbe")


def test_services_are_listed_and_chosen(host: Host, service: Service) -> None:
    host.add("db")
    host.add("broken")
    (host.root / "web.runs").touch()
    (host.root / "broken.dead").touch()
    (host.scripts / "README").write_text("x")
    every = ask(service, "list")
    assert [(it["name"], it["status"]) for it in every["services"]] == [
        ("broken", "failed"),
        ("db", "stopped"),
        ("web", "running"),
    ]
    assert (every["count"], every["failed"]) == (3, ["broken"])
    assert [it["name"] for it in ask(service, "list", status="running")["services"]] == ["web"]
    assert [it["name"] for it in ask(service, "list", pattern="^.b$")["services"]] == ["db"]
    with pytest.raises(InvalidData, match="input pattern"):
        ask(service, "list", pattern="(")


@pytest.mark.parametrize(
    "name", ["-o", "--now", "../x", "a/b", "web; rm", "web\n", "", "*", "wéb", "x" * 10_000, "$(id)"]
)
@pytest.mark.parametrize("verb", ["status", "start", "mask"])
def test_what_is_no_name_reaches_no_command(host: Host, service: Service, verb: str, name: str) -> None:
    with pytest.raises(InvalidData):
        ask(service, verb, service=name)
    assert host.called() == []


def test_a_template_runs_nothing_itself(service: Service) -> None:
    with pytest.raises(ActionAborted, match="getty@ is a template and runs nothing itself; name an instance"):
        ask(service, "start", service="getty@")


def test_of_many_at_once_one_starts_it(host: Host, service: Service) -> None:
    # Given a service that all are asked for while it is being started
    answers: list[bool] = []
    others = [
        threading.Thread(target=lambda: answers.append(service.start("web")["changed"] is True)) for _ in range(4)
    ]
    first = threading.Thread(target=lambda: answers.append(service.start("web")["changed"] is True))
    host.add(start="while [ ! -e {folder}/go ]; do sleep 0.01; done; touch {folder}/{name}.runs")
    first.start()
    while host.called() != ["start"]:
        time.sleep(0.01)
    for thread in others:
        thread.start()
    (host.root / "go").touch()

    # Then one starts it, and the others find it running
    for thread in (first, *others):
        thread.join()
    assert sorted(answers) == [False, False, False, False, True]
    assert host.called() == ["start"]


@pytest.mark.parametrize("value", [-1, 61, "1", True])
def test_a_setting_that_cannot_be_used_is_named(value: object) -> None:
    with pytest.raises(ConfigError, match="settle_s: expected seconds from 0 to 60"):
        Service(None, {"settle_s": value})


class TestWatching:
    """What systemd says of a service in the moment after it was started."""

    @staticmethod
    def unit(**said: Any) -> ServiceState:
        values: dict[str, Any] = {"status": "running", "enabled": "", "kind": "simple", "invocation": "a"}
        return ServiceState("x.service", "systemd", **{**values, **said})

    def watch(self, *states: ServiceState, settle_s: float = 60.0) -> tuple[str, int]:
        rest = list(states[1:])
        _, trouble = settled(states[0], lambda: rest.pop(0), settle_s, lambda: None)
        return trouble, len(rest)

    def test_it_is_looked_at_until_it_fails(self) -> None:
        fine, bad = self.unit(), self.unit(status="failed", result="exit-code", exit_status=3)
        assert self.watch(fine, fine, bad, fine) == ("it started and ended with exit-code 3", 1)

    def test_one_that_is_started_anew_did_not_start(self) -> None:
        waits = self.unit(status="starting", substate="auto-restart", result="signal", exit_status=9)
        assert self.watch(self.unit(), waits) == ("it died with signal 9 and is started again and again", 0)
        assert self.watch(self.unit(), self.unit(invocation="b"))[0] == "it died and is started again and again"

    def test_what_has_no_process_is_not_watched(self) -> None:
        assert self.watch(self.unit(kind=""), self.unit()) == ("", 1)
        assert self.watch(self.unit(kind="oneshot", status="stopped"), self.unit()) == ("", 1)

    def test_one_that_ran_to_its_end_is_fine_only_if_that_is_its_kind(self) -> None:
        assert self.watch(self.unit(status="stopped")) == ("it started and ended again at once, with success", 0)
        assert self.watch(self.unit(), settle_s=0) == ("", 0)


class TestTheHost:
    """What systemd calls units, and what lies among init scripts, and is about the whole host."""

    @pytest.mark.parametrize(
        ("word", "manager", "name"),
        [
            ("start", "systemd", "reboot.target"),
            ("start", "systemd", "systemd-poweroff.service"),
            ("restart", "systemd", "emergency.target"),
            ("start", "systemd", "debug-shell.service"),
            ("start", "systemd", "soft-reboot.target"),
            ("stop", "init", "reboot"),
            ("stop", "init", "halt"),
            ("start", "init", "single"),
            ("start", "init", "rc"),
        ],
    )
    def test_it_is_no_service(self, word: str, manager: str, name: str) -> None:
        seen = ServiceState(name, manager, "stopped", "static")
        assert VERBS[word].why_not(seen) == "it is no service: it changes what the whole host does"

    @pytest.mark.parametrize(
        "name", ["reboot-notifier.service", "rcd", "halted", "kexec-tools.service", "sleepd.service"]
    )
    def test_names_that_are_alike_are_services(self, name: str) -> None:
        assert VERBS["start"].why_not(ServiceState(name, "systemd", "stopped", "enabled")) is None
