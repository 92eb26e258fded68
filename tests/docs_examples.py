# SPDX-License-Identifier: Apache-2.0
"""The examples in the README and in docs/: read them, and say whether what a command printed is what is shown.

An HTML comment before a block says what becomes of it: ``<!-- file: NAME -->`` writes it into the page's folder,
``<!-- run: HOW -->`` has a test run it, with ``status=N`` if it is to end so. Unmarked blocks are only looked at.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>(?:file|run): [^\n]*?) -->\n)?(?P<indent> *)"
    r"```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
# What differs between two runs: times, threads, processes, where a step is defined.
_VARYING = (
    (re.compile(r"\d+\.\d+ (ms|s)\b"), r"N \1"),
    (re.compile(r"\d+min \d+\.\d+s"), "N"),
    (re.compile(r"(?<=\s)# \S+:\d+$"), ""),
    (re.compile(r"(?<=web1\.example\.net {2})\d+$"), "N"),
    (re.compile(r"iptables-(nft|legacy)|nftables"), "BACKEND"),
)


@dataclass(frozen=True)
class Command:
    """A command as it is typed, and what is shown below it."""

    line: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def where(self) -> str:
        """Page and line, for messages and as the name of a test."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        """The file that the block is, if it is one."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else ""

    @property
    def run(self) -> str:
        """How the block is run, if it is."""
        return self.mark.removeprefix("run: ").split()[0] if self.mark.startswith("run: ") else ""

    @property
    def status(self) -> int | None:
        """The exit status that its last command must have; None if nothing is said."""
        found = re.search(r"status=(\d+)", self.mark)
        return int(found[1]) if found else None

    def commands(self) -> list[Command]:
        """Return the commands after ``$`` prompts."""
        made: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                made.append((line[2:], []))
            else:
                assert made, f"{self.where}: output before the first command: {line!r}"
                made[-1][1].append(line)
        return [Command(line, tuple(shown)) for line, shown in made]


@dataclass
class Page:
    """A page and its blocks, in order."""

    path: Path
    blocks: list[Block] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The path inside the project."""
        return str(self.path.relative_to(ROOT))


def pages() -> list[Page]:
    """Return the README and every page of docs/."""
    return [page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]


def page(path: Path) -> Page:
    """Return one page."""
    text = path.read_text("utf-8")
    blocks = []
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        blocks.append(Block(path, line, found["language"], found["text"], found["mark"] or ""))
    return Page(path, blocks)


def pages_with(*runs: str) -> list[Page]:
    """Return the pages that have a block to be run in one of these ways."""
    return [made for made in pages() if any(block.run in runs for block in made.blocks)]


def write_file(block: Block, folder: Path) -> None:
    """Write a block that is a file into a page's folder."""
    file = folder / block.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text)
    if block.text.startswith("#!"):
        file.chmod(0o755)


def words(line: str) -> list[str]:
    """Return the words of a command, without sudo, and without what follows a comment or an ampersand."""
    split = shlex.split(line, comments=True)
    split = split[:-1] if split and split[-1] == "&" else split
    return split[1:] if split[:1] == ["sudo"] else split


def difference(shown: tuple[str, ...], printed: str) -> str | None:
    """Return what is wrong if a command printed something else than is shown; ``...`` stands for any lines."""
    wanted = [_same(line) for line in shown]
    got = [_same(line) for line in printed.splitlines()]
    while got and not got[-1]:
        got.pop()
    while wanted and not wanted[-1]:
        wanted.pop()
    parts: list[list[str]] = [[]]
    for line in wanted:
        if line == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    at = 0
    for number, part in enumerate(parts):
        is_first, is_last = number == 0, number == len(parts) - 1
        starts = [0] if is_first else range(at, len(got) - len(part) + 1)
        if is_last and not is_first and part:
            starts = [len(got) - len(part)]
        if is_last and is_first and len(got) != len(part):
            starts = []
        start = next((s for s in starts if s >= at and got[s : s + len(part)] == part), None)
        if start is None:
            return f"shown, and not printed:\n{chr(10).join(part)}\n\nprinted:\n{printed}"
        at = start + len(part)
    return None


def _same(line: str) -> str:
    for pattern, instead in _VARYING:
        line = pattern.sub(instead, line.rstrip())
    return line.rstrip()


def of_kind(language: str) -> Iterator[Block]:
    """Yield every block in a language."""
    for made in pages():
        yield from (block for block in made.blocks if block.language == language)
