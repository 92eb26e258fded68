# SPDX-License-Identifier: Apache-2.0
"""How the machine fares, and what it is: the part of the host agent that is about all of it."""

from __future__ import annotations

from typing import Any

from mco_host import kernel, machine
from mco_rpc.agent import Agent, Aggregate, Input, Output, action, command_exists

OF_MACHINE = "; in a container, that of the machine it runs on"
CGROUP = Input(
    "string",
    "A cgroup, as a path below the hierarchy; self: the daemon's own; nothing: the whole machine",
    prompt="Cgroup",
    optional=True,
    max_length=512,
    validate=r"/[A-Za-z0-9_.@:\\\/-]+/",
)
_PRESSURE = (
    "some_avg10, some_avg60, some_avg300, some_total_us, and the same with full: the percentage of time in which "
    "some, or all, waited for it"
)


class Machine(Agent):
    """Say how the machine fares, and what it is."""

    @action(
        "Say how busy the machine is",
        outputs={
            "load1": Output("float", f"Processes that wanted to run, over a minute{OF_MACHINE}", display_as="Load 1"),
            "load5": Output("float", f"The same over five minutes{OF_MACHINE}", display_as="Load 5"),
            "load15": Output("float", f"The same over 15 minutes{OF_MACHINE}", display_as="Load 15"),
            "cpus": Output("integer", "Processors", display_as="CPUs"),
            "per_cpu": Output("float", "load1 by processor", display_as="Per CPU"),
            "running": Output("integer", "Threads that run or want to, just now", display_as="Running"),
            "threads": Output("integer", "Threads in all", display_as="Threads"),
        },
        aggregates=[Aggregate("average", "load1", "%.2f"), Aggregate("max", "load1"), Aggregate("max", "per_cpu")],
    )
    def load(self) -> dict[str, Any]:
        """Ask the kernel."""
        return machine.load()

    @action(
        "Say how much memory is left",
        outputs={
            "total_bytes": Output("integer", f"Memory in all{OF_MACHINE}", display_as="Total"),
            "available_bytes": Output("integer", "What programs can get without swapping", display_as="Available"),
            "used_bytes": Output("integer", "What they cannot", display_as="Used"),
            "free_bytes": Output("integer", "What is used for nothing at all", display_as="Free"),
            "buffers_bytes": Output("integer", "Buffers of the kernel", display_as="Buffers"),
            "cached_bytes": Output("integer", "Files that are kept in memory", display_as="Cached"),
            "shared_bytes": Output("integer", "Shared memory and files in memory only", display_as="Shared"),
            "used_percent": Output("float", "What is not available, of all", display_as="Used %"),
            "swap_total_bytes": Output("integer", "Swap in all", display_as="Swap"),
            "swap_used_bytes": Output("integer", "Swap that is used", display_as="Swap used"),
            "swap_used_percent": Output("float", "Swap that is used; 0 where there is none", display_as="Swap used %"),
        },
        aggregates=[
            Aggregate("average", "used_percent", "%.1f"),
            Aggregate("max", "used_percent"),
            Aggregate("max", "swap_used_percent"),
        ],
    )
    def memory(self) -> dict[str, Any]:
        """Ask the kernel."""
        return machine.memory()

    @action(
        "Say how much time is lost to waiting for processors, memory and disks",
        inputs={"cgroup": CGROUP},
        outputs={
            "cpu": Output("hash", _PRESSURE, display_as="CPU", default={}),
            "memory": Output("hash", _PRESSURE, display_as="Memory", default={}),
            "io": Output("hash", _PRESSURE, display_as="I/O", default={}),
            "cpu_some_avg10": Output("float", "cpu's some_avg10", display_as="CPU some 10 s"),
            "memory_full_avg10": Output("float", "memory's full_avg10", display_as="Memory full 10 s"),
            "io_full_avg10": Output("float", "io's full_avg10", display_as="I/O full 10 s"),
            "cpu_stat": Output("hash", "What the cgroup counted of its processors' time", display_as="CPU", default={}),
            "cgroup": Output("string", "Folder of the cgroup that was asked for", display_as="Cgroup"),
        },
        aggregates=[Aggregate("max", name) for name in ("cpu_some_avg10", "memory_full_avg10", "io_full_avg10")],
    )
    def pressure(self, cgroup: str | None = None) -> dict[str, Any]:
        """Ask the kernel for what it calls pressure stall information."""
        told = machine.pressure(cgroup)
        return told | {
            "cpu_some_avg10": told["cpu"].get("some_avg10"),
            "memory_full_avg10": told["memory"].get("full_avg10"),
            "io_full_avg10": told["io"].get("full_avg10"),
        }

    @action(
        "Say since when the machine runs",
        outputs={
            "uptime_s": Output("float", f"Seconds since the boot{OF_MACHINE}", display_as="Uptime"),
            "booted_at": Output("float", "When that was, in seconds since the epoch", display_as="Booted"),
        },
        aggregates=[Aggregate("min", "uptime_s"), Aggregate("max", "uptime_s")],
    )
    def uptime(self) -> dict[str, Any]:
        """Ask the kernel."""
        return machine.uptime()

    @action(
        "Say which system the machine has",
        outputs={
            "id": Output("string", "The distribution in one word, such as debian", display_as="Distribution"),
            "name": Output("string", "Its whole name", display_as="Name"),
            "version": Output("string", "Its version, such as 12", display_as="Version"),
            "codename": Output("string", "The name of its version", display_as="Code name"),
            "like": Output("array", "What it was made from", display_as="Like", default=[]),
            "architecture": Output("string", "Kind of processor, such as x86_64", display_as="Architecture"),
            "hostname": Output("string", "What the machine calls itself", display_as="Host name"),
            "virtualization": Output(
                "string",
                "What it runs in, such as kvm, lxc or none, in the words of systemd",
                display_as="Virtualization",
            ),
        },
        aggregates=[Aggregate("summary", "name"), Aggregate("summary", "architecture")],
    )
    def os(self) -> dict[str, Any]:
        """Read what the distribution says of itself."""
        told = machine.system()
        if command_exists("systemd-detect-virt")({}) is None:  # it ends with status 1 where there is nothing to detect
            told["virtualization"] = self.run("systemd-detect-virt").stdout.strip() or None
        return told

    @action(
        "Say what time it is, and whether that is sure",
        outputs={
            "time": Output("float", "Seconds since the epoch, by the machine's clock", display_as="Time"),
            "utc_offset_s": Output("integer", "How far its local time is before UTC", display_as="UTC offset"),
            "timezone": Output("string", "Name of its zone, such as Europe/Berlin", display_as="Time zone"),
            "is_synchronised": Output(
                "boolean", "Whether the kernel was told that something keeps it right", display_as="Synchronised"
            ),
            "offset_s": Output("float", "How far the kernel still is from what it was told", display_as="Offset"),
            "max_error_s": Output("float", "How far off it is at most", display_as="Error at most"),
        },
        aggregates=[Aggregate("summary", "is_synchronised"), Aggregate("summary", "timezone")],
    )
    def clock(self) -> dict[str, Any]:
        """Ask the kernel."""
        return machine.clock()

    @action(
        "Say which kernel runs",
        outputs={
            "release": Output("string", "Its release, as of uname -r", display_as="Release"),
            "version": Output("string", "When and how it was made", display_as="Version"),
            "architecture": Output("string", "Kind of processor", display_as="Architecture"),
            "command_line": Output("string", "What it was started with", display_as="Command line"),
            "modules": Output("array", "Modules that are loaded", display_as="Modules", default=[]),
            "taint": Output("integer", "Bits that say what makes it unsupported; 0 is clean", display_as="Taint"),
            "is_reboot_required": Output(
                "boolean",
                "Whether a package says that the machine has to be started anew",
                display_as="Reboot required",
            ),
            "reboot_required_by": Output("array", "Packages that say so", display_as="Because of", default=[]),
        },
        aggregates=[Aggregate("summary", "release"), Aggregate("summary", "is_reboot_required")],
    )
    def kernel(self) -> dict[str, Any]:
        """Ask it."""
        return kernel.kernel()
