# SPDX-License-Identifier: Apache-2.0
"""The agent that says how the machine is; it reads the kernel's files itself, and judges nothing.

Interfaces and memory are psutil's to tell: it costs 1.2 MiB and 13 ms when one of them is first asked for, and
nothing before.
"""

from __future__ import annotations

from .accounts import Accounts
from .machine import Machine
from .network import Network
from .settings import KernelSettings
from .storage import Storage

__all__ = ["Host"]


class Host(Machine, Storage, Network, Accounts, KernelSettings):
    """Say how the machine is: load, memory, disks, network, users, clock and kernel.

    In a container, and on a host of the lab, what the kernel counts for the whole machine is the machine's: load,
    memory, uptime, and pressure without `cgroup`. `sysctl_file` (of ``agents: {host: {...}}``) is where `set_sysctl`
    with `persist` writes, /etc/sysctl.d/90-mco.conf unless it is set.
    """

    name = "host"
    setting_names = ("sysctl_file",)
    timeout_s = 15.0
