# SPDX-License-Identifier: Apache-2.0
"""Settings of the kernel: the one part of the host agent that changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mco_host import kernel
from mco_host.sysctl_file import SysctlFile
from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action
from mco_rpc.errors import ActionAborted
from mco_rpc.turns import Turns

SYSCTL_FILE = "/etc/sysctl.d/90-mco.conf"
NAME = Input(
    "string",
    "A setting of the kernel, such as net.ipv4.ip_forward",
    prompt="Setting",
    max_length=256,
    validate=r"/[A-Za-z0-9][A-Za-z0-9_.\/:@+-]*/",
)
VALUE = Input("string", "What it shall be", prompt="Value", max_length=1024, validate=r"/[\x20-\x7e\t]+/")
PERSIST = Input("boolean", "Also after the next start of the machine", prompt="Persist", default=False)


class KernelSettings(Agent):
    """Say and change settings of the kernel."""

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._file = SysctlFile(self.setting("sysctl_file", SYSCTL_FILE))
        self._turns = Turns()

    @action(
        "Say how a setting of the kernel is",
        inputs={"name": NAME},
        outputs={
            "value": Output("string", "Its value, with one space between numbers", display_as="Value"),
            "exists": Output("boolean", "Whether the kernel has it", display_as="Exists"),
        },
        aggregates=[Aggregate("summary", "value")],
    )
    def sysctl(self, name: str) -> dict[str, Any]:
        """Ask the kernel."""
        value = kernel.value_of(kernel.path_of(name))
        return {"value": value, "exists": value is not None}

    @action(
        "Change a setting of the kernel",
        inputs={"name": NAME, "value": VALUE, "persist": PERSIST},
        outputs={
            "changed": Output("boolean", "Whether anything was changed, or with noop would be", display_as="Changed"),
            "before": Output("string", "The value before", display_as="Before"),
            "after": Output("string", "The value now, or with noop would be", display_as="After"),
            "persisted": Output(
                "string", "What the agent's file sets it to at the next start, if it does", display_as="Persisted"
            ),
        },
        mutating=True,
        noop=True,
        aggregates=[Aggregate("summary", "changed"), Aggregate("summary", "after")],
    )
    def set_sysctl(self, name: str, value: str, persist: bool = False) -> dict[str, Any]:
        """Set it, and believe only what the kernel says then; those that start programs are refused."""
        file, wanted = kernel.path_of(name), kernel.normal(value)
        with self._turns.one(f"host#set_sysctl {name}", self.timeout_s):
            before = kernel.value_of(file)
            if before is None:
                raise ActionAborted(f"the kernel of this host has no setting {name}")
            if why_not := kernel.why_not_set(file):
                raise ActionAborted(why_not)
            persisted = self._file.value_of(name)
            is_new, is_kept_anew = before != wanted, persist and persisted != wanted
            if self.is_noop:
                return {"changed": is_new or is_kept_anew, "before": before, "after": wanted, "persisted": persisted}
            if is_new:
                kernel.set_value(file, wanted)
            after = kernel.value_of(file)
            if after != wanted:
                raise ActionAborted(f"the kernel made {after} of {wanted}, and it was {before} before: {file}")
            if is_kept_anew:
                self._file.set(name, wanted)
                persisted = self._file.value_of(name)
        return {"changed": is_new or is_kept_anew, "before": before, "after": after, "persisted": persisted}
