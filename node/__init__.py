# SPDX-License-Identifier: Apache-2.0
"""Who answers: the daemon, its ladder from message to reply, facts, authorization and audit."""
