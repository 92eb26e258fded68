# SPDX-License-Identifier: Apache-2.0
"""What a lab needs of the machine: root, and a few programs; asked before anything is made."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from . import broker_files, cgroups
from .errors import LabError
from .process import find_program

_PACKAGES = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "iptables": "iptables",
    "epmd": "erlang-base",
}


_SYSTEMD_PACKAGES = {"systemd-nspawn": "systemd-container"}


def check(*, has_systemd: bool = False) -> None:
    """Make sure that a lab can be brought up here.

    Args:
        has_systemd: whether one of its hosts is to be booted by systemd.

    Raises:
        LabError: not root, or programs are missing; the text says which command mends it.
        NotPossibleHere: a host is to be booted by systemd, and there are no control groups.
    """
    if os.geteuid() != 0:
        command = shlex.join([str(Path(sys.argv[0]).absolute()), *sys.argv[1:]])
        raise LabError(f"a lab makes network namespaces, which needs root; run: sudo {command}")
    needed = _PACKAGES | (_SYSTEMD_PACKAGES if has_systemd else {})
    missing = {program: package for program, package in needed.items() if find_program(program) is None}
    try:
        broker_files.find_server()
    except LabError:
        missing["rabbitmq-server"] = "rabbitmq-server"
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        raise LabError(
            f"not installed: {', '.join(missing)}; run `make setup`, or install the Debian packages: "
            f"apt-get install {packages}"
        )
    if has_systemd:
        cgroups.require()
