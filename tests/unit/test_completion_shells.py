# SPDX-License-Identifier: Apache-2.0
"""What bash, zsh and fish make of our answers, typed into them; the names are those that a fleet gave before."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from mco_client.cli import fleet_names
from mco_client.cli.fleet_names import AgentName, Names
from mco_client.cli.shells import SCRIPTS
from mco_client.schema.cache import SchemaCache
from mco_rpc.schema import ActionSchema, AgentSchema, Input
from tests.unit.completing import SHELLS, Shell

# Each would do something, or be other words, if a shell took it as it stands.
NODE, CLASS, FACT, OFFERED = "qq$(touch pwned)", "qq`touch pwned`", "qq1;touch pwned;", "qq*"
AGENT = AgentSchema(
    "evil1",
    "Evil \x1b]52;c;QUFB\x07 %F{red} $(touch pwned) `touch pwned`\n:files\ttab",
    "1.0",
    actions={
        "run": ActionSchema(
            "run",
            "Run it",
            inputs={
                "speed": Input("list", "How", choices=("fast", "furious", "$(touch pwned)")),
                "fact": Input("string", "Of what"),
                "is_dry": Input("boolean", "Whether"),
            },
        )
    },
)


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell whose user has asked a fleet before."""
    folder = tmp_path_factory.mktemp(request.param)
    cache = folder / "cache"
    schemas = SchemaCache(cache / "mco/schemas")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MCO_")]:
            patch.delenv(name)
        patch.setenv("XDG_CACHE_HOME", str(cache))
        file = fleet_names.file_of(None, None)
    assert file is not None
    seen = Names(
        seen_at=time.time(),
        nodes=("web1.example.com", "web2.example.com", "db1", NODE),
        agents={
            "evil1": AgentName(schemas.put(AGENT.to_json()), AGENT.description),
            **dict.fromkeys(("evil2", "safe", OFFERED), AgentName()),
        },
        facts={
            "country": ("de", "fr", "fa$(touch pwned)"),
            "os.name": ("Debian",),
            FACT: ("w",),
        },
        classes=("acme::dev_server", "acme::db", CLASS),
        collectives=("germany",),
    )
    fleet_names.write(file, seen)
    with Shell(request.param, folder / "shell", SCRIPTS[request.param], {"XDG_CACHE_HOME": str(cache)}) as shell:
        yield shell


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mco rp", "mco rpc"),
        ("mco plugin do", "mco plugin doc"),
        ("mco ping -I web1", "mco ping -I web1.example.com"),
        ("mco ping -C acme::de", "mco ping -C acme::dev_server"),
        ("mco ping -F cou", "mco ping -F country="),
        ("mco ping -F country=d", "mco ping -F country=de"),
        ("mco ping --wf=country=d", "mco ping --wf=country=de"),
        ("mco ping --dm=inv", "mco ping --dm=inventory"),
        ("mco rpc sa", "mco rpc safe"),
        ("mco rpc evil1 r", "mco rpc evil1 run"),
        ("mco rpc evil1 run sp", "mco rpc evil1 run speed="),
        ("mco rpc evil1 run speed=fa", "mco rpc evil1 run speed=fast"),
        ("mco rpc evil1 run fact=cou", "mco rpc evil1 run fact=country"),
        ("mco rpc evil1 run is_dry=t", "mco rpc evil1 run is_dry=true"),
        ("mco rpc evil1 run speed=fast f", "mco rpc evil1 run speed=fast fact="),
        ("mco inventory db", "mco inventory db1"),
        ("mco service nginx stat", "mco service nginx status"),
    ],
)
def test_a_word_that_was_begun_is_completed(shell: Shell, line: str, words: str) -> None:
    assert shell.complete(line) == words.split()


@pytest.mark.parametrize("where", ["ping -I ", "ping -C ", "ping -F ", "rpc ", "inventory "])
def test_nothing_that_a_shell_could_obey_or_misread_is_offered(shell: Shell, where: str) -> None:
    assert shell.complete(f"mco {where}qq") == ["mco", *where.split(), "qq"]
    assert not list(shell.folder.glob("pwned"))


def test_a_value_is_not_obeyed_either(shell: Shell) -> None:
    assert shell.complete("mco ping -F country=fa") == ["mco", "ping", "-F", "country=fa"]
    assert not list(shell.folder.glob("pwned"))


def test_files_are_completed_where_a_file_is_wanted(shell: Shell) -> None:
    (shell.folder / "fleet.yaml").touch()
    assert shell.complete("mco ping -c fleet.y") == ["mco", "ping", "-c", "fleet.yaml"]
    assert shell.complete("mco rpc --nodes fleet.y") == ["mco", "rpc", "--nodes", "fleet.yaml"]


def test_what_cannot_be_completed_stays_as_it_is(shell: Shell) -> None:
    for line in ("mco nothing of this", "mco rpc nobody x", "mco ping --nonsense x", "mco rpc evil1 nothing x"):
        assert shell.complete(line) == line.split()


def test_descriptions_are_shown_and_cannot_command_the_terminal(shell: Shell, request: pytest.FixtureRequest) -> None:
    shown = shell.offers("mco rpc evil", "evil2")
    assert "\x1b]52" not in shown
    if "bash" not in request.node.name:
        assert "Evil" in shown
    assert not list(shell.folder.glob("pwned"))
