# SPDX-License-Identifier: Apache-2.0
"""A disposable fleet on one machine: a private broker and hosts that are network namespaces.

Nothing is imported here: the small programs of this package that run inside hosts start fast.
"""
