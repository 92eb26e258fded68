# SPDX-License-Identifier: Apache-2.0
"""Logging of the daemon: one line an entry, as text or as JSON, whatever the text came from."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import msgspec

LEVELS = ("debug", "info", "warning", "error")
_MAX_PRINTED = 1000


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00 INFO mco_node.daemon: ...`` with control characters made visible."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return one line: a message from the network cannot forge another."""
        record.message = _visible(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return a traceback of which no line can pass for an entry: an error's text may be the network's."""
        return "\n".join(f"    {_visible(line)}" for line in super().formatException(ei).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and error where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        line = msgspec.json.encode({key: _encodable(value) for key, value in entry.items()}).decode()
        return "".join(c if c.isprintable() else _json_escape(c) for c in line)


class PrintedLines(io.TextIOBase):
    """Stands in for stdout: what an agent prints becomes short log lines and cannot fill a pipe."""

    def write(self, text: str) -> int:
        """Log what was printed, at most `_MAX_PRINTED` characters of it."""
        if text.strip():
            rest = f"... ({len(text)} characters)" if len(text) > _MAX_PRINTED else ""
            logging.getLogger("printed").info("%s%s", text[:_MAX_PRINTED].rstrip(), rest)
        return len(text)


def level() -> str:
    """Return from which level on is logged."""
    numbers = logging.getLevelNamesMapping()
    now = logging.getLogger().getEffectiveLevel()
    return next((name for name in LEVELS if numbers[name.upper()] >= now), LEVELS[-1])


def set_level(name: str) -> None:
    """Log from this level on."""
    logging.getLogger().setLevel(name.upper())


def next_level(name: str) -> str:
    """Return the level after one: each says less, and the last is followed by the first.

    >>> next_level("info"), next_level("error")
    ('warning', 'debug')
    """
    at = LEVELS.index(name) if name in LEVELS else 0
    return LEVELS[(at + 1) % len(LEVELS)]


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _encodable(value: Any) -> Any:
    """Return text that UTF-8 can say: half a surrogate pair, as in a file's name, becomes an escape."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def configure(level: str, kind: str) -> None:
    """Log to stderr from here on, and take over stdout."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Its errors are told once, by the connector, in our words.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    sys.stdout = PrintedLines()
