# SPDX-License-Identifier: Apache-2.0
"""The agent for files: what they are, what is in them, and changes in folders that the node allows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from mco_rpc.agent import NodeView

from .allowed import SETTING_NAMES, Allowed
from .changing import Changing
from .reading import Reading

__all__ = ["File"]


class File(Reading, Changing):
    """Look at files, read them, and change them where that is allowed.

    `agents: {file: {...}}` of the node's configuration has three lists of folders. `readable` (/etc, /opt, /srv, /usr
    and /var/log): files and folders there that every user of the host may read can be searched, shown and listed.
    `readable_private` (/var/log): the same for what not every user may read. `writable` (none): where files can be
    made, changed and removed. Password files, devices, /proc, /sys and the node's own key are never read, and its
    settings never changed, whatever is configured. What a file is, and its checksum, is told of every path, as the data
    source fstat does.
    """

    name = "file"
    setting_names = SETTING_NAMES
    timeout_s = 30.0

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        Allowed.of(self.settings, {})  # what is wrong with it is said at the start

    @functools.cached_property
    def allowed(self) -> Allowed:
        """What may be read and changed here."""
        return Allowed.of(self.settings, self._node.settings() if self._node else {})
