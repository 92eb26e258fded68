# SPDX-License-Identifier: Apache-2.0
"""The pages of agents: every example is one that the schema allows, and what the coverage page names is there."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mco_rpc.agent import Agent, Input, Output, action
from mco_rpc.schema import AgentSchema
from tests.docs_examples import ROOT, page

COVERAGE = ROOT / "docs" / "reference" / "coverage.md"
AGENTS = {entry.name: entry for entry in importlib.metadata.entry_points(group="mco.agents")}


@pytest.fixture(scope="module")
def agent_pages() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import agent_pages as made  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(ROOT / "tools"))
    return made  # type: ignore[no-any-return]


def schema(name: str) -> AgentSchema:
    made: AgentSchema = AGENTS[name].load().schema()
    return made


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_each_action_has_an_example_that_its_schema_allows(name: str) -> None:
    declared = schema(name)
    shown = set()
    for block in page(ROOT / "docs" / "reference" / "agents" / f"{name}.md").blocks:
        for command in block.commands():
            _, _, agent, act, *words = shlex.split(command.line)
            ours = declared.actions[act]
            texts = dict(word.split("=", 1) for word in words[: words.index("-I")])
            ours.check_inputs(agent, {key: ours.inputs[key].parse(text) for key, text in texts.items()})
            assert agent == name
            assert "--noop" not in words or ours.noop
            shown.add(act)
    assert shown == set(declared.actions)


def test_the_list_says_where_each_is_offered(agent_pages: ModuleType) -> None:
    text = agent_pages.index_page()
    assert all(f"(agents/{name}.md)" in text for name in AGENTS)
    assert "where its check says so" not in text, "say it in WHERE of tools/agent_pages.py"


class Sample(Agent):
    """Do something.

    More of it, with ``code``.
    """

    setting_names = ("key",)

    @action(
        "Do it",
        inputs={"path": Input("string", "a|b", validate="/x+/"), "n": Input("integer", "How many", default=3)},
        outputs={"done": Output("boolean", "Whether", default=False)},
        mutating=True,
        noop=True,
    )
    def do(self, path: str, n: int = 3) -> dict[str, object]:
        return {}


class TestOneAgent:
    def test_where_there_is_no_example_the_author_is_told(self, agent_pages: ModuleType) -> None:
        with pytest.raises(SystemExit, match="sample#do: no example for input path: add one to EXAMPLES"):
            "\n".join(agent_pages._page(Sample))

    def test_a_page_has_all_that_the_schema_has(self, agent_pages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(agent_pages.EXAMPLES, "path", ("no", "xx"))
        text = "\n".join(agent_pages._page(Sample))
        assert "# sample\n\nDo something.\n\nMore of it, with `code`.\n\nOffered everywhere." in text
        assert "`enabled`, `key`" in text
        assert "$ mco rpc sample do path=xx -I web1\n$ mco rpc sample do path=xx -I web1 --noop\n" in text
        assert "| `path` | string | a\\|b; checked as `/x+/`; at most 4096 |" in text
        assert "| [`n`] | integer | How many; default `3` |" in text
        assert "| `done` | boolean | Whether; default `false` |" in text
        assert "It *changes the node*. With `--noop` it says what it would change." in text

    def test_the_navigation_keeps_all_but_the_agents(self, agent_pages: ModuleType) -> None:
        lines = ["a:", "  # agents: x", "  - old", "  # end of agents", "b:"]
        made = agent_pages.nav(lines)
        assert made[:2] == lines[:2]
        assert made[-2:] == lines[-2:]
        assert "  - old" not in made
        assert f"      - shell: {Path('reference/agents/shell.md')}" in made


class TestCoverage:
    NAMES = re.findall(r"`(\w+#\w+|\w+\(\))`", COVERAGE.read_text("utf-8"))

    def test_each_agent_action_and_data_source_that_is_named_is_there(self) -> None:
        sources = {entry.name for entry in importlib.metadata.entry_points(group="mco.data")}
        wrong = []
        for name in self.NAMES:
            agent, _, act = name.partition("#")
            is_there = agent.removesuffix("()") in sources if not act else agent in AGENTS
            if not is_there or (act and act not in schema(agent).actions):
                wrong.append(name)
        assert len(self.NAMES) > 50
        assert wrong == []

    def test_each_row_names_something_or_says_why_not(self) -> None:
        rows = re.findall(r"^\| (.+?) \| (.+) \|$", COVERAGE.read_text("utf-8"), re.MULTILINE)
        assert len(rows) > 40
        for what, here in rows:
            assert here == "here" or re.search(r"`\w+(#\w+|\(\))`", here) or re.match("not covered: .{20}", here), what
