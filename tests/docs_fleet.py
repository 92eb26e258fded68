# SPDX-License-Identifier: Apache-2.0
"""Types what a page says against nodes in this process: the hosts of ``mco demo``, and the page's own agents on them.

``run: fleet`` blocks hold commands, ``run: python-fleet`` blocks Python whose connections lead to the fleet, and
``run: output`` shows what the Python block before it printed.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from mco_client.cli.main import main
from mco_client.connection import Connection
from mco_lab.memory import MemoryFleet
from mco_lab.spec import read
from mco_rpc.config import ClientSettings, client_settings
from tests.docs_examples import ROOT, Page, words

KINDS = ("fleet", "python-fleet", "output")


class PageFleet:
    """A fleet, and who asks it from a folder of their own."""

    def __init__(self, fleet: MemoryFleet, folder: Path) -> None:
        self._fleet, self._folder = fleet, folder
        self._connection = fleet.connection()

    def type(self, line: str) -> tuple[int, str]:
        """Type a line of commands with pipes and ``> FILE``; return the last status, and all that is printed."""
        text, status, said = "", 0, ""
        line, _, file = line.partition(" > ")
        commands = line.split(" | ")
        for number, command in enumerate(commands):
            is_last = number == len(commands) - 1
            out, err = io.StringIO(), io.StringIO()
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(out if is_last and not file else err),
                mock.patch.object(sys, "stdin", _stdin(text)),
            ):
                status = main(words(command)[1:], self._connect)
            text, said = out.getvalue(), said + err.getvalue()
        if file:
            (self._folder / file).write_text(text)
            text = ""
        return status, said + text

    def python(self, code: str) -> str:
        """Run Python; return what it prints."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "example", "exec"), {"__name__": "__main__"})
        return out.getvalue()

    def connection(self, *_: Any, **__: Any) -> Connection:
        """Return a new connection to the fleet, whatever the settings say."""
        return self._fleet.connection()

    def _connect(self, file: Path | None, changes: Mapping[str, Any]) -> Connection:
        base, written = self._connection, client_settings(file, {}) if file else ClientSettings()
        source = {"discovery": written.discovery, "discovery_options": written.discovery_options}
        settings = msgspec.structs.replace(base.settings, **{**source, **changes})
        return Connection(settings, connector=self._fleet.broker.connector, security=base.security)


@contextmanager
def fleet_of(page: Page, folder: Path) -> Iterator[PageFleet]:
    """Start the fleet of a page, with the agents that the page writes into ``agents/``."""
    hosts = {
        host.identity: {"classes": host.classes, "facts": host.facts}
        for host in read(ROOT / "lab" / "firewall.yaml").hosts
        if host.has_node
    }
    if any(re.match("agents/", block.file) for block in page.blocks):
        settings = {"libdir": [str(folder / "agents")], "collectives": ["mcollective", "germany"]}
        hosts = {name: {**host, "settings": settings} for name, host in hosts.items()}
    own = {name: text for name, text in os.environ.items() if not name.startswith("MCO_")}
    environment = {
        **own,
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    path = [str(folder), *sys.path]
    with contextlib.chdir(folder), mock.patch.dict(os.environ, environment, clear=True), MemoryFleet(hosts) as fleet:
        made = PageFleet(fleet, folder)
        with (
            mock.patch("mco_client.client.Connection", made.connection),
            mock.patch("mco_client.connection.Connection", made.connection),
            mock.patch.object(sys, "path", path),
        ):
            yield made


class _Typed(io.StringIO):
    """Standard input that is a pipe; what reads bytes finds them under ``buffer``."""

    buffer: io.BytesIO


def _stdin(text: str) -> io.StringIO:
    made = _Typed(text)
    made.buffer = io.BytesIO(text.encode())
    made.buffer.isatty = lambda: False  # type: ignore[method-assign]
    return made
