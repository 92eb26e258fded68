# SPDX-License-Identifier: Apache-2.0
"""The data source about files: what a look at one tells, and digests of small ones; never what is in it."""

from __future__ import annotations

import time
from typing import Any

from mco_host import files
from mco_host.digests import digests_of
from mco_rpc.data import DataSource, Input, Output, time_left_s
from mco_rpc.errors import FilterError
from mco_rpc.validation import shown

ARGUMENTS = {"path": Input("string", "Absolute path of a file", max_length=4096)}
DIGESTS = {
    "md5": ("string", "Digest of its content, if it is a file that is not too large"),
    "sha256": ("string", "Digest of its content, if it is a file that is not too large"),
    "digest_problem": ("string", "Why there are no digests"),
}
FIELDS = {name: Output(*meant) for name, meant in (files.FIELDS | DIGESTS | files.TIME_FIELDS).items()}
MAX_DIGEST_BYTES = 16 * 1024 * 1024


class Fstat(DataSource):
    """Look at a file; a symbolic link is looked at itself."""

    arguments = ARGUMENTS
    fields = FIELDS
    setting_names = ("max_digest_bytes",)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._max_digest_bytes = self.setting("max_digest_bytes", MAX_DIGEST_BYTES)

    def query(self, path: str) -> dict[str, Any]:
        """Return what the file is; abort if that cannot be known, for that is not the same as missing."""
        if not path.startswith("/"):
            raise FilterError(f"expected an absolute path such as /etc/hosts, got {shown(path)}")
        fields, seen = files.look(path)
        if seen is None:
            return fields
        if fields["type"] != "file":
            return {**fields, "digest_problem": f"it is a {fields['type']}"}
        until = time.monotonic() + time_left_s(self.timeout_s)
        return fields | digests_of(path, seen, max_bytes=self._max_digest_bytes, until=until)
