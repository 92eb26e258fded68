# SPDX-License-Identifier: Apache-2.0
"""The agents of services, packages and jobs on hosts that systemd runs, and on one with init scripts and cron."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from mco_lab import spec
from mco_lab.lab import Lab
from mco_lab.pytest_plugin import LabFactory

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab-services")]
SYSTEMD, INIT = "web2", "plain1"
UNITS = {
    "mcogood.service": """
        [Unit]
        Description=A good one
        [Service]
        ExecStart=/bin/sleep 1000
        ExecReload=/bin/true
        [Install]
        WantedBy=multi-user.target
        Alias=mcofine.service
        """,
    "mcodies.service": """
        [Service]
        ExecStart=/bin/sh -c "echo no port left; sleep 0.2; exit 3"
        """,
    "mcoloops.service": """
        [Service]
        ExecStart=/bin/false
        Restart=always
        RestartSec=0.2
        """,
    "mcoonce.service": """
        [Service]
        Type=oneshot
        ExecStart=/bin/true
        """,
    "mcohangs.service": """
        [Service]
        Type=notify
        ExecStart=/bin/sleep 1000
        """,
    "mcoinst@.service": """
        [Service]
        ExecStart=/bin/sleep 1000
        [Install]
        WantedBy=multi-user.target
        """,
    "mcotick.service": """
        [Service]
        ExecStart=/bin/sleep 1000
        """,
    "mcotick.timer": """
        [Timer]
        OnCalendar=daily
        [Install]
        WantedBy=timers.target
        """,
    "mcobad.service": """
        [Service]
        Type=nonsense
        """,
}
# Asks agents one after the other, on the host.
ASK = """
import importlib, json, sys, time
from mco_rpc.agent import deadline
from mco_rpc.current import Current, working_for
from mco_rpc.errors import RequestError
made = {}
for name, action, inputs, options in json.load(sys.stdin):
    if name not in made:
        kind = getattr(importlib.import_module("mco_agents." + name), name.capitalize())
        made[name] = kind(None, {"settle_s": 0.5} if name == "service" else {})
    schema = made[name].schema().action(action)
    time_s = options.get("time_s")
    token = deadline.set(time.monotonic() + time_s if time_s else None)
    try:
        with working_for(Current(is_noop=options.get("noop", False))):
            got = getattr(made[name], action)(**schema.check_inputs(name, inputs))
            answer = schema.check_outputs(name, got)
    except RequestError as e:
        answer = {"error": str(e), "kind": type(e).__name__}
    deadline.reset(token)
    print(json.dumps(answer))
