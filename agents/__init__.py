# SPDX-License-Identifier: Apache-2.0
"""What can be asked: one file an agent, found by the node through its entry point."""
