# SPDX-License-Identifier: Apache-2.0
"""behave's support: the runner, the hooks, and what the steps use to ask the fleet."""
