# SPDX-License-Identifier: Apache-2.0
"""Write what the commands of docs/guides/command-line.md print, by running them on a lab of real nodes.

The page's text is written by hand; of a block marked ``<!-- run: tour -->`` only the lines that start with ``$`` are.
Where nothing but a time, or another number that varies, is new, the block stays as it is.

    sudo python tools/tour.py                 bring the lab of tools/tour.yaml up, run, write, take it down
    sudo python tools/tour.py --pictures      draw the pictures anew, too
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guides" / "command-line.md"
SPEC = ROOT / "tools" / "tour.yaml"
IMAGES = ROOT / "docs" / "images"
COLUMNS = 100
# Picture -> the command that is drawn, as a terminal shows it.
PICTURES = {"ping.svg": "mco ping"}
BLOCK = re.compile(
    r"(?P<mark><!-- run: tour(?: (?P<how>[a-z]+))? -->)\n```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_VARYING = (
    (re.compile(r"\d+\.\d+(?= (ms|s)\b)"), "N"),
    (re.compile(r'(?<=_s": )[-\d.e]+|(?<=time": )[-\d.e]+'), "N"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\b\d{10}\.\d+\b"), "N"),
)


def commands(block: str) -> list[str]:
    """Return the commands of a block; one that ends with a backslash goes on in the next line."""
    joined = block.replace("\\\n", "\\\0")
    return [line[2:].replace("\\\0", "\\\n") for line in joined.splitlines() if line.startswith("$ ")]


def alike(text: str) -> str:
    """Return a text without what differs between two runs."""
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return re.sub(r" {2,}", "  ", re.sub(r"-{3,}", "---", text))


def written(page: str) -> str:
    """Return the page with what its commands print now."""

    def run_again(found: re.Match[str]) -> str:
        before = found["text"]
        after = "".join(_shown(commands(before)))
        is_same = found["how"] == "varies" and _lengths(before) == _lengths(after)
        text = before if is_same or alike(before) == alike(after) else after
        return f"{found['mark']}\n```console\n{text}```"

    return BLOCK.sub(run_again, page)


def _lengths(text: str) -> int:
    return len(text.splitlines())


def _shown(lines: list[str]) -> Iterator[str]:
    status = 0
    for line in lines:
        yield f"$ {line}\n"
        if line == "echo $?":
            yield f"{status}\n"
            continue
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(),
            timeout=120,
            check=False,
        )
        status = done.returncode
        yield "\n".join(text.rstrip() for text in done.stdout.rstrip("\n").split("\n")) + "\n" if done.stdout else ""


def _environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "COLUMNS": str(COLUMNS), "LANG": "C.UTF-8", "TERM": "xterm-256color"}


def draw(line: str, file: Path) -> None:
    """Write what a terminal shows of a command as a picture."""
    from rich.console import CONSOLE_SVG_FORMAT, Console
    from rich.text import Text

    master, slave = pty.openpty()
    with subprocess.Popen(["bash", "-c", line], stdin=slave, stdout=slave, stderr=slave, env=_environment()) as running:
        os.close(slave)
        raw = b""
        while chunk := _read(master):
            raw += chunk
        running.wait()
    os.close(master)
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {line}"))
        console.print(Text.from_ansi(raw.decode().replace("\r\n", "\n")))
        # Fonts would be fetched from the network by who looks at the picture.
        without_fonts = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        file.write_text(console.export_svg(title="mco", code_format=without_fonts, unique_id=file.stem))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other end is closed
        return b""


def main() -> int:
    """Run the tour; return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pictures", action="store_true")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if not given.inside:
        mco = str(Path(sys.executable).with_name("mco"))
        words = [mco, "lab", "run", str(SPEC), "--", sys.executable, __file__, "--inside", *sys.argv[1:]]
        return subprocess.run(words, check=False).returncode
    PAGE.write_text(written(PAGE.read_text()))
    for name, line in PICTURES.items():
        if given.pictures or not (IMAGES / name).exists():
            draw(line, IMAGES / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
