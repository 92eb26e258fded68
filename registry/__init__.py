# SPDX-License-Identifier: Apache-2.0
"""The registry: keeps what nodes say unasked, and answers who should be there.

It only listens and answers; it never asks a node, changes nothing on one, and believes no node about another.
"""
