# SPDX-License-Identifier: Apache-2.0
"""The files and variables of a private RabbitMQ: everything it reads and writes is in one folder.

Starts nothing. Nothing of an installed server's own configuration, data or plug-in choice is used.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import LabError
from .process import find_program, system_environment

_DEBIAN_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_DEPENDENCIES = re.compile(r"\{\s*(?:included_)?applications\s*,\s*\[([^\]]*)\]")
_ALWAYS_LOADED = ("rabbit", "rabbitmq_prelaunch")
_SALT_BYTES = 4
NODE_NAME = "lab@localhost"


def find_server() -> Path:
    """Return the server's start script, the one that does not change the user.

    Raises:
        LabError: RabbitMQ is not installed.
    """
    if _DEBIAN_SERVER.exists():
        return _DEBIAN_SERVER
    found = find_program("rabbitmq-server")
    if not found:
        raise LabError(
            "rabbitmq-server is not installed; install the Debian package with `make setup` "
            "or `apt-get install rabbitmq-server`"
        )
    return Path(found)


def definitions(users: Mapping[str, str], vhosts: Iterable[str]) -> dict[str, Any]:
    """Return RabbitMQ definitions in which every user of name -> password may do all in every virtual host."""
    vhosts = list(vhosts)
    return {
        "users": [
            {
                "name": name,
                "password_hash": _password_hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "administrator",
            }
            for name, password in users.items()
        ],
        "vhosts": [{"name": vhost} for vhost in vhosts],
        "permissions": [
            {"user": user, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
            for user in users
            for vhost in vhosts
        ],
    }


def write_files(folder: Path, host: str, port: int, boot_definitions: Mapping[str, Any]) -> None:
    """Write the configuration, the cookie and the definitions a server of ``folder`` boots with."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    cookie = folder / "home/.erlang.cookie"
    cookie.write_text(secrets.token_hex(16))
    cookie.chmod(0o400)
    (folder / "definitions.json").write_text(json.dumps(boot_definitions))
    # No look-up leaves the machine, whatever its resolver is like.
    (folder / "inetrc").write_text('{lookup, [file]}.\n{host, {127,0,0,1}, ["localhost"]}.\n')
    (folder / "enabled_plugins").write_text("[].\n")
    (folder / "rabbitmq.conf").write_text(
        f"""listeners.tcp.1 = {host}:{port}
loopback_users = none
load_definitions = {folder}/definitions.json
log.console = true
log.console.use_colors = off
log.file = false
# A lab holds next to nothing: a small temporary file system must not stop publishers.
disk_free_limit.absolute = 1KB
# Thousands of idle connections: 92 instead of 128 KiB each, at the same latency.
tcp_listen_options.sndbuf = 65536
tcp_listen_options.recbuf = 65536
tcp_listen_options.nodelay = true
tcp_listen_options.backlog = 4096
tcp_listen_options.linger.on = true
tcp_listen_options.linger.timeout = 0
"""
    )


def environment(folder: Path, server: Path, dist_port: int, epmd_port: int) -> dict[str, str]:
    """Return the whole environment of a server that lives in ``folder``; nothing is inherited but PATH."""
    home = server.resolve().parent.parent
    slim = _slim_home(folder / "server", home)
    return {
        "PATH": system_environment()["PATH"],
        "LANG": "C.UTF-8",
        "HOME": f"{folder}/home",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_INETRC": f"{folder}/inetrc",
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RABBITMQ_NODENAME": NODE_NAME,
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_MNESIA_BASE": f"{folder}/data",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_PID_FILE": f"{folder}/pid",
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
        # These name nothing: left out, the machine's own files in /etc/rabbitmq would be read.
        "RABBITMQ_CONFIG_FILES": f"{folder}/conf.d",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
        "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        "RABBITMQ_SCRIPTS_DIR": f"{slim}/sbin",
        "RABBITMQ_PLUGINS_DIR": f"{slim}/plugins",
        # The script then becomes the server, instead of a shell that waits for it.
        "RUNNING_UNDER_SYSTEMD": "true",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"),
    }


def _slim_home(slim: Path, home: Path) -> Path:
    """Make a view of the server's ``home`` that has only the applications the broker itself needs.

    A start reads the schema of every plug-in it can see, wanted or not: without them it takes half the time.
    """
    plugins = slim / "plugins"
    if plugins.is_dir():
        return slim
    plugins.mkdir(parents=True)
    for name in ("sbin", "escript"):
        (slim / name).symlink_to(home / name)
    installed = {path.name.rpartition("-")[0]: path for path in (home / "plugins").glob("*-*") if path.is_dir()}
    missing, needed = list(_ALWAYS_LOADED), set()
    while missing:
        application = missing.pop()
        if application not in installed or application in needed:
            continue
        needed.add(application)
        described = (installed[application] / "ebin" / f"{application}.app").read_text()
        missing += [name for found in _DEPENDENCIES.findall(described) for name in re.findall(r"\w+", found)]
    # A server that packs its applications in another way gets all of them, and starts more slowly.
    for path in [installed[name] for name in needed] or (home / "plugins").iterdir():
        (plugins / path.name).symlink_to(path)
    return slim


def _password_hash(password: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