"""
MCOONCE_IS_STATIC = (
    "will not enable mcoonce.service: its unit says nothing of when it starts (static): something else starts it"
)
Question = tuple[str, str, dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def services(lab: LabFactory) -> Lab:
    """Return the lab with hosts of both kinds; tests leave its packages and services as they were."""
    return lab(spec.find("services"))


@pytest.fixture(scope="module")
def units(services: Lab) -> Iterator[Lab]:
    """Put some units on the host that systemd runs."""
    folder = "/run/systemd/system"
    for name, text in UNITS.items():
        lines = "\n".join(line.strip() for line in text.strip().splitlines())
        output(services, SYSTEMD, "tee", f"{folder}/{name}", input=f"{lines}\n")
    output(services, SYSTEMD, "systemctl", "daemon-reload")
    yield services
    output(
        services,
        SYSTEMD,
        "sh",
        "-c",
        f"systemctl stop 'mco[a-m]*' 'mco[o-z]*' && rm -f {folder}/mco[a-mo-z]* && systemctl daemon-reload",
    )


def output(lab: Lab, host: str, *argv: str, **options: Any) -> str:
    done = lab.exec(host, argv, **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def ask(lab: Lab, host: str, *questions: Question) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in output(lab, host, "python", "-c", ASK, input=json.dumps(questions)).splitlines()
    ]


def do(verb: str, service: str, **options: Any) -> Question:
    return ("service", verb, {"service": service}, options)


def told(answer: dict[str, Any]) -> Any:
    return answer.get("error") or (answer["changed"], answer["before"], answer["after"])


class TestSystemd:
    def test_a_service_goes_through_all_its_states(self, units: Lab) -> None:
        verbs = (
            "start",
            "start",
            "restart",
            "reload",
            "enable",
            "enable",
            "disable",
            "mask",
            "stop",
            "start",
            "unmask",
        )
        answers = ask(units, SYSTEMD, do("start", "mcogood", noop=True), *(do(verb, "mcogood") for verb in verbs))
        assert [told(answer) for answer in answers] == [
            (True, "stopped", "running"),  # would be
            (True, "stopped", "running"),
            (False, "running", "running"),
            (True, "running", "running"),
            (True, "running", "running"),
            (True, "disabled", "enabled"),
            (False, "enabled", "enabled"),
            (True, "enabled", "disabled"),
            (True, "disabled", "masked"),
            (True, "running", "stopped"),
            "will not start mcogood.service: it is masked; unmask it first",
            (True, "masked", "disabled"),
        ]

    def test_what_starts_and_dies_is_not_running_and_its_journal_says_why(self, units: Lab) -> None:
        dies, loops, seen, stopped = ask(
            units,
            SYSTEMD,
            do("start", "mcodies"),
            do("start", "mcoloops"),
            do("status", "mcodies"),
            do("stop", "mcoloops"),
        )
        assert "mcodies.service did not start: it started and ended with exit-code 3; its journal" in dies["error"]
        assert "no port left" in dies["error"]
        assert "mcoloops.service did not start: it died" in loops["error"]
        assert "is started again and again" in loops["error"]
        assert (seen["status"], seen["result"], seen["exit_status"]) == ("failed", "exit-code", 3)
        assert told(stopped)[2] == "stopped"

    def test_one_that_takes_too_long_is_not_given_up_by_systemd(self, units: Lab) -> None:
        hangs, seen, stopped = ask(
            units,
            SYSTEMD,
            do("start", "mcohangs", time_s=2.0),
            do("status", "mcohangs"),
            do("stop", "mcohangs"),
        )
        assert (hangs["kind"], seen["status"]) == ("TimedOut", "starting")
        assert "`systemctl start` did not end in time; systemd goes on with it" in hangs["error"]
        assert told(stopped) == (True, "starting", "stopped")

    def test_units_of_all_kinds_and_names_are_taken(self, units: Lab) -> None:
        answers = ask(
            units,
            SYSTEMD,
            do("start", "mcoonce"),
            do("enable", "mcoonce.service"),
            do("start", "mcotick.timer"),
            do("enable", "mcotick.timer"),
            do("disable", "mcotick.timer"),
            do("start", "mcoinst@a"),
            do("stop", "mcoinst@a"),
            do("start", "mcoinst@"),
            do("start", "mcobad"),
            do("reload", "mcotick"),
            do("status", "mcogod"),
        )
        assert [told(answer) for answer in answers[:7]] == [
            (True, "stopped", "stopped"),
            MCOONCE_IS_STATIC,
            (True, "stopped", "running"),
            (True, "disabled", "enabled"),
            (True, "enabled", "disabled"),
            (True, "stopped", "running"),
            (True, "running", "stopped"),
        ]
        assert "mcoinst@ is a template and runs nothing itself" in told(answers[7])
        assert "will not start mcobad.service: its unit cannot be used" in told(answers[8])
        assert "it does not run, it is stopped; start it" in told(answers[9])
        assert "there is no service mcogod on this node, did you mean mcogood?" in told(answers[10])

    def test_all_services_are_listed(self, units: Lab) -> None:
        (listed,) = ask(units, SYSTEMD, ("service", "list", {"pattern": "^(acme|mco)"}, {}))
        found = {it["name"]: it for it in listed["services"]}
        assert found["acme-web.service"]["status"] == "running"
        assert found["mco-node.service"]["enabled"] == "enabled"
        assert {"mcogood.service", "mcoonce.service"} <= found.keys()
        assert "mcoinst@.service" not in found


def test_the_fleet_is_asked_at_once_and_a_node_does_not_stop_itself(services: Lab) -> None:
    def mco(*words: str) -> list[dict[str, Any]]:
        with services.popen(["mco", "rpc", *words, "-j", "--yes"], stdout=-1, stderr=-1, text=True) as process:
            out, err = process.communicate(timeout=60)
        assert out, err
        return sorted(json.loads(out)["results"], key=lambda reply: reply["sender"])

    stopped = mco("service", "stop", "service=acme-web")
    assert [(reply["data"]["before"], reply["data"]["after"]) for reply in stopped] == [("running", "stopped")] * 3
    started = mco("service", "start", "service=acme-web")
    assert [(reply["data"]["changed"], reply["data"]["after"]) for reply in started] == [(True, "running")] * 3
    own = mco("service", "restart", "service=mco-node", "-C", "web")
    assert all("this node's own daemon runs in it" in reply["message"] for reply in own)
    assert len(own) == 2


class TestInitScripts:
    def test_links_are_made_and_turned_off(self, services: Lab) -> None:
        answers = ask(services, INIT, do("disable", "acme-web"), do("enable", "acme-web"), do("reload", "acme-web"))
        assert [told(answer) for answer in answers] == [
            (True, "enabled", "disabled"),
            (True, "disabled", "enabled"),
            (True, "running", "running"),
        ]


@pytest.mark.parametrize("host", [SYSTEMD, INIT])
def test_a_package_with_a_service_is_updated_and_brought_back(services: Lab, host: str) -> None:
    # When it is updated where systemd runs the host, and where it does not
    update: Question = ("package", "update", {"package": "acme-web", "version": "1.1"}, {})
    back: Question = ("package", "install", {"package": "acme-web", "version": "1.0"}, {})
    outdated, planned, updated, seen, restored, after = ask(
        services,
        host,
        ("package", "checkupdates", {}, {}),
        (*update[:3], {"noop": True}),
        update,
        do("status", "acme-web"),
        back,
        do("status", "acme-web"),
    )

    # Then both versions are told, and the service runs in between and afterwards
    assert [it["package"] for it in outdated["outdated_packages"] if it["package"].startswith("acme")] == ["acme-web"]
    assert [told(answer) for answer in (planned, updated, restored)] == [
        (True, "1.0", "1.1"),
        (True, "1.0", "1.1"),
        (True, "1.1", "1.0"),
    ]
    assert (seen["status"], after["status"]) == ("running", "running")


@pytest.mark.skipif(not shutil.which("cron", path="/usr/sbin"), reason="no cron here")
def test_a_real_cron_runs_what_was_written(services: Lab) -> None:
    # Given a job with all that cron treats specially, for the start of cron
    job = {
        "name": "mcojob",
        "schedule": "@reboot",
        "user": "root",
        "command": "echo \"100% $(id -un)\" '%d' > /run/mcojob",
    }
    (made,) = ask(services, INIT, ("cron", "ensure", job, {}))
    assert made["changed"] is True

    # When cron starts
    wait = "cron -f & pid=$!; for i in $(seq 600); do [ -s /run/mcojob ] && break; sleep 0.05; done; kill $pid"
    said = output(services, INIT, "sh", "-c", f"{wait}; cat /run/mcojob; rm /run/mcojob", timeout=60)

    # Then it was run, wholly
    assert said == "100% root %d\n"
    (gone,) = ask(services, INIT, ("cron", "remove", {"name": "mcojob"}, {}))
    assert (gone["changed"], gone["present"]) == (True, False)
