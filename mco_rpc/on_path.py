# SPDX-License-Identifier: Apache-2.0
"""Is a command installed? As `shutil.which` says, without the compression libraries that come with it."""

from __future__ import annotations

import os


def on_path(command: str) -> str | None:
    """Return the file that is run under this name, None if there is none.

    >>> on_path("sh").endswith("/sh"), on_path("no-such-command"), on_path("/bin/sh")
    (True, None, '/bin/sh')
    """
    folders = [""] if os.path.dirname(command) else os.environ.get("PATH", os.defpath).split(os.pathsep)  # noqa: PTH120
    for folder in folders:
        file = os.path.join(folder, command)  # noqa: PTH118 - an empty folder is the current one
        if os.path.isfile(file) and os.access(file, os.X_OK):  # noqa: PTH113
            return file
    return None
