# SPDX-License-Identifier: Apache-2.0
"""What an nrpe.cfg says, with all that it includes, read as NRPE 4.1 reads it; nothing is run here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mco_rpc.errors import ActionAborted

MAX_FILES, MAX_DEPTH, MAX_FILE_BYTES = 2000, 32, 1024 * 1024
NASTY = "|`&><'\\[]{};\r\n"


@dataclass(slots=True)
class Config:
    """The commands and the settings that matter to them; of several the last counts.

    Attributes:
        commands: the command line of each name.
        nasty: characters that no argument may hold.
        problems: what could not be read, and why; NRPE goes on without it, too.
    """

    commands: dict[str, str] = field(default_factory=dict)
    prefix: str = ""
    user: str = ""
    is_taking_arguments: bool = False
    is_taking_substitution: bool = False
    timeout_s: int = 60
    nasty: str = NASTY
    problems: list[str] = field(default_factory=list)


def read(path: str) -> Config:
    """Return what a file and all that it includes say.

    Raises:
        ActionAborted: the file itself cannot be read.
    """
    config = Config()
    reader = _Reader(config)
    reader.read(Path(path), ())
    if not reader.files:
        raise ActionAborted("; ".join(config.problems))
    return config


class _Reader:
    def __init__(self, config: Config) -> None:
        self._config = config
        self.files = 0

    def read(self, path: Path, within: tuple[str, ...]) -> None:
        """Read a file; one that includes itself, also by way of others, is not read again within itself."""
        where = os.path.realpath(path)
        if where in within or len(within) >= MAX_DEPTH or self.files >= MAX_FILES:
            why = "it includes itself" if where in within else "there are too many includes"
            self._config.problems.append(f"{path}: {why}")
            return
        try:
            if not Path(where).is_file():
                raise FileNotFoundError(2, "no such file")
            with Path(where).open(encoding="utf-8", errors="surrogateescape") as file:
                text = file.read(MAX_FILE_BYTES)
        except OSError as e:
            self._config.problems.append(f"{path}: {e.strerror}")
            return
        self.files += 1
        for number, line in enumerate(text.split("\n"), 1):
            self._take(line.strip(), f"{path} line {number}", (*within, where))

    def _take(self, line: str, where: str, within: tuple[str, ...]) -> None:
        config = self._config
        if not line or line.startswith("#"):
            return
        name, mark, value = line.partition("=")
        if not mark or not value:
            config.problems.append(f"{where}: expected name=value")
        elif name in ("include", "include_file"):
            self.read(Path(value), within)
        elif name == "include_dir":
            for path in _configs_in(Path(value), config.problems):
                self.read(path, within)
        elif "command[" in name:
            config.commands[name.partition("[")[2].partition("]")[0]] = value
        elif name == "command_prefix":
            config.prefix = value
        elif name == "nrpe_user":
            config.user = value
        elif name == "dont_blame_nrpe":
            config.is_taking_arguments = value == "1"
        elif name == "allow_bash_command_substitution":
            config.is_taking_substitution = value == "1"
        elif name == "nasty_metachars":
            config.nasty = value.replace("\\r", "\r").replace("\\n", "\n").replace("\\\\", "\\")
        elif name == "command_timeout" and value.isdecimal() and int(value) > 0:
            config.timeout_s = int(value)


def _configs_in(folder: Path, problems: list[str], depth: int = 0) -> Iterator[Path]:
    """Yield the .cfg files of a folder and of those below it, in the order of their names."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as e:
        problems.append(f"{folder}: {e.strerror}")
        return
    for entry in entries:
        if entry.is_dir():
            if depth < MAX_DEPTH:
                yield from _configs_in(entry, problems, depth + 1)
        elif entry.name.endswith(".cfg") and entry.is_file():
            yield entry
