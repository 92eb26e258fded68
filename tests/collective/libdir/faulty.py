# SPDX-License-Identifier: Apache-2.0
"""An agent with every fault that an agent can have, for tests."""

from __future__ import annotations

import sys
import threading
from typing import Any

from mco_rpc.agent import Agent, Input, Output, action
from mco_rpc.errors import ActionAborted, RequestError

NUMBER = Output("integer", "a number", default=0)
ANYTHING = Output("any", "anything")
KIND = Input("list", "which fault", choices=("wrong type", "undeclared", "no mapping", "nothing"))
WAIT_S = 60.0


class Unspeakable(Exception):
    """An error that fails when it is shown."""

    def __str__(self) -> str:
        raise OSError("no words")


class OddStatus(RequestError):
    """An error with a status that there is not."""

    status = 99  # type: ignore[assignment]


class Faulty(Agent):
    """Fail in every way; `gate` lets what waits go on."""

    def __init__(self, node: Any = None, settings: Any = None) -> None:
        super().__init__(node, settings)
        self.gate = threading.Event()
        self.begun = threading.Semaphore(0)
        self.ran = 0
        self._lock = threading.Lock()

    @action("Count the calls", inputs={"text": Input("string", "anything", optional=True)}, outputs={"number": NUMBER})
    def count(self, text: str = "") -> dict[str, Any]:
        """Count."""
        with self._lock:
            self.ran += 1
            return {"number": self.ran}

    @action("Return what comes in", inputs={"what": Input("any", "anything")}, outputs={"what": ANYTHING})
    def echo(self, what: Any) -> dict[str, Any]:
        """Return the input."""
        return {"what": what}

    @action("Raise an error of Python", inputs={"text": Input("string", "what to say", max_length=20000)})
    def crash(self, text: str) -> dict[str, Any]:
        """Raise."""
        raise ValueError(text)

    @action("Refuse, with data")
    def refuse(self) -> dict[str, Any]:
        """Abort."""
        raise ActionAborted("not today", {"number": 7})

    @action("Leave the process")
    def leave(self) -> dict[str, Any]:
        """Exit."""
        sys.exit("bye")

    @action("Raise what cannot be shown")
    def choke(self) -> dict[str, Any]:
        """Raise an error without words."""
        raise Unspeakable

    @action("Raise an error with a status of its own making")
    def invent(self) -> dict[str, Any]:
        """Raise an error with an odd status."""
        raise OddStatus("odd")

    @action("Hang past the deadline", outputs={"number": NUMBER}, timeout_s=0.05)
    def hang(self) -> dict[str, Any]:
        """Wait for the gate; time is over first."""
        return self.wait()

    @action("Wait until the test says so", outputs={"number": NUMBER}, timeout_s=WAIT_S)
    def wait(self) -> dict[str, Any]:
        """Wait for the gate, within the deadline."""
        self.begun.release()
        self.gate.wait(WAIT_S)
        return {"number": 1}

    @action("Wait as well, and change something", outputs={"number": NUMBER}, mutating=True)
    def change(self) -> dict[str, Any]:
        """Count."""
        return self.count()

    @action("Return what the schema does not allow", inputs={"kind": KIND}, outputs={"number": NUMBER})
    def lie(self, kind: str) -> Any:
        """Return it."""
        return {
            "wrong type": {"number": "seven"},
            "undeclared": {"nmber": 7},
            "no mapping": ["number", 7],
            "nothing": None,
        }[kind]

    @action("Return what JSON cannot say", inputs={"kind": Input("string", "which")}, outputs={"what": ANYTHING})
    def mumble(self, kind: str) -> dict[str, Any]:
        """Return it."""
        loop: dict[str, Any] = {}
        loop["loop"] = loop
        odd: dict[str, Any] = {"object": object(), "half": "\ud800", "loop": loop, "key": {(1, 2): 3}}
        return {"what": odd[kind]}

    @action("Print a lot", outputs={"number": NUMBER})
    def shout(self) -> dict[str, Any]:
        """Print 10 MB in one go and as much in lines."""
        print("x" * 10_000_000)
        return {"number": 1}

    @action("Return a lot", inputs={"size_bytes": Input("integer", "how much")}, outputs={"what": ANYTHING})
    def flood(self, size_bytes: int) -> dict[str, Any]:
        """Return that much."""
        return {"what": "x" * size_bytes}
