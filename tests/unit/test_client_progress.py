# SPDX-License-Identifier: Apache-2.0
"""A progress bar is for a person at a terminal who waits; nobody else sees anything of it."""

from __future__ import annotations

import io
import sys

import pytest

from mco_client import progress
from mco_client.progress import Progress


class Terminal(io.StringIO):
    """A standard error that is, or is not, a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def shown(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, is_wanted: bool, patience_s: float) -> str:
    terminal = Terminal(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE_S", patience_s)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Progress(is_wanted=is_wanted) as bar:
        bar.expect(2)
        if patience_s < 1 and bar._timer is not None:
            bar._timer.join()
        bar.advance()
        bar.advance()
    return terminal.getvalue()


def test_a_person_who_waits_sees_how_many_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "2/2" in shown(monkeypatch, is_terminal=True, is_wanted=True, patience_s=0.0)


@pytest.mark.parametrize(
    ("is_terminal", "is_wanted", "patience_s"), [(False, True, 0.0), (True, False, 0.0), (True, True, 3600.0)]
)
def test_nobody_else_sees_anything(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, is_wanted: bool, patience_s: float
) -> None:
    assert shown(monkeypatch, is_terminal=is_terminal, is_wanted=is_wanted, patience_s=patience_s) == ""


def interrupt(bar: Progress) -> None:
    with bar:
        bar.expect(1)
        assert bar._timer is not None
        bar._timer.join()
        assert bar._bar.live.is_started
        raise KeyboardInterrupt


def test_the_bar_is_taken_down_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    bar = Progress(is_wanted=True)
    with pytest.raises(KeyboardInterrupt):
        interrupt(bar)
    assert not bar._bar.live.is_started


def test_who_waits_sees_it_before_anybody_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Progress(is_wanted=True) as bar:
        bar.expect(7)
        assert bar._timer is not None
        bar._timer.join()
        assert "0/7" in terminal.getvalue()


def test_a_terminal_that_moves_no_cursor_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    monkeypatch.setenv("TERM", "dumb")
    with Progress(is_wanted=True) as bar:
        bar.expect(7)
        bar.advance()
    assert terminal.getvalue() == ""
