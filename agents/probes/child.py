# SPDX-License-Identifier: Apache-2.0
"""The process that asks one question: JSON in, JSON out; `mco_agents.probes.ask` starts it, and nobody else."""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

from mco_rpc.errors import RequestError
from mco_rpc.status import Status

from . import REFUSED
from .faults import fault_of


def answer(probe: str, question: dict[str, Any]) -> dict[str, Any]:
    """Return what a probe finds, why it reached nobody, or why it could not be asked."""
    try:
        ask = importlib.import_module(f"{__package__}.{probe}").probe
        with _bounded(question["timeout_s"]):
            return ask(**question)  # type: ignore[no-any-return]
    except RequestError as e:
        return {REFUSED: int(e.status), "reason": str(e)}
    except ImportError as e:
        return {REFUSED: int(Status.ABORTED), "reason": f"{e.name or e} is not installed on this node"}
    except OSError as e:
        return fault_of(e)
    except Exception as e:  # whatever others sent: a caller gets no traceback of it
        reason = f"what came cannot be read: {type(e).__name__}: {e}"
        return {REFUSED: int(Status.UNKNOWN_ERROR), "reason": reason[:500]}


@contextlib.contextmanager
def _bounded(timeout_s: float) -> Iterator[None]:
    """Bound all waits of a probe together, such as those for an answer that comes a byte a second."""

    def late(*_: object) -> None:
        raise TimeoutError(f"no answer within {timeout_s:g} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    json.dump(answer(sys.argv[1], json.load(sys.stdin)), sys.stdout)
