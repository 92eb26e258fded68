# SPDX-License-Identifier: Apache-2.0
"""``mco host``: how hosts fare; the fullest, busiest first."""

from __future__ import annotations

from mco_client.cli.application import Verb, application, fields
from mco_client.cli.rows import Column, as_age, as_bytes, as_percent, table

_USED = Column("used_percent", "used%", as_percent)
_UP = {"true": "green", "false": "red"}


def _bytes(*names: str) -> list[Column]:
    return [Column(f"{name}_bytes", name.replace("_", " "), as_bytes) for name in names]


host = application(
    "host",
    "See how hosts fare: load, memory, disks, network, kernel.",
    {
        "load": Verb(
            "the load, the busiest first",
            (),
            table("", "load1", "load5", "load15", "cpus", "per_cpu", "running", first_by="per_cpu"),
        ),
        "memory": Verb(
            "memory and swap, the fullest first",
            (),
            table(
                "",
                *_bytes("total", "available"),
                _USED,
                *_bytes("swap_total"),
                Column("swap_used_percent", "swap used%", as_percent),
                first_by="used_percent",
            ),
        ),
        "disks": Verb(
            "file systems, the fullest first",
            ("path?",),
            table("disks", "mount", *_bytes("size", "used", "available"), _USED, "device", first_by="used_percent"),
        ),
        "mounts": Verb("what is mounted where", ("mount?",), table("mounts", "mount", "device", "type")),
        "interfaces": Verb(
            "network interfaces",
            ("interface?",),
            table("interfaces", "interface", Column("is_up", "up", colours=_UP), "mtu", "mac", "addresses"),
        ),
        "routes": Verb("routes", (), table("routes", "destination", "gateway", "interface", "metric")),
        "users": Verb("users", ("user?",), table("users", "user", "uid", "group", "home", "shell")),
        "groups": Verb("groups", ("group?",), table("groups", "group", "gid", Column("members", is_last=True))),
        "clock": Verb("the time, and whether it is kept", (), fields("is_synchronised", "offset_s", "timezone")),
        "sysctl": Verb("a setting of the kernel", ("name",), fields("value", is_grouped=True)),
        "set_sysctl": Verb("change one", ("name", "value"), fields("changed", "before", "after", "persisted")),
        "kernel": Verb("which kernel runs", (), fields("release", "is_reboot_required", is_grouped=True)),
        "pressure": Verb(
            "who waits for processor, memory, disk", (), fields("cpu_some_avg10", "memory_full_avg10", "io_full_avg10")
        ),
        "uptime": Verb("since when they run", (), table("", Column("uptime_s", "up", as_age), first_by="uptime_s")),
        "os": Verb("which system they have", (), fields("name", "version", "architecture", is_grouped=True)),
        "block_devices": Verb(
            "disks and partitions",
            ("device?",),
            table("block_devices", "name", "kind", *_bytes("size"), "model", "mounts"),
        ),
    },
    words="ACTION",
    examples="""\
  mco host load                                   who is busy?
  mco host disks                                  the fullest first
  mco host memory -C /db/
  mco host sysctl net.ipv4.ip_forward             the same everywhere?
  mco host os""",
)
