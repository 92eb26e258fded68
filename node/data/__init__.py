# SPDX-License-Identifier: Apache-2.0
"""Data sources: what filters can ask this node beyond its facts, one file a source."""
