# SPDX-License-Identifier: Apache-2.0
"""How the daemon ends, in a number."""

EXIT_OK, EXIT_IDENTITY_TAKEN, EXIT_CONFIG, EXIT_STILL_RUNNING = 0, 1, 2, 3
