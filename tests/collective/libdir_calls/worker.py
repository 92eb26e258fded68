# SPDX-License-Identifier: Apache-2.0
"""An agent that tells, streams, waits, changes and fails, for tests of calls."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from mco_rpc.agent import Agent, Input, Output, action, deadline, time_left_s
from mco_rpc.errors import ActionAborted
from mco_rpc.status import Status

SCRIPT = Input("string", "what sh runs", max_length=2000)
COUNT = Input("integer", "how many")
FILE = Input("string", "a file", max_length=500)
WAIT_S = 60.0


class Worker(Agent):
    """Work in every way; `gate` lets what waits go on, `begun` says that it waits."""

    def __init__(self, node: Any = None, settings: Any = None) -> None:
        super().__init__(node, settings)
        self.gate = threading.Event()
        self.begun = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.installed = "1.0"
        self.ran: list[str] = []
        self.failures: list[Status] = []
        self.deadlines: list[float | None] = []

    @action("Tell so many things", inputs={"count": COUNT}, outputs={"count": Output("integer", "how many")})
    def talk(self, count: int) -> dict[str, Any]:
        """Tell them."""
        for number in range(1, count + 1):
            self.tell(f"step {number}", number=number)
        return {"count": count}

    @action("Run a script", inputs={"script": SCRIPT}, outputs={"stdout": Output("string", "it")}, timeout_s=WAIT_S)
    def script(self, script: str) -> dict[str, Any]:
        """Run it, streamed."""
        self.ran.append(script)
        self.begun.release()
        return {"stdout": self.run("sh", "-c", script, is_streamed=True).stdout}

    @action("Run a script in silence", inputs={"script": SCRIPT}, timeout_s=WAIT_S)
    def silent(self, script: str) -> dict[str, Any]:
        """Run it."""
        self.run("sh", "-c", script)
        return {}

    @action("Loop until it is cancelled", timeout_s=WAIT_S)
    def loop(self) -> dict[str, Any]:
        """Look now and then."""
        self.begun.release()
        while not self.gate.wait(0.001):
            self.check_cancelled()
        return {}

    @action("Wait for the gate, deaf to all wishes", timeout_s=WAIT_S)
    def wait(self) -> dict[str, Any]:
        """Wait."""
        self.ran.append("wait")
        self.begun.release()
        self.gate.wait(WAIT_S)
        return {}

    @action("Go on past the deadline, and tell", timeout_s=0.05)
    def overrun(self) -> dict[str, Any]:
        """Tell before and after."""
        self.tell("before")
        self.gate.wait(WAIT_S)
        self.tell("after")
        self.ended.release()
        return {}

    @action(
        "Install a version",
        inputs={"version": Input("string", "which", max_length=10)},
        outputs={"changed": Output("boolean", "whether it is another one")},
        mutating=True,
        noop=True,
    )
    def install(self, version: str) -> dict[str, Any]:
        """Install it, or say whether it would change anything."""
        changed = version != self.installed
        if not self.is_noop:
            self.installed = version
        return {"changed": changed}

    @action("Change something without being able to say what would be", mutating=True)
    def change(self) -> dict[str, Any]:
        """Change."""
        self.ran.append("change")
        return {}

    @action("Fail as often as the test says", outputs={"ran": Output("integer", "how often it was asked")})
    def flaky(self) -> dict[str, Any]:
        """Fail, or not."""
        self.ran.append("flaky")
        if self.failures:
            raise type("Failure", (ActionAborted,), {"status": self.failures.pop(0)})("not yet")
        return {"ran": len(self.ran)}

    @action(
        "Say the deadline",
        outputs={"left_s": Output("float", "seconds"), "thread": Output("string", "its name")},
        timeout_s=7.0,
        is_inline=True,
    )
    def peek(self) -> dict[str, Any]:
        """Answer at once."""
        self.deadlines.append(deadline.get())
        return {"left_s": time_left_s(-1.0), "thread": threading.current_thread().name}

    @action("Fail at once", is_inline=True)
    def burst(self) -> dict[str, Any]:
        """Fail."""
        raise ValueError("burst")

    @action("Leave at once", is_inline=True)
    def leave(self) -> dict[str, Any]:
        """Exit."""
        raise SystemExit("bye")

    @action("Say who asks", inputs={"file": FILE}, outputs={"caller": Output("string", "who")})
    def touch(self, file: str) -> dict[str, Any]:
        """Make a file."""
        Path(file).touch()
        return {"caller": "x"}
