# SPDX-License-Identifier: Apache-2.0
"""The examples of the documentation that need real hosts do what is shown."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from mco_lab import requirements
from mco_lab.lab import Lab
from mco_lab.pytest_plugin import require
from mco_lab.spec import read
from tests.docs_examples import ROOT, Block, Page, difference, page, pages_with, words, write_file

from .conftest import MCO

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

OUTPUT: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


def blocks(*kinds: str) -> list[Any]:
    found = [block for each in pages_with(*kinds) for block in each.blocks if block.run in kinds]
    return [pytest.param(block, id=block.where) for block in found]


def pages(kind: str) -> list[Any]:
    return [pytest.param(each, id=each.name) for each in pages_with(kind)]


@pytest.mark.parametrize("block", blocks("lab"))
def test_commands_in_the_shipped_lab(block: Block, fleet: Lab, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        behind = []
        for command in block.commands():
            process = stack.enter_context(fleet.popen(words(command.line), cwd=tmp_path, **OUTPUT))
            stack.callback(process.kill)
            if command.line.endswith(" &"):  # it is ready when it says something, and ends with the page's last line
                behind.append((command, process, process.stdout.readline()))
                continue
            printed, _ = process.communicate(timeout=60)
            assert difference(command.shown, printed) is None, command.line
            assert process.returncode == (block.status or 0), printed
        for command, process, first in behind:
            rest, _ = process.communicate(timeout=60)
            assert difference(command.shown, first + rest) is None, command.line
            assert process.returncode == 0, first + rest


@pytest.mark.parametrize("block", blocks("python-lab"))
def test_python_in_the_shipped_lab(block: Block, fleet: Lab, tmp_path: Path) -> None:
    process = fleet.popen([sys.executable, "-c", block.text], cwd=tmp_path, **OUTPUT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed


@pytest.mark.parametrize("block", blocks("python-root"))
def test_python_as_root(block: Block, tmp_path: Path) -> None:
    require(requirements.check)
    done = subprocess.run([sys.executable, "-c", block.text], cwd=tmp_path, check=False, timeout=120, **OUTPUT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("block", blocks("demo"))
def test_the_demo(block: Block) -> None:
    require(requirements.check)
    (command,) = block.commands()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCO_")}
    arguments = words(command.line)[1:]
    done = subprocess.run([*MCO, *arguments], cwd=ROOT, env=environment, check=False, timeout=120, **OUTPUT)
    assert difference(command.shown, done.stdout) is None
    assert done.returncode == 0


@pytest.mark.parametrize("tutorial", pages("shop"))
def test_a_lab_of_ones_own(tutorial: Page, tmp_path: Path) -> None:
    # Given a name that no other lab has, in the place of the page's
    require(requirements.check)
    name = f"shop-{secrets.token_hex(3)}"
    scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("MCO_")}, "PATH": scripts}
    environment["NO_COLOR"] = "1"

    def renamed(text: str) -> str:
        return re.sub(r"(--name |^lab )shop\b", rf"\g<1>{name}", text)

    try:
        for block in tutorial.blocks:
            if block.file:
                write_file(block, tmp_path)
            elif block.run == "shop":
                # When the page's commands are typed, then they print what it shows
                for command in block.commands():
                    line = renamed(command.line).removeprefix("sudo ")
                    done = subprocess.run(
                        ["sh", "-c", line], cwd=tmp_path, env=environment, check=False, timeout=120, **OUTPUT
                    )
                    shown = tuple(renamed(line) for line in command.shown)
                    assert difference(shown, done.stdout) is None, command.line
                assert done.returncode == (block.status or 0), done.stdout
    finally:
        subprocess.run([*MCO, "lab", "down", "--name", name], check=True, capture_output=True)


def test_the_guides_agent_and_the_guides_step_work_together(tmp_path: Path) -> None:
    # Given the agent of one guide on the nodes of the tutorial, and the step of the other
    require(requirements.check)
    agents, features = (page(ROOT / "docs/guides" / f"writing-{what}.md") for what in ("agents", "features"))
    tutorial = page(ROOT / "docs/tutorial/2-on-the-lab.md")
    for block in (*tutorial.blocks, *agents.blocks, *features.blocks):
        if block.file and not block.file.endswith(".feature"):
            write_file(block, tmp_path)
    spec = read(tmp_path / "shop.yaml")
    spec.node = {"libdir": [str(tmp_path / "agents")]}
    feature = tmp_path / "features/maintenance.feature"
    feature.write_text(MAINTENANCE)
    with Lab(None, spec) as lab:
        # When a scenario puts nodes into maintenance, one of which is in it already
        lab.exec("web2", ["sh", "-c", "echo before > /run/maintenance"], check=True)
        process = lab.popen(["behave", str(feature)], cwd=tmp_path, **OUTPUT)
        printed, _ = process.communicate(timeout=60)
        # Then the end of the scenario takes back what the scenario did, and no more
        assert process.returncode == 0, printed
        assert "UNDONE maintenance ended on web1\n" in printed
        assert lab.exec("web1", ["test", "-e", "/run/maintenance"]).returncode == 1
        assert lab.exec("web2", ["cat", "/run/maintenance"]).stdout == "before\n"


MAINTENANCE = """
Feature: Maintenance
  Scenario: Both
    Given I want to update hosts with class web
    When I undo my changes at the end of the scenario
    And I put the nodes into maintenance because of "a disk"
"""
