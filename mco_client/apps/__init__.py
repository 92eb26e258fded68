# SPDX-License-Identifier: Apache-2.0
"""The applications that come with `mco`: one file an agent, each a table of words and how its answers read best."""
