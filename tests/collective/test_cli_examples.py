# SPDX-License-Identifier: Apache-2.0
"""Every command of ``mco``, of whatever package, has examples in its help, and they work.

The applications' fleet only plays: its nodes offer every agent that is installed, and touch nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mco_client.cli.main import BUILTINS
from tests.collective.scripted_fleet import Ran, Stage, commands, good, real, staged

# Command or example -> why it is not run here. Whoever adds one says where it is tried.
NOT_RUN = {
    "demo": "starts a fleet of its own; tests/lab",
    "doctor": "finds faults in a fleet of actors; its own tests",
    "lab": "needs root and network namespaces; tests/lab",
    "nodes": "needs a registry; test_registry.py",
    "receive": "waits for another command; test_sending.py",
    "record": "runs another program; test_record_replay.py",
    "registry": "needs a database; test_registry.py",
}
# Those that say by their status that not all nodes match.
STATUS = {'mco filter explain -C /web/ -F "cores>=4"': 2}
EXAMPLES = re.compile(r"Examples?:\n((?: {2}.*\n?)+)")


def examples_of(command: click.Command) -> list[str]:
    """Return the example lines of a command's help, without the remark that may follow each."""
    found = EXAMPLES.search(help_of(command))
    return [re.split(r" {2,}", line.strip())[0] for line in found[1].strip().splitlines()] if found else []


def help_of(command: click.Command) -> str:
    return f"{command.epilog or ''}\n{command.help or ''}\n"


def group_of(name: str) -> str:
    return name.rpartition(" ")[0]


COMMANDS = commands()
RUN = sorted(
    {
        (name, line)
        for name, command in COMMANDS.items()
        if name.split(" ")[0] not in NOT_RUN and name not in NOT_RUN
        for line in examples_of(command)
        if not set(line.split(" ")) & {"record", "receive"}
    }
)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_examples(name: str) -> None:
    lines = examples_of(COMMANDS[name])
    of_group = re.search(rf"mco {name}\b", help_of(COMMANDS[group_of(name)]).partition("Examples")[2])
    assert lines or of_group, f"`mco {name} --help` shows no examples: give it an epilog with `Examples:`"
    assert all("mco " in line or "behave " in line for line in lines)


def test_an_excuse_is_for_a_command_that_there_is() -> None:
    assert {name.split(" ")[0] for name in NOT_RUN} <= set(COMMANDS)


@pytest.fixture(scope="module")
def actors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(good, tmp_path_factory.mktemp("actors")) as made:
        yield made


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with real(tmp_path_factory.mktemp("nodes")) as made:
        yield made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with the files that examples name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nodes.txt").write_text("web[1:2]\n")
    (tmp_path / "facts.yaml").write_text("country: de\ncores: 4\n")
    return tmp_path


@pytest.mark.parametrize(("name", "line"), RUN)
def test_an_example_of_the_help_works(
    name: str,
    line: str,
    actors: Stage,
    nodes: Stage,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = nodes if name.split(" ")[0] in {"", *BUILTINS} else actors
    if line.endswith("weather.py"):  # the example before it made the file
        stage.run("mco plugin generate agent weather", capsys, monkeypatch)
    ran = Ran(1, "", "")
    for part in re.split(r" (?:\||&&) ", line):
        words, _, file = part.partition(" > ")
        ran = stage.run(words, capsys, monkeypatch, stdin=ran.out)
        assert (ran.status, ran.err) == (STATUS.get(words, 0), ""), words
        assert ran.out
        if file:
            (here / file).write_text(ran.out)
