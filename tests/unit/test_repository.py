# SPDX-License-Identifier: Apache-2.0
"""What holds for every file of this repository, and for the feature that it was begun for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from behave.parser import parse_feature
from behave.runner_util import exec_file
from behave.step_registry import StepRegistry, setup_step_decorators

ROOT = Path(__file__).resolve().parents[2]
LICENCE_LINE = "SPDX-License-Identifier: Apache-2.0"
CODE_SUFFIXES = (".py", ".sh", ".feature", ".yaml", ".yml", ".toml", ".cfg")
CODE_NAMES = ("Makefile", "run")
# Data of tests, which a comment would make something else.
WITHOUT_LICENCE_LINE = frozenset({"tests/negative/fleet.yaml"})

MAX_LINES = 300
# Modules that are longer, each with its reason.
LONG_MODULES = {
    "mco_client/doctor/illnesses.py": "one table; what is in it is read beside each other",
    "node/dispatch.py": "the ladder from a message to its reply, whose rungs are to be read in one place",
}

# The user's own words, as they were given. Only the indentation is not theirs to keep.
GIVEN_FEATURE = """\
Feature: Manage the iptables firewall

    Background:
    Given the load balancer has ip address 192.168.1.1
    And I want to update hosts with class /dev_server/
    And I want to update hosts with fact country=de
    And I want to pre-discover the nodes to manage

    Scenario: Manage the firewall
        When I block the load balancer
        Then traffic from the load balancer should be blocked

        # other tasks like package management, service restarts
        # and monitor tasks would go here

        When I unblock the load balancer
        Then traffic from the load balancer should be unblocked
"""


def tracked_files() -> list[str]:
    """Return the files that git knows or would add."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def is_code(name: str) -> bool:
    return name.endswith(CODE_SUFFIXES) or Path(name).name in CODE_NAMES


def test_every_source_file_begins_with_its_licence() -> None:
    files = [name for name in tracked_files() if is_code(name)]
    assert "mco_client/rpc.py" in files
    without = []
    for name in files:
        lines = (ROOT / name).read_text().splitlines()
        has_shebang = bool(lines) and lines[0].startswith("#!")
        first = lines[1 if has_shebang else 0] if len(lines) > has_shebang else ""
        if lines and LICENCE_LINE not in first and name not in WITHOUT_LICENCE_LINE:
            without.append(name)
    assert without == []


def test_no_module_is_long_without_a_reason() -> None:
    long = {
        name: lines
        for name in tracked_files()
        if name.endswith(".py")
        and not name.startswith("tests/")
        and (lines := len((ROOT / name).read_text().splitlines())) > MAX_LINES
    }
    assert {name: lines for name, lines in long.items() if name not in LONG_MODULES} == {}


def test_the_given_feature_is_there_word_for_word() -> None:
    def words(text: str) -> list[str]:
        return [line.strip() for line in text.splitlines() if line.strip() and "SPDX" not in line]

    given = words(GIVEN_FEATURE)
    assert words((ROOT / "features" / "firewall.feature").read_text())[: len(given)] == given


def registry() -> StepRegistry:
    """Return a registry with the bundled steps and nothing else."""
    made = StepRegistry()
    for file in sorted((ROOT / "steps").glob("*_steps.py")):
        decorators: dict[str, object] = {}
        setup_step_decorators(decorators, made)
        # The files import the decorators by name: what they import is behave's, for the moment.
        import behave

        before = {name: getattr(behave, name) for name in ("given", "when", "then", "step")}
        try:
            for name in before:
                setattr(behave, name, decorators[name])
            exec_file(str(file), {})
        finally:
            for name, function in before.items():
                setattr(behave, name, function)
    return made


def test_every_sentence_of_the_features_has_exactly_one_definition() -> None:
    # Given the bundled steps, and every sentence of every feature
    known = registry()
    assert sum(map(len, known.steps.values())) > 10
    steps = [
        step
        for file in sorted((ROOT / "features").rglob("*.feature"))
        for scenario in parse_feature(file.read_text(), filename=str(file)).walk_scenarios()
        for step in scenario.all_steps
    ]
    assert steps
    # Then each is matched by one definition, neither by none nor by two
    matches = {
        f"{step.step_type} {step.name}": sum(
            matcher.match(step.name) is not None for kind in {step.step_type, "step"} for matcher in known.steps[kind]
        )
        for step in steps
    }
    assert {sentence: count for sentence, count in matches.items() if count != 1} == {}
