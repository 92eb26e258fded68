# SPDX-License-Identifier: Apache-2.0
"""For tests of completion: real shells on terminals of their own, into which a test types."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sysconfig
import termios
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import pytest

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
# Typed before the word `mco`, it makes the line a call of `told`, which writes down what the line means to the shell.
_TO_BEGINNING = "\x01"
_CLEARED = "\x05\x15"
_WAIT_S = 20.0
_END = "END"
_TOLD = {
    "bash": "told() {{ printf '%s\\0' \"$@\" {end} >{pipe}; }}",
    "zsh": "told() {{ printf '%s\\0' \"$@\" {end} >{pipe} }}",
    "fish": "function told; printf '%s\\0' $argv {end} >{pipe}; end",
}


class Shell:
    """An interactive shell that completes the words of `mco`."""

    def __init__(self, name: str, folder: Path, script: str, environment: Mapping[str, str]) -> None:
        if shutil.which(name) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{name} is not installed")
            pytest.skip(f"{name} is not installed")
        folder.mkdir()
        self.folder = folder
        self._pipe = folder / "told"
        os.mkfifo(self._pipe)
        self._read = os.open(self._pipe, os.O_RDWR | os.O_NONBLOCK)
        (folder / "script").write_text(script)
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("MCO_", "XDG_"))}
        environ = {
            **{name: text for name, text in inherited.items() if name not in ("EDITOR", "VISUAL")},
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            **environment,
        }
        self._screen = b""
        self._pid, self._terminal = pty.fork()
        if not self._pid:
            os.chdir(folder)
            os.execvpe(name, SHELLS[name], environ)
        termios.tcsetwinsize(self._terminal, (50, 200))
        self._write(f"source {folder / 'script'}\r")
        self._write(_TOLD[name].format(pipe=self._pipe, end=_END) + "\r")
        self._write("told ready\r")
        assert self._told() == ["ready"]

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)
        os.close(self._read)

    def complete(self, line: str) -> list[str]:
        """Type a line and the key that completes; return the words that the line then has."""
        self._write(f"{line}\t{_TO_BEGINNING}told \r")
        return self._told()

    def offers(self, line: str, wanted: str) -> str:
        """Type a line and the key twice; return what the screen shows, once ``wanted`` is on it."""
        self._screen = b""
        self._write(f"{line}\t\t")
        while wanted.encode() not in self._screen:
            self._wait([self._terminal])
        shown = self._screen.decode(errors="replace")
        self._write(f"{_CLEARED}told ready\r")
        assert self._told() == ["ready"]
        return shown

    def _write(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _told(self) -> list[str]:
        told = b""
        while not told.endswith(b"\0" + _END.encode() + b"\0"):
            if self._read in self._wait([self._terminal, self._read]):
                told += os.read(self._read, 65536)
        return told.decode().split("\0")[:-2]

    def _wait(self, files: list[int]) -> list[int]:
        """Wait until something comes, and take what the terminal shows, so that the shell need not wait for us."""
        ready, _, _ = select.select(files, [], [], _WAIT_S)
        assert ready, f"nothing in {_WAIT_S} s; the screen: {self._screen.decode(errors='replace')[-2000:]}"
        if self._terminal in ready:
            self._screen += os.read(self._terminal, 65536)
        return ready
