# SPDX-License-Identifier: Apache-2.0
"""The application of the guide, installed as a package of somebody else, is a command like ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs_examples import ROOT, difference, page, write_file
from tests.docs_fleet import fleet_of


def test_the_application_of_the_guide_works_once_it_is_installed(tmp_path: Path) -> None:
    # Given the files of the guide, and the package that they are, in a folder of its own
    guide = page(ROOT / "docs/guides/applications.md")
    for block in guide.blocks:
        if block.file:
            write_file(block, tmp_path)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--target", tmp_path / "site", tmp_path],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "acme_mailq.py").unlink()  # what is found is what was installed
    # When its commands are typed
    with fleet_of(guide, tmp_path) as fleet:
        sys.path.insert(0, str(tmp_path / "site"))
        (block,) = (block for block in guide.blocks if block.run == "application")
        for command in block.commands():
            # Then they print what the guide shows
            _, said = fleet.type(command.line)
            assert difference(command.shown, said) is None, said
        assert "the longest queue first" in fleet.type("mco mailq --help")[1]
