# SPDX-License-Identifier: Apache-2.0
"""The examples of the documentation that need no broker and no root do what is shown."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs_examples import Block, Page, difference, of_kind, pages_with, words, write_file
from tests.docs_fleet import KINDS as FLEET_KINDS
from tests.docs_fleet import fleet_of

KINDS = ("memory", "python", "check-agents")


def named(pages: list[Page]) -> list[Any]:
    return [pytest.param(page, id=page.name) for page in pages]


@pytest.mark.parametrize("page", named(pages_with(*KINDS)))
def test_each_prints_what_is_shown(page: Page, tmp_path: Path) -> None:
    # Given a folder that holds what the page has told to write so far
    for block in page.blocks:
        if block.file and not block.file.startswith(("/", "~")):
            write_file(block, tmp_path)
        # When its commands are run there, then they print what the page shows
        elif block.run == "memory":
            run_commands(block, tmp_path)
        elif block.run == "check-agents":
            write_node(tmp_path)
            run_commands(block, tmp_path)
        elif block.run == "python":
            run_python(block, tmp_path)


@pytest.mark.parametrize("page", named(pages_with(*FLEET_KINDS)))
def test_each_prints_what_is_shown_with_a_fleet(page: Page, tmp_path: Path) -> None:
    # Given nodes that have the page's agents
    for block in page.blocks:
        if block.file and not block.file.startswith(("/", "~")):
            write_file(block, tmp_path)
    with fleet_of(page, tmp_path) as fleet:
        printed = ""
        for block in page.blocks:
            # When its commands are typed, then they print what the page shows
            if block.run == "fleet":
                status = 0
                for command in block.commands():
                    status, said = fleet.type(command.line)
                    if any(earlier.shown for earlier in block.commands()):
                        assert difference(command.shown, said) is None, f"{block.where}: {command.line}"
                assert status == (block.status or 0), block.where
            elif block.run == "python-fleet":
                printed = fleet.python(block.text)
            elif block.run == "output":
                assert difference(tuple(block.text.splitlines()), printed) is None, block.where


@pytest.mark.parametrize("block", [pytest.param(b, id=b.where) for b in of_kind("gherkin") if b.run == "feature"])
def test_each_feature_passes(block: Block, tmp_path: Path) -> None:
    (tmp_path / "shown.feature").write_text(block.text)
    (tmp_path / "behave.ini").write_text("[behave]\nrunner = mco_client.bdd.runner:FleetRunner\n")
    done = run(["behave", "-D", "connector=memory", "shown.feature"], tmp_path)
    assert done.returncode == 0, f"{block.where}: {done.stdout}"


def run_commands(block: Block, folder: Path) -> None:
    status = 0
    for command in block.commands():
        done = run(words(command.line), folder)
        status = done.returncode
        assert difference(command.shown, done.stdout) is None, f"{block.where}: {command.line}"
    assert status == (block.status or 0), block.where


def run_python(block: Block, folder: Path) -> None:
    done = run([sys.executable, "-c", block.text], folder)
    assert done.returncode == 0, f"{block.where}: {done.stdout}"


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MCO_")}
    path = os.pathsep.join([sysconfig.get_path("scripts"), ours.get("PATH", os.defpath)])
    return subprocess.run(
        command,
        cwd=folder,
        env={**ours, "PATH": path, "NO_COLOR": "1", "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )


def write_node(folder: Path) -> None:
    """Write what /etc/mco holds on the page's node, here."""
    (folder / "callers").mkdir()
    settings = {
        "identity": "web1.example.net",
        "key_file": "node.key",
        "trusted_callers": "callers",
        "libdir": ["agents"],
        "agents": {"maintenance": {"file": "maintenance"}, "iptables": {"backend": "memory"}},
    }
    (folder / "node.yaml").write_text(yaml.safe_dump(settings))
    done = run(shlex.split("mco-node keygen --config node.yaml"), folder)
    assert done.returncode == 0, done.stdout
