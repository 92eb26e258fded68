# SPDX-License-Identifier: Apache-2.0
"""What a machine can be asked on the spot, for the agents and the data sources; it knows no node and no network."""
