# SPDX-License-Identifier: Apache-2.0
"""One question to the executable of an external agent: what it gets, what it may print, and what that means.

It gets one JSON object on standard input, and the same as variables of its environment, for those who read no JSON.
It prints one JSON object, the answer; before that, each line ``{"progress": "..."}`` is told to a caller who
follows, and so is what it prints on standard error. It runs in ``/``, and is ended with all it started.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mco_rpc.command import MAX_OUTPUT_BYTES, clean_environment, run
from mco_rpc.current import Current, Tell
from mco_rpc.errors import (
    ActionAborted,
    Cancelled,
    Denied,
    InvalidData,
    MissingData,
    RequestError,
    TimedOut,
)
from mco_rpc.lines import Lines
from mco_rpc.status import Status
from mco_rpc.strays import VARIABLE, end_strays, new_mark

MAX_TEXT_LENGTH = 4096
MAX_VARIABLE_BYTES = 64 * 1024  # the kernel takes twice as much
_EXAMPLE = '{"data": {...}}'
_FAILURES: Mapping[int, type[RequestError]] = {
    kind.status: kind for kind in (ActionAborted, MissingData, InvalidData, RequestError, Denied)
}
_log = logging.getLogger(__name__)


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    """What an executable prints."""

    status: int = 0
    message: str = ""
    data: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Question:
    """What the executable is asked.

    Attributes:
        where: how messages call it: ``disk#usage``.
        texts: what it is told as a JSON object, except the inputs and the settings.
        is_answer_needed: whether it has to print something; else its exit status is enough.
    """

    where: str
    texts: Mapping[str, object]
    inputs: Mapping[str, Any]
    settings: Mapping[str, Any]
    is_answer_needed: bool = True

    def body(self) -> bytes:
        """Return what goes to standard input; raise `InvalidData` if it cannot be said."""
        try:
            return msgspec.json.encode({**self.texts, "data": self.inputs, "settings": self.settings}) + b"\n"
        except (TypeError, ValueError) as e:
            raise InvalidData(f"{self.where}: an input or a setting cannot be given to it: {e}") from e

    def environment(self, mark: str) -> dict[str, str]:
        """Return all its variables."""
        made = clean_environment(**{VARIABLE: mark})
        groups = (
            ("MCO_CALL_", {key: value for key, value in self.texts.items() if key != "facts"}),
            ("MCO_INPUT_", self.inputs),
            ("MCO_SETTING_", self.settings),
        )
        for prefix, values in groups:
            for key, value in values.items():
                text = value if isinstance(value, str) else json.dumps(value)
                if "\0" in text:
                    raise InvalidData(f"{self.where}: input {key}: a null character cannot be given to it")
                name = f"{prefix}{key.upper() if prefix == 'MCO_CALL_' else key}"
                if value is not None and len(text.encode("utf-8", "replace")) <= MAX_VARIABLE_BYTES:
                    made[name] = text
        return made


def ask(command: Path, question: Question, request: Current, until: float) -> dict[str, Any]:
    """Return the data that an executable answers with.

    Args:
        until: on `time.monotonic`'s clock; past it the executable is killed with all it started.

    Raises:
        RequestError: why there is no data; of the kind that its status names.
    """
    mark = new_mark()
    heard = _Heard(request.tell, is_followed=request.is_followed)
    try:
        done = run(
            (str(command),),
            deadline=until,
            stdin=question.body(),
            max_output_bytes=0,
            cancellation=request.cancellation,
            on_output=heard.add,
            environment=question.environment(mark),
            cwd="/",
        )
    except TimedOut as e:
        raise TimedOut(f"{question.where}: {command} did not end before its deadline and was killed") from e
    except Cancelled:
        raise
    except ActionAborted as e:
        raise ActionAborted(f"{question.where}: {_why_not_started(command, e)}") from e
    else:
        mark = ""
    finally:
        heard.end()
        if mark:
            end_strays(mark)
    if heard.stderr:
        _log.info("request %s: %s said %r", request.request_id or "-", question.where, heard.stderr)
    return _judged(question, command, done.returncode, heard)


def _judged(question: Question, command: Path, returncode: int, heard: _Heard) -> dict[str, Any]:
    where = question.where
    if not (returncode or question.is_answer_needed or heard.has_answer):
        return {}
    try:
        answer = heard.answer()
    except ValueError as e:
        if returncode:
            said = heard.stderr or "it said nothing on standard error"
            raise ActionAborted(f"{where}: {command} ended with status {returncode}: {said}") from e
        raise RequestError(f"{where}: {command} {e}") from e
    message = answer.message[:MAX_TEXT_LENGTH]
    if answer.status:
        kind = _FAILURES.get(answer.status)
        if kind is None:
            known = ", ".join(f"{status} ({Status(status).text})" for status in (0, *sorted(_FAILURES)))
            raise RequestError(f"{where}: {command} answered status {answer.status}, which is not one of {known}")
        raise kind(message or f"{where} failed, and says no more", answer.data)
    if returncode:
        said = heard.stderr or message or "it said nothing more"
        raise ActionAborted(f"{where}: {command} answered ok, and ended with status {returncode}: {said}")
    return answer.data


def _why_not_started(command: Path, error: ActionAborted) -> str:
    cause = error.__cause__
    why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause or error)
    hint = "; its first line has to name an interpreter that is installed (#!/bin/sh)"
    return f"{shlex.quote(str(command))} cannot be started: {why}{hint if isinstance(cause, OSError) else ''}"


class _Heard:
    """What an executable prints, bounded, as it comes."""

    def __init__(self, tell: Tell, *, is_followed: bool) -> None:
        self._tell = tell
        self._lines = Lines(tell) if is_followed else None
        self._stdout = b""
        self._stderr = b""
        self._has_begun = False  # the answer
        self._is_too_long = False

    @property
    def stderr(self) -> str:
        """The end of what it said, as one text."""
        lines = self._stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
        return " / ".join(line.strip() for line in lines if line.strip())[-1000:]

    @property
    def has_answer(self) -> bool:
        """Whether it printed anything that could be one."""
        return bool(self._stdout.strip())

    def add(self, stream: str, chunk: bytes) -> None:
        """Take what came."""
        if stream == "stderr":
            self._stderr = (self._stderr + chunk)[-MAX_TEXT_LENGTH:]
            if self._lines:
                self._lines.add(stream, chunk)
            return
        self._stdout += chunk
        while not self._has_begun and b"\n" in self._stdout:
            line, _, rest = self._stdout.partition(b"\n")
            self._has_begun = bool(line.strip()) and not self._told(line)
            if not self._has_begun:
                self._stdout = rest
        if len(self._stdout) > MAX_OUTPUT_BYTES:
            self._stdout, self._is_too_long = self._stdout[:MAX_OUTPUT_BYTES], True

    def end(self) -> None:
        """Tell the rest."""
        if self._lines:
            self._lines.__exit__()

    def answer(self) -> _Answer:
        """Return the answer; raise `ValueError` with what it is instead."""
        text = self._stdout.strip()
        if self._is_too_long:
            raise ValueError(f"printed more than the {MAX_OUTPUT_BYTES:,} bytes that are read")
        if not text:
            raise ValueError(f"printed no answer; expected {_EXAMPLE}")
        try:
            return msgspec.json.decode(text, type=_Answer)
        except msgspec.ValidationError as e:
            raise ValueError(f"printed an answer that is none: {e}; expected {_EXAMPLE}") from e
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            shown = text[:80].decode("utf-8", "replace")
            raise ValueError(f"did not print JSON: {e}; expected {_EXAMPLE}, found {shown!r}") from e

    def _told(self, line: bytes) -> bool:
        """Say whether a line is progress, and tell it."""
        try:
            made = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if (
            not isinstance(made, dict)
            or not isinstance(made.get("progress"), str)
            or made.keys() - {"progress", "data"}
        ):
            return False
        data = made.get("data", {})
        if not isinstance(data, dict):
            return False
        self._tell("progress", made["progress"][:MAX_TEXT_LENGTH], data)
        return True
