# SPDX-License-Identifier: Apache-2.0
"""Install the systemd unit of this very installation, for those who did not get it with a package.

Writes one file and changes nothing else: whoever installs it enables and starts it.
"""

from __future__ import annotations

import importlib.resources
import shlex
import sysconfig
from pathlib import Path

from mco_rpc.errors import ConfigError

UNIT = "mco-node.service"
FOLDER = Path("/etc/systemd/system")
_SHIPPED_COMMAND = "/usr/bin/mco-node"
_MODE = 0o644


def text(program: Path | None = None) -> str:
    """Return the unit that starts this installation's ``mco-node``, or another program."""
    program = program or Path(sysconfig.get_path("scripts"), "mco-node")
    shipped = importlib.resources.files("mco_systemd").joinpath(UNIT).read_text("utf-8")
    # systemd reads % and $ in a command as its own.
    command = shlex.quote(str(program)).replace("%", "%%").replace("$", "$$")
    return shipped.replace(f"ExecStart={_SHIPPED_COMMAND} ", f"ExecStart={command} ")


def install(folder: Path = FOLDER) -> tuple[Path, bool]:
    """Write the unit into a folder of systemd's; return where, and whether anything changed.

    Raises:
        ConfigError: the folder is not there, or may not be written to.
    """
    target, wanted = folder / UNIT, text()
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder; `mco-node install-unit --print` shows the unit")
    if target.is_symlink():
        raise ConfigError(f"{target} is a link to {target.readlink()} (a masked unit?); remove it first")
    if target.exists() and target.read_text("utf-8") == wanted:
        return target, False
    draft = folder / f".{UNIT}"
    try:
        draft.write_text(wanted, "utf-8")
        draft.chmod(_MODE)
        draft.rename(target)
    except PermissionError as e:
        raise ConfigError(f"{target} cannot be written: {e.strerror}; run as root, or use --print") from e
    return target, True
