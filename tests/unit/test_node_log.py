# SPDX-License-Identifier: Apache-2.0
"""The daemon's log: one line an entry, which no text from the network can forge."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from mco_node.log import JsonFormatter, PrintedLines, TextFormatter, configure

FORGED = "x\n2026-01-31T12:00:00+0000 INFO mco_node.daemon: all is well\r\x1b[2J\u2028\x00\x9b\U000e0001y"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} ")


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was logged; logging and stdout are as they were afterwards."""
    root, pika, stdout = logging.getLogger(), logging.getLogger("pika"), sys.stdout
    before = (root.handlers[:], root.level, pika.level)
    root.handlers.clear()
    yield lambda: capsys.readouterr().err
    sys.stdout = stdout
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    pika.setLevel(before[2])


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("mco_node.x", logging.WARNING, "x.py", 1, message, arguments, exc_info)


def raised(error: BaseException) -> BaseException:
    with contextlib.suppress(type(error)):
        raise error
    return error


def test_text_is_time_level_logger_and_message() -> None:
    # When an entry is formatted
    line = TextFormatter().format(record("request %s: %s", "5f0c", "grüße"))

    # Then it is one line with all of it
    assert STAMP.match(line)
    assert STAMP.sub("", line) == "WARNING mco_node.x: request 5f0c: grüße"


def test_a_message_forges_no_line_in_text() -> None:
    # When a message holds line ends and escapes
    line = TextFormatter().format(record("from %s", FORGED))

    # Then it is still one line, in which they can be seen
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert r"x\n2026-01-31T12:00:00+0000 INFO mco_node.daemon: all is well\r\x1b[2J\u2028\x00\x9b\U000e0001y" in line


def test_an_error_forges_no_line_in_text() -> None:
    # When the text of an error holds line ends and escapes
    text = TextFormatter().format(record("request failed", error=raised(ValueError(FORGED))))

    # Then no line but the first looks like an entry, and none can move the terminal's cursor
    first, *rest = text.split("\n")
    assert STAMP.match(first)
    assert len(rest) >= 3
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "ValueError: x" in text
    assert "all is well" in text


def test_half_a_character_is_logged_in_text() -> None:
    # When a message holds what UTF-8 cannot say
    line = TextFormatter().format(record("file %s", "\udcff"))

    # Then it can be written
    assert line.encode()
    assert r"file \udcff" in line


def test_json_is_one_object_a_line() -> None:
    # When an entry is formatted
    line = JsonFormatter().format(record("from %s", FORGED))

    # Then it is one line of JSON with all of it
    assert line.isprintable()
    entry = json.loads(line)
    assert entry.pop("time") > 0
    assert entry == {"level": "warning", "logger": "mco_node.x", "message": f"from {FORGED}"}


def test_json_holds_the_error() -> None:
    # When an entry has an error
    line = JsonFormatter().format(record("failed", error=raised(ValueError(FORGED))))

    # Then it is in the same line
    assert "\n" not in line
    assert "ValueError: x\n2026" in json.loads(line)["error"]


def test_half_a_character_is_logged_in_json() -> None:
    # When a message and its error hold what UTF-8 cannot say
    line = JsonFormatter().format(record("file %s", "\udcff", error=raised(ValueError("\udcfe"))))

    # Then they are written with an escape
    entry = json.loads(line)
    assert entry["message"] == r"file \udcff"
    assert r"ValueError: \udcfe" in entry["error"]


@pytest.mark.parametrize("kind", ["text", "json"])
def test_configured_logging_goes_to_stderr(logged: Callable[[], str], kind: str) -> None:
    # When logging is configured
    configure("info", kind)
    logging.getLogger("mco_node.x").info("hello %s", "you")
    logging.getLogger("mco_node.x").debug("not this")
    logging.getLogger("pika").error("nor this")

    # Then entries of that level and above are there, and the connector's library is silent
    (line,) = logged().splitlines()
    if kind == "json":
        assert json.loads(line)["message"] == "hello you"
    else:
        assert line.endswith("INFO mco_node.x: hello you")


def test_what_an_agent_prints_becomes_short_log_lines(logged: Callable[[], str]) -> None:
    # Given a configured daemon
    configure("info", "text")
    assert isinstance(sys.stdout, PrintedLines)

    # When an agent prints a lot
    print("x" * 10_000_000)
    print()
    print(FORGED, end="")

    # Then the log has its beginning and its length, and no forged line
    first, second = logged().splitlines()
    assert first.endswith(f"INFO printed: {'x' * 1000}... (10000000 characters)")
    assert r"INFO printed: x\n2026" in second


def test_print_returns_what_a_stream_returns(logged: Callable[[], str]) -> None:
    # When something is written to the stand-in for stdout
    configure("info", "text")

    # Then it says how much it took
    assert sys.stdout.write("abc") == 3
    assert sys.stdout.write("  ") == 2
    sys.stdout.flush()
    assert not sys.stdout.isatty()
