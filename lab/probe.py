# SPDX-License-Identifier: Apache-2.0
"""Try TCP connections, all at once, and print one line of JSON for each; run as a program on a host of the lab.

The status is 0 if every target was tried, whatever came of it. Imports as little as it can.
"""

import argparse
import errno
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Sequence

REFUSED, TIMED_OUT = "refused", "timed out"
_REASONS = {errno.ECONNREFUSED: REFUSED, errno.ETIMEDOUT: TIMED_OUT}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what the command line names; print the outcomes in its order."""
    parser = argparse.ArgumentParser(prog="python -m mco_lab.probe", description="Try TCP connections, all at once.")
    parser.add_argument("targets", nargs="+", metavar="HOST:PORT", type=_target)
    parser.add_argument("--timeout", type=float, default=2.0, metavar="SECONDS", help="default: 2")
    options = parser.parse_args(arguments)
    for outcome in probe(options.targets, options.timeout):
        print(json.dumps(outcome))
    return 0


def probe(targets: Sequence[tuple[str, int]], timeout_s: float) -> list[dict[str, object]]:
    """Return for every target whether a connection to it succeeds, if not why, and after how many seconds."""
    start = time.monotonic()
    reasons: dict[int, tuple[str | None, float]] = {}
    with selectors.DefaultSelector() as selector:
        for number, (host, port) in enumerate(targets):
            connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            code = connection.connect_ex((host, port))
            if code == errno.EINPROGRESS:
                selector.register(connection, selectors.EVENT_WRITE, number)
            else:
                reasons[number] = (_reason(code), time.monotonic() - start)
                connection.close()
        while selector.get_map() and (left_s := start + timeout_s - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                connection = key.fileobj  # type: ignore[assignment]
                code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                reasons[key.data] = (_reason(code), time.monotonic() - start)
                selector.unregister(connection)
                connection.close()
        for key in selector.get_map().values():
            reasons[key.data] = (TIMED_OUT, time.monotonic() - start)
            key.fileobj.close()  # type: ignore[union-attr]
    outcomes = []
    for number, (host, port) in enumerate(targets):
        reason, seconds = reasons[number]
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        outcomes.append({"target": target, "connected": reason is None, "reason": reason, "seconds": round(seconds, 4)})
    return outcomes


def _reason(code: int) -> str | None:
    """Return why a connection failed, None if it did not."""
    return None if code == 0 else _REASONS.get(code, os.strerror(code).lower())


def _target(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for instance 192.168.1.11:8080")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main())
