# SPDX-License-Identifier: Apache-2.0
"""Wait until an AMQP broker answers at an address; run as a program, inside the namespace that can see it.

Ends only when the broker answers: whoever starts it watches the broker and the clock. Imports as little as it can.
"""

import socket
import sys
import time

PAUSE_S = 0.01
_HELLO = b"AMQP\x00\x00\x09\x01"
# A method frame on channel 0 that carries connection.start: the broker accepts connections and talks.
_METHOD_FRAME, _CONNECTION_START = 1, b"\x00\x0a\x00\x0a"


def answers(host: str, port: int) -> bool:
    """Say whether a broker opens a conversation at ``host:port``."""
    try:
        with socket.create_connection((host, port), timeout=5.0) as connection:
            connection.sendall(_HELLO)
            frame = connection.recv(11)
    except OSError:
        return False
    return len(frame) == 11 and frame[0] == _METHOD_FRAME and frame[7:] == _CONNECTION_START


if __name__ == "__main__":
    while not answers(sys.argv[1], int(sys.argv[2])):
        time.sleep(PAUSE_S)
