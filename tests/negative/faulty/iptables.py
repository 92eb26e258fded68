# SPDX-License-Identifier: Apache-2.0
"""An iptables agent that is wrong in the way that the host's /run/mco-fault names."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from mco_agents.iptables import Iptables

FAULT = Path("/run/mco-fault")


def fault() -> str:
    return FAULT.read_text().strip() if FAULT.exists() else ""


class Faulty(Iptables):
    """Claim, lie, raise, hang or die instead of blocking."""

    name = "iptables"

    def block(self, ipaddr: str, force: bool = False) -> dict[str, Any]:
        match fault():
            case "claims" | "claims and swears":
                return {
                    "output": f"{ipaddr} is blocked",
                    "blocked": True,
                    "changed": True,
                    "before": False,
                    "after": True,
                }
            case "raises":
                raise RuntimeError("the packet filter is on fire")
            case "hangs":
                time.sleep(60)
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "wrong type":
                return {"blocked": "yes"}
        return super().block(ipaddr, force)

    def isblocked(self, ipaddr: str) -> dict[str, Any]:
        if fault() == "claims and swears":
            return {"output": f"{ipaddr} is blocked", "blocked": True, "rule": None}
        return super().isblocked(ipaddr)


for _name in ("block", "isblocked"):
    getattr(Faulty, _name).__mco_action__ = getattr(Iptables, _name).__mco_action__
