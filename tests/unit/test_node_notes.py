# SPDX-License-Identifier: Apache-2.0
"""A signal wakes the main thread of a daemon whatever that does, and whichever thread the kernel gives it to."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import signal
import threading

from mco_node.notes import Notes

notes = Notes()
notes.heed([signal.SIGUSR1])
turn = threading.Semaphore(0)


def other() -> None:
    for _ in range(300):
        turn.acquire()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)


threading.Thread(target=other, daemon=True).start()
for number in range(300):
    turn.release()
    assert notes.get() == signal.SIGUSR1
for _ in range(100_000):
    notes.put()
for _ in range(100_000):
    assert notes.get() is None
print("all")
"""


def test_no_signal_is_slept_through() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("all\n", "")
