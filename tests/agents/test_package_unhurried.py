# SPDX-License-Identifier: Apache-2.0
"""A package manager at work is left at work, whatever becomes of the request; its words are heard meanwhile."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mco_agents.package.unhurried import run_to_its_end
from mco_rpc.current import Cancellation, Current, working_for
from mco_rpc.errors import ActionAborted, Cancelled, TimedOut

LONG_S = 60.0


def run(script: str, folder: Path, time_s: float = LONG_S) -> tuple[int, str]:
    argv = ("sh", "-c", f"cd {folder}; {script}")
    done = run_to_its_end(argv, {"PATH": os.environ["PATH"]}, time.monotonic() + time_s, "install x")
    return done.returncode, done.stdout


def wait_for(file: Path) -> None:
    until = time.monotonic() + LONG_S
    while not file.exists():
        assert time.monotonic() < until, f"no sign of {file}"
        time.sleep(0.01)


def test_its_status_and_both_its_outputs_come_back(tmp_path: Path) -> None:
    assert run("echo out; echo err >&2; exit 3", tmp_path) == (3, "out\nerr\n")


def test_of_very_much_the_end_is_kept(tmp_path: Path) -> None:
    _, said = run("head -c 3000000 /dev/zero; echo end", tmp_path)
    assert said.endswith("end\n")
    assert len(said) <= 1024 * 1024


def test_at_the_deadline_it_goes_on_alone(tmp_path: Path) -> None:
    # When the deadline passes before it can end
    with pytest.raises(TimedOut, match=r"install x: `sh` \(process \d+\) is still at work; it was not killed"):
        run("while [ ! -e go ]; do sleep 0.01; done; echo more; touch done", tmp_path, time_s=0.3)

    # Then it was not ended, and ends by itself; nobody reads what it prints, and that does not harm it
    assert not (tmp_path / "done").exists()
    (tmp_path / "go").touch()
    wait_for(tmp_path / "done")


def test_a_cancellation_is_obeyed_before_it_begins_and_not_after(tmp_path: Path) -> None:
    # Given a caller who cancels when he hears that it has begun
    wish = Cancellation()

    def tell(_stream: str, _text: str, _data: object) -> None:
        wish.cancel("enough")
        (tmp_path / "go").touch()

    with working_for(Current(is_followed=True, tell=tell, cancellation=wish)):
        # Then it ends as it should all the same
        status, _ = run("echo begun; while [ ! -e go ]; do sleep 0.01; done; touch done", tmp_path)
        assert (status, (tmp_path / "done").exists()) == (0, True)

        # And the next is not begun
        with pytest.raises(Cancelled):
            run("touch never", tmp_path)
    assert not (tmp_path / "never").exists()


def test_who_follows_hears_all_of_it(tmp_path: Path) -> None:
    heard: list[str] = []
    with working_for(Current(is_followed=True, tell=lambda _stream, text, _data: heard.append(text))):
        run("seq 30000; printf end", tmp_path)
    assert "".join(heard) == "".join(f"{number}\n" for number in range(1, 30001)) + "end"


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ActionAborted, match="`/no/such` cannot be started: No such file"):
        run_to_its_end(("/no/such",), {}, time.monotonic() + LONG_S, "install x")
