# SPDX-License-Identifier: Apache-2.0
"""The command ``mco``: one module a command, loaded when it is named; the work is done in `mco_client`."""
