# SPDX-License-Identifier: Apache-2.0
"""Run what must not be killed half-way: a package manager at work would leave packages half-installed.

It gets a file for its output, not a pipe, so that it goes on even if this process ends; and its own scope of systemd
where there is one, so that it goes on even if the unit of this process is stopped, perhaps by the very package.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Mapping

from mco_host import systemd
from mco_rpc.command import Completed
from mco_rpc.current import current
from mco_rpc.errors import ActionAborted, TimedOut
from mco_rpc.lines import Lines

# Of the time of a call, for saying how things are.
SPARE_S = 5.0
INTERVAL_S = 0.2
MAX_OUTPUT_BYTES = 1024 * 1024
_CHUNK_BYTES = 65536
_SCOPE = ("systemd-run", "--scope", "--quiet", "--collect", "--")


def run_to_its_end(argv: tuple[str, ...], environment: Mapping[str, str], deadline: float, doing: str) -> Completed:
    """Run a command; neither the deadline nor a cancellation ends it.

    Raises:
        TimedOut: it is still at work at the deadline, and goes on without us.
        ActionAborted: it cannot be started.
    """
    import subprocess
    import tempfile

    if time.monotonic() >= deadline:
        raise TimedOut(f"{doing}: no time was left to begin; nothing was changed")
    current().cancellation.check()
    with tempfile.TemporaryFile() as output, Lines(current().tell) as lines:
        full = (*_SCOPE, *argv) if _has_scopes() else argv
        try:
            process = subprocess.Popen(
                full, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        except OSError as e:
            raise ActionAborted(f"`{argv[0]}` cannot be started: {e.strerror}") from e
        ended = os.pidfd_open(process.pid)
        told = 0
        try:
            is_over = False
            while not is_over:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    # Somebody has to wait for it in the end.
                    threading.Thread(target=process.wait, name="package-manager", daemon=True).start()
                    raise TimedOut(
                        f"{doing}: `{argv[0]}` (process {process.pid}) is still at work; it was not killed, for that "
                        "would leave packages half-installed: ask for the status, later"
                    )
                is_over = bool(select.select([ended], [], [], min(INTERVAL_S, left_s))[0])
                told += _tell(lines, output.fileno(), told)
        finally:
            os.close(ended)
        process.wait()
        said = _whole(output.fileno())
    return Completed(argv, process.returncode, said, "")


def _tell(lines: Lines, fd: int, told: int) -> int:
    """Tell what was printed since, if anybody follows; return how much that was."""
    if not current().is_followed:
        return 0
    length = 0
    while chunk := os.pread(fd, _CHUNK_BYTES, told + length):
        lines.add("stdout", chunk)
        length += len(chunk)
    return length


def _whole(fd: int) -> str:
    """Return what was printed; of very much, the end."""
    size_bytes = os.fstat(fd).st_size
    return os.pread(fd, MAX_OUTPUT_BYTES, max(0, size_bytes - MAX_OUTPUT_BYTES)).decode("utf-8", "replace")


def _has_scopes() -> bool:
    return systemd.runs_here() and os.geteuid() == 0 and os.access("/usr/bin/systemd-run", os.X_OK)
