# SPDX-License-Identifier: Apache-2.0
"""Suites of features, ours and other people's, as a user runs them: behave in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mco_rpc.security import keys

ROOT = Path(__file__).resolve().parents[2]
FIRST_LINE = "In-process nodes over the memory connector: "
NOTHING = "Nothing was run, and nothing was touched."
BACKGROUND = """\
Feature: a suite
    Background:
        Given the load balancer has ip address 192.168.1.1
        And I want to update hosts with class /dev_server/
        And I want to update hosts with fact country=de

"""
UNDO = "        When I undo my changes at the end of the scenario\n"
BLOCK = "        When I block the load balancer\n"
BLOCKED = "        Then traffic from the load balancer should be blocked\n"
UNBLOCKED = "        Then traffic from the load balancer should be unblocked\n"
OWN_STEPS = '''\
import os
import signal

from behave import given, step, then, when
from mco_rpc.errors import BrokerUnreachable

@when("the scenario dies")
def die(context):
    raise RuntimeError("died half-way")

@when("the user presses Ctrl-C")
def interrupt(context):
    raise KeyboardInterrupt

@when("somebody ends the run")
def end(context):
    os.kill(os.getpid(), signal.SIGTERM)

@when("the terminal is closed")
def hang_up(context):
    os.kill(os.getpid(), signal.SIGHUP)

@when("the undoing will be interrupted by {name}")
def interrupt_undo(context, name):
    def undo():
        os.kill(os.getpid(), getattr(signal, name))
        return "an interrupted undo"
    context.fleet.when_undone("it", undo)

@when("the undoing will fail")
def fail_undo(context):
    context.fleet.when_undone("the moon", lambda: 1 / 0)

@when("the broker is gone")
def gone(context):
    raise BrokerUnreachable("broker x: connection refused")

@given("a bucket of {colour} paint")
def paint(context, colour):
    print(f"painting {context.fleet.nodes} {colour}")

@step("everything is done")
def everything(context):
    context.execute_steps("""
        When I block the load balancer
        Then traffic from the load balancer should be blocked
    """)
'''

pytestmark = pytest.mark.timeout(90)


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def has(self, *texts: str) -> Ran:
        for text in texts:
            assert text in self.out, f"{text!r} is not in\n{self.out}\n{self.err}"
        return self


def behave(folder: Path, *arguments: str, status: int, command: tuple[str, ...] = ("-m", "mco_client.bdd"),
           environment: Mapping[str, str] | None = None) -> Ran:  # fmt: skip
    """Run features in a folder and require an exit status; no error of it may look like a crash."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MCO_")}
    done = subprocess.run(
        [sys.executable, *command, "--no-color", *arguments],
        cwd=folder,
        env={**clean, "HOME": str(folder), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ran = Ran(done.returncode, done.stdout, done.stderr)
    assert ran.status == status, f"{ran.out}\n{ran.err}"
    return ran


class Suite:
    """Somebody's suite in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Suite:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return self

    def scenario(self, *steps: str, tags: str = "", name: str = "one") -> Suite:
        """Add a scenario to the feature."""
        file = self.folder / "x.feature"
        before = file.read_text() if file.exists() else BACKGROUND
        tag_line = f"    {tags}\n" if tags else ""
        return self.write("x.feature", f"{before}{tag_line}    Scenario: {name}\n{''.join(steps)}\n")

    def run(self, *arguments: str, status: int, feature: str = "x.feature") -> Ran:
        return behave(self.folder, "-D", "connector=memory", *arguments, feature, status=status)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


@pytest.fixture
def own(suite: Suite) -> Suite:
    """A suite with steps of its own."""
    return suite.write("steps/own.py", OWN_STEPS)


class TestThisProject:
    @pytest.mark.parametrize("command", [("-m", "mco_client.bdd"), ("-m", "behave")], ids=["ours", "behave"])
    def test_its_features_pass_without_a_lab(self, command: tuple[str, ...]) -> None:
        ran = behave(ROOT, "-D", "connector=memory", "features/firewall.feature", status=0, command=command)
        # The first line says that nothing real was touched, and what was left out is said with its reason
        assert ran.lines[0].startswith(FIRST_LINE)
        assert ran.out.count(FIRST_LINE) == 1
        ran.has(
            "SKIPPED A blocked load balancer cannot connect any more: needs hosts with a network of their own, "
            "and these live in one process",
            "UNDONE unblock 192.168.1.1 on dev1, dev2, dev3",
            "4 scenarios passed, 0 failed, 1 skipped",
        )
        assert "Traceback" not in ran.out + ran.err

    def test_it_is_found_by_behave_without_a_word(self) -> None:
        ran = behave(ROOT, "-D", "connector=memory", "--format", "progress", status=0, command=("-m", "behave"))
        ran.has("1 feature passed, 0 failed")


class TestOtherPeoplesSuites:
    def test_a_suite_without_steps_of_its_own(self, suite: Suite) -> None:
        suite.scenario(BLOCK, BLOCKED).run(status=0).has("1 scenario passed, 0 failed")

    @pytest.mark.parametrize("arguments", [(".",), ()], ids=["the folder", "by default"])
    def test_a_folder_of_features(self, suite: Suite, arguments: tuple[str, ...]) -> None:
        suite.write("features/x.feature", f"{BACKGROUND}    Scenario: one\n{BLOCK}{BLOCKED}")
        behave(suite.folder, "-D", "connector=memory", *arguments, status=0).has("1 scenario passed, 0 failed")

    def test_a_scenario_by_its_line(self, suite: Suite) -> None:
        # Given a feature in which only the second scenario passes
        suite.scenario(BLOCK, UNBLOCKED, name="first").scenario(BLOCK, BLOCKED, name="second")
        line = (suite.folder / "x.feature").read_text().splitlines().index("    Scenario: second") + 1
        suite.run(status=0, feature=f"x.feature:{line}").has("1 scenario passed, 0 failed, 1 skipped")

    def test_a_list_of_features(self, suite: Suite) -> None:
        suite.scenario(BLOCK, BLOCKED).write("some.txt", "x.feature\n")
        suite.run(status=0, feature="@some.txt").has("1 scenario passed, 0 failed")

    def test_own_steps_beside_the_bundled_ones(self, own: Suite) -> None:
        own.scenario("        Given a bucket of red paint\n", BLOCK, BLOCKED)
        own.run("--no-capture", status=0).has("painting ('dev1', 'dev2', 'dev3') red")

    def test_steps_within_steps(self, own: Suite) -> None:
        own.scenario("        When everything is done\n", BLOCKED).run(status=0)

    def test_behave_s_own_configuration_names_the_runner(self, own: Suite) -> None:
        own.write("behave.ini", "[behave]\nrunner = mco_client.bdd.runner:FleetRunner\n").scenario(BLOCK, BLOCKED)
        ran = behave(own.folder, "-D", "connector=memory", "x.feature", status=0, command=("-m", "behave"))
        ran.has("1 scenario passed, 0 failed")

    def test_own_hooks_come_inside_the_bundled_ones(self, suite: Suite) -> None:
        # Given hooks that need a session before, and a fleet after
        hooks = "".join(
            f"def {name}(context, *rest):\n    print('{name}', {sees})\n"
            for name, sees in {
                "before_all": "context.session.is_memory",
                "before_feature": "rest[0].name",
                "before_scenario": "context.fleet.last",
                "after_scenario": "context.fleet.require_last().count(blocked=True)",
                "after_all": "len(context.session.connection.reply_key) > 0",
            }.items()
        )
        suite.write("environment.py", hooks).scenario(UNDO, BLOCK, BLOCKED).scenario(UNBLOCKED, name="two")
        # Then they have them, and changes are undone after they have seen them
        ran = suite.run("--no-capture", "--no-capture-hooks", "--format", "null", status=0)
        told = [line for line in ran.lines if line.startswith(("before", "after", "UNDONE"))]
        assert told == [
            "before_all True",
            "before_feature a suite",
            "before_scenario None",
            "after_scenario 3",
            "UNDONE unblock 192.168.1.1 on dev1, dev2, dev3",
            "before_scenario None",
            "after_scenario 0",
            "after_all True",
        ]

    @pytest.mark.parametrize(
        "environment",
        [
            "from mco_client.bdd.hooks import after_all, after_scenario, before_all, before_scenario\n",
            "from mco_client.bdd.hooks import *\n",
            (
                "from mco_client.bdd import hooks\n"
                "def before_all(context):\n    hooks.before_all(context)\n"
                "def before_scenario(context, scenario):\n    hooks.before_scenario(context, scenario)\n"
                "def after_scenario(context, scenario):\n    hooks.after_scenario(context, scenario)\n"
                "def after_all(context):\n    hooks.after_all(context)\n"
            ),
        ],
        ids=["imports them", "imports all", "calls them"],
    )
    def test_an_environment_of_its_own_that_uses_ours(self, suite: Suite, environment: str) -> None:
        # Given a suite that brings our hooks, as one would without our runner
        count = (
            "import mco_client.bdd.hooks as _h\n"
            "_real = _h.Session\n"
            "def _made(*arguments):\n    print('a session')\n    return _real(*arguments)\n"
            "_h.Session = _made\n"
        )
        suite.write("environment.py", count + environment).scenario(UNDO, BLOCK, BLOCKED).scenario(UNBLOCKED, name="b")
        ran = suite.run(status=0).has("2 scenarios passed", "UNDONE unblock")
        # Then there is one session, not two of which nobody closes the first
        assert (ran.out.count("a session"), ran.out.count(FIRST_LINE), ran.out.count("UNDONE")) == (1, 1, 1)

    def test_a_hook_of_its_own_that_fails_keeps_nothing_from_being_undone(self, suite: Suite) -> None:
        suite.write("environment.py", "def after_scenario(context, scenario):\n    raise ValueError('theirs')\n")
        suite.scenario(UNDO, BLOCK, BLOCKED).scenario(UNBLOCKED, name="two")
        ran = suite.run(status=1)
        ran.has("HOOK-ERROR in after_scenario: ValueError: theirs", "UNDONE unblock 192.168.1.1 on dev1, dev2, dev3")
        assert "not unblocked" not in ran.out

    def test_a_hook_of_its_own_does_not_hide_why_ours_failed(self, suite: Suite) -> None:
        # Given hooks that need the session, and an option that keeps it from being made
        suite.write("environment.py", "def before_all(context):\n    context.session.connection\n")
        suite.scenario(BLOCK)
        # When it runs, then what is wrong is told, and not what follows from it
        ran = suite.run("-D", "timeout=abc", status=1).has("-D timeout=abc: expected a number of seconds")
        assert "AttributeError" not in ran.out

    def test_a_hook_of_its_own_that_fails_before_everything(self, suite: Suite) -> None:
        suite.write("environment.py", "def before_all(context):\n    raise ValueError('theirs')\n")
        ran = suite.scenario(BLOCK).run(status=1).has("HOOK-ERROR in before_all: ValueError: theirs")
        ran.has("0 scenarios passed, 0 failed, 0 skipped, 1 untested")


class TestBeforeAnythingRuns:
    def test_an_undefined_step_is_told_with_the_nearest_and_nothing_is_run(self, suite: Suite) -> None:
        # Given a mistake in the last step of the last scenario
        suite.scenario(BLOCK, BLOCKED).scenario(BLOCK, BLOCKED.replace("traffic", "trafic"), name="two")
        ran = suite.run(status=1)
        # Then nothing before it ran
        ran.has(
            "x.feature:13: undefined step: Then trafic from the load balancer should be blocked, "
            "did you mean traffic from the {device} should be blocked?",
            NOTHING,
        )
        assert "scenarios passed" not in ran.out

    def test_every_mistake_is_told_once_and_only_those_of_what_was_selected(self, suite: Suite) -> None:
        wrong = "        Then all is well\n"
        suite.scenario(wrong, wrong, tags="@a").scenario("        Then no\n", tags="@b").scenario(BLOCK, tags="@c")
        ran = suite.run(status=1)
        assert [line.partition(": ")[2] for line in ran.lines if "undefined" in line] == [
            "undefined step: Then all is well",
            "undefined step: Then all is well",
            "undefined step: Then no",
        ]
        assert suite.run("--tags=@b", status=1).out.count("undefined step") == 1
        suite.run("--tags=@c", status=0).has("1 scenario passed")

    def test_an_undefined_step_of_an_outline_s_rows(self, suite: Suite) -> None:
        rows = "        When I <do> the load balancer\n        Examples:\n            | do |\n            | block |\n"
        text = BACKGROUND + f"    Scenario Outline: rows\n{rows}"
        suite.write("x.feature", text).run(status=0).has("1 scenario passed")
        suite.write("x.feature", text + "            | smash |\n")
        suite.run(status=1).has("undefined step: When I smash the load balancer", NOTHING)

    @pytest.mark.parametrize("options", [("--name", "no such"), ("--tags", "@none")])
    def test_an_empty_selection_is_no_success(self, suite: Suite, options: tuple[str, ...]) -> None:
        ran = suite.scenario(BLOCK).run(*options, status=1)
        ran.has("no scenario was selected: look at the paths, tags and names that were asked for", NOTHING)

    @pytest.mark.parametrize("text", ["", "Feature: nothing\n", BACKGROUND])
    def test_a_feature_without_scenarios_is_no_success(self, suite: Suite, text: str) -> None:
        suite.write("x.feature", text).run(status=1).has("no scenario was selected")

    def test_a_file_that_is_not_there(self, suite: Suite) -> None:
        ran = suite.run(status=1, feature="nope.feature")
        ran.has("ConfigError: nope.feature: no such file or folder")
        assert "Traceback" not in ran.out + ran.err

    def test_a_folder_without_features(self, suite: Suite) -> None:
        (suite.folder / "empty").mkdir()
        ran = suite.run(status=1, feature="empty")
        ran.has("ConfigError: no feature in empty")

    def test_a_sentence_that_a_suite_defines_again_is_refused(self, suite: Suite) -> None:
        # Given a step of the suite's that is a bundled one: which of them ran would be anybody's guess
        suite.write("steps/mine.py", "from behave import when\n@when('I block the {what}')\ndef _(c, what): pass\n")
        ran = suite.scenario(BLOCK).run(status=1)
        ran.has("ConfigError: a step is defined twice: ", "I block the {what}", "I block the {device}")
        assert "Traceback" not in ran.out + ran.err

    def test_a_step_file_with_a_mistake_is_no_success(self, suite: Suite) -> None:
        suite.write("steps/mine.py", "import no_such_module\n")
        ran = suite.scenario(BLOCK).run(status=1)
        assert "no_such_module" in ran.out + ran.err

    def test_a_dry_run_needs_no_fleet(self, suite: Suite) -> None:
        suite.scenario(BLOCK)
        ran = behave(suite.folder, "--dry-run", "x.feature", status=0)
        ran.has("0 scenarios passed, 0 failed, 0 skipped, 1 untested")


class TestBroker:
    """A broker, a key or an option that cannot be used is told once, in words, before anything runs."""

    @pytest.fixture
    def configured(self, suite: Suite) -> Suite:
        folder = suite.folder / ".config" / "mco"
        keys.generate(folder / "caller.key", folder / "nodes" / "web1.pub")
        suite.write(".config/mco/client.yaml", "brokers: ['amqp://me:secret@127.0.0.1:1/']\n")
        return suite.scenario(BLOCK).scenario(BLOCK, name="two")

    def refused(self, suite: Suite, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
        ran = behave(suite.folder, *arguments, "x.feature", status=1, environment=environment)
        assert "Traceback" not in ran.out + ran.err
        assert "secret" not in ran.out + ran.err
        assert ran.out.count("HOOK-ERROR") == 1
        return ran.has("0 scenarios passed, 0 failed, 0 skipped, 2 untested")

    def test_nobody_listens_there(self, configured: Suite) -> None:
        self.refused(configured).has(
            "HOOK-ERROR in before_all: BrokerUnreachable: broker amqp://me@127.0.0.1:1/: connection refused; "
            "does RabbitMQ run there, on this port?"
        )

    def test_another_file_can_be_named(self, configured: Suite) -> None:
        configured.write("my.yaml", "brokers: ['amqp://me:secret@127.0.0.1:2/']\n")
        self.refused(configured, "-D", "config=my.yaml").has("broker amqp://me@127.0.0.1:2/: connection refused")
        self.refused(configured, "-D", "config=no.yaml").has("ConfigError: configuration file no.yaml is not there")

    def test_a_mistake_in_the_configuration(self, configured: Suite) -> None:
        configured.write(".config/mco/client.yaml", "brokrs: []\n")
        self.refused(configured).has("client.yaml: unknown key 'brokrs', did you mean brokers?")

    def test_a_key_that_is_not_there(self, configured: Suite) -> None:
        (configured.folder / ".config/mco/caller.key").unlink()
        self.refused(configured).has("SecurityError: private key ", "`mco keygen` makes one")

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("connector=pigeon", "-D connector=pigeon: expected memory, replay or rabbitmq"),
            ("timeout=soon", "-D timeout=soon: expected a number of seconds"),
            ("timeout=0", "-D timeout=0: expected a number of seconds"),
            ("timeout=inf", "-D timeout=inf: expected a number of seconds"),
            ("discovery_timeout=nan", "-D discovery_timeout=nan: expected a number of seconds"),
            ("discovery_timeout=-1", "-D discovery_timeout=-1: expected a number of seconds"),
        ],
    )
    def test_an_option_that_is_wrong(self, configured: Suite, option: str, message: str) -> None:
        self.refused(configured, "-D", option).has(f"HOOK-ERROR in before_all: ConfigError: {message}")


class TestSteps:
    def test_nobody_matches(self, suite: Suite) -> None:
        suite.scenario(
            "        Given I want to update hosts with fact role=none\n",
            "        And I want to pre-discover the nodes to manage\n",
        )
        ran = suite.run("-D", "discovery_timeout=0.2", status=1)
        ran.has(
            "could not judge: did not find any nodes to manage: 0 answered within 0.2 s for the filter: "
            "class=/dev_server/, fact country=de, fact role=none"
        )
        assert "Traceback" not in ran.out

    @pytest.mark.parametrize(
        ("step", "nodes"),
        [
            ("identity dev2", "dev2"),
            ("identity /[13]$/", "dev1 dev3"),
            ("fact role!=web", "dev3"),
            ("class monitored", "dev2"),
            ("agent iptables", "dev1 dev2 dev3"),
        ],
    )
    def test_who_is_managed(self, suite: Suite, step: str, nodes: str) -> None:
        table = "".join(f"            | {name} |\n" for name in ("node", *nodes.split()))
        text = (
            f"        Given I want to update hosts with {step}\n        Then exactly these nodes should be discovered\n"
        )
        suite.scenario(text, table).run(status=0)
        suite.scenario(text, table, "            | web1 |\n", name="two")
        suite.run(status=1).has("ASSERT FAILED: not discovered, 1 of ", ": web1")

    def test_a_list_of_nodes_that_was_forgotten_is_an_empty_one(self, suite: Suite) -> None:
        suite.scenario("        Then exactly these nodes should be discovered\n")
        suite.run(status=1).has("ASSERT FAILED: discovered, and not in the list: dev1, dev2, dev3")

    @pytest.mark.parametrize(
        ("step", "message"),
        [
            ("Given the router has ip address 10.0.0.300", "the router: '10.0.0.300' is not an IP address"),
            ("Given I want to update hosts with fact country", "fact filter 'country' cannot be understood"),
            ("Given I want to update hosts with class /[/", "regular expression /[/ cannot be used"),
        ],
    )
    def test_a_sentence_that_cannot_be_understood_is_told_in_words(self, suite: Suite, step: str, message: str) -> None:
        ran = suite.scenario(f"        {step}\n").run(status=1).has(f"ASSERT FAILED: could not judge: {message}")
        assert "Traceback" not in ran.out

    def test_an_unknown_device_touches_nothing(self, suite: Suite) -> None:
        lode = BLOCK.replace("load", "lode")
        suite.scenario(lode).scenario(UNBLOCKED, name="two").scenario(BLOCKED.replace("load", "lode"), name="three")
        ran = suite.run(status=1).has("1 scenario passed, 2 failed")
        told = "ASSERT FAILED: unknown device 'lode balancer', did you mean load balancer?; known are: load balancer."
        assert ran.out.count(told) == 2

    def test_what_changed_is_asked_of_the_last_change(self, suite: Suite) -> None:
        changed, same = "        Then every node should have changed\n", "        Then nothing should have changed\n"
        suite.scenario(BLOCK, changed, BLOCK, same).run(status=0)
        suite.scenario(same, name="too early").scenario(BLOCK, changed, name="the second time")
        suite.run(status=1).has(
            "nothing was asked or changed in this scenario before this step",
            "iptables#block: not changed on 3 of 3: dev1, dev2, dev3",
        )

    def test_a_bug_in_a_step_keeps_its_traceback(self, own: Suite) -> None:
        own.scenario("        When the scenario dies\n").run(status=1).has("Traceback", "RuntimeError: died half-way")

    def test_a_broker_that_is_gone_is_no_failure_of_the_fleet_and_no_success(self, own: Suite) -> None:
        ran = own.scenario("        When the broker is gone\n").run(status=1)
        ran.has("ASSERT FAILED: could not judge: broker x: connection refused")
        assert "Traceback" not in ran.out

    @pytest.mark.parametrize("tag", ["@lab", "@real_traffic"])
    def test_what_these_nodes_cannot_show_is_left_out_and_said(self, suite: Suite, tag: str) -> None:
        suite.scenario(BLOCK, UNBLOCKED, tags=tag, name="real").scenario(UNBLOCKED, name="two")
        suite.run(status=0).has(
            "SKIPPED real: needs hosts with a network of their own, and these live in one process",
            "1 scenario passed, 0 failed, 1 skipped",
        )


class TestUndo:
    @pytest.mark.parametrize(
        ("end", "message"),
        [
            ("", "2 scenarios passed, 0 failed"),
            (UNBLOCKED, "iptables#isblocked: blocked on 3 of 3: dev1, dev2, dev3"),
            ("        When the scenario dies\n", "RuntimeError: died half-way"),
            ("        When the broker is gone\n", "could not judge: broker x"),
        ],
        ids=["success", "a failed assertion", "an error", "could not judge"],
    )
    def test_changes_are_taken_back_however_the_scenario_ends(self, own: Suite, end: str, message: str) -> None:
        own.scenario(UNDO, BLOCK, BLOCKED, end).scenario(UNBLOCKED, name="two")
        ran = own.run(status=1 if end else 0)
        ran.has(message, "UNDONE unblock 192.168.1.1 on dev1, dev2, dev3")
        assert ran.has("scenario").out.count("UNDONE") == 1
        assert "2 scenarios passed" in ran.out or re.search("1 scenario passed, (1 failed|0 failed, 1 error)", ran.out)

    @pytest.mark.parametrize("end", ["the user presses Ctrl-C", "somebody ends the run", "the terminal is closed"])
    def test_and_when_the_run_is_ended(self, own: Suite, end: str) -> None:
        own.scenario(UNDO, BLOCK, f"        When {end}\n").scenario(BLOCK, name="never")
        ran = own.run(status=1)
        ran.has("UNDONE unblock 192.168.1.1 on dev1, dev2, dev3", "1 untested")

    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
    def test_an_undo_is_not_cut_short_and_ends_the_run(self, own: Suite, name: str) -> None:
        # Given something that is put back first, and in the middle of it somebody loses patience
        own.scenario(UNDO, BLOCK, f"        When the undoing will be interrupted by {name}\n")
        own.scenario(BLOCK, name="never")
        # Then all is put back, and nothing else is begun
        own.run(status=1).has("UNDONE an interrupted undo\nUNDONE unblock 192.168.1.1 on dev1", "1 untested")

    def test_an_undo_that_is_interrupted_and_fails_is_told_and_ends_the_run(self, own: Suite) -> None:
        steps = ("the undoing will be interrupted by SIGINT", "the undoing will fail")
        own.scenario(UNDO, BLOCK, *(f"        When {step}\n" for step in steps)).scenario(BLOCK, name="never")
        ran = own.run(status=1)
        ran.has("NOT UNDONE could not undo: the moon: ZeroDivisionError", "1 hook_error")
        ran.has("1 untested")

    def test_only_if_that_was_asked_for(self, suite: Suite) -> None:
        ran = suite.scenario(BLOCK).scenario(BLOCKED, name="two").run(status=0)
        assert "UNDONE" not in ran.out

    def test_it_cannot_be_asked_for_too_late(self, suite: Suite) -> None:
        suite.scenario(BLOCK, UNDO).run(status=1).has(
            "ASSERT FAILED: this scenario has changed something already, and nobody noted how it was"
        )

    def test_an_undo_that_fails_fails_the_scenario(self, own: Suite) -> None:
        # Given a suite whose step promises to put something back, and cannot
        ran = own.scenario(UNDO, BLOCK, "        When the undoing will fail\n").run(status=1)
        ran.has("could not undo: the moon: ZeroDivisionError", "0 scenarios passed, 0 failed, 1 hook_error")


class TestNothingProved:
    """What is empty is no success."""

    def test_a_scenario_without_a_step(self, suite: Suite) -> None:
        suite.scenario(BLOCK).write("x.feature", "Feature: f\n    Scenario: empty\n")
        suite.run(status=1).has("a scenario without a step proves nothing: empty", NOTHING)

    @pytest.mark.parametrize(
        "text", ["", "    Scenario Outline: o\n        When I block the <x>\n\n    Examples:\n        | x |\n"]
    )
    def test_a_feature_without_a_scenario_beside_others(self, suite: Suite, text: str) -> None:
        suite.scenario(BLOCK).write("y.feature", f"Feature: f\n{text}")
        suite.run("y.feature", status=1).has("proves nothing", NOTHING)

    def test_all_skipped_is_said(self, suite: Suite) -> None:
        suite.scenario(BLOCK, tags="@lab")
        suite.run(status=0).has("Nothing was judged: every scenario that was selected was skipped.")

    @pytest.mark.parametrize("wrong", ["conector=memory", "discovery_timout=3", "time_out=3"])
    def test_a_mistyped_option_asks_nobody(self, suite: Suite, wrong: str) -> None:
        suite.scenario(BLOCK)
        suite.run("-D", wrong, status=1).has(f"-D {wrong.partition('=')[0]}=...: did you mean ")

    def test_an_option_of_the_suite_s_own_is_its_own(self, suite: Suite) -> None:
        suite.scenario(BLOCK)
        suite.run("-D", "time=3", "-D", "site=berlin", status=0)
