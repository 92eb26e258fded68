# SPDX-License-Identifier: Apache-2.0
"""Who ends a run does not leave half of an undo behind."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from mco_client.bdd.signals import term_interrupts, uninterrupted

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def test_term_is_an_interruption_and_only_inside() -> None:
    before = handlers()
    with pytest.raises(KeyboardInterrupt):
        run_ended()
    assert handlers() == before


def run_ended() -> None:
    with term_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_must_not_be_cut_short_is_not(number: signal.Signals) -> None:
    # Given work in the middle of which a signal comes
    before, done = handlers(), []

    def work() -> None:
        with uninterrupted() as came:
            os.kill(os.getpid(), number)
            done.append(list(came))

    # Then it is done to its end, and the signal is delivered then
    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [[number]]
    assert handlers() == before


def test_a_signal_is_delivered_also_if_the_work_failed() -> None:
    def work() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("failed")

    with pytest.raises(KeyboardInterrupt) as told:
        work()
    assert isinstance(told.value.__context__, ValueError)


def test_without_a_signal_nothing_is_changed() -> None:
    before = handlers()
    with uninterrupted() as came:
        pass
    assert came == []
    with pytest.raises(ValueError, match="failed"), uninterrupted():
        raise ValueError("failed")
    assert handlers() == before


def test_another_thread_than_the_main_one_is_left_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with uninterrupted(), term_interrupts():
            seen.append(handlers())

    before = handlers()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert seen == [before]
