# SPDX-License-Identifier: Apache-2.0
"""What can be looked at without a network: the configuration, our key, the keys that we trust, the cache."""

from __future__ import annotations

import contextlib
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from mco_client.doctor.finding import Finding, fine, found, skipped
from mco_client.doctor.illnesses import CONFIGURATION, KEY, LOCAL, TRUST
from mco_client.doctor.patient import Patient
from mco_client.text import listed
from mco_rpc.config import ClientSettings
from mco_rpc.errors import McoError, SecurityError


def configuration(patient: Patient) -> Iterator[Finding]:
    """Read the configuration, and see who else can."""
    import msgspec

    from mco_rpc.config import client_file, client_settings

    try:
        file = client_file(patient.file)
        settings = msgspec.structs.replace(client_settings(patient.file), **patient.changes)
        settings.check()
    except McoError as e:
        yield found("config-invalid", str(e), where="it")
        return
    except OSError as e:
        yield found("config-invalid", f"{e.filename}: {e.strerror}", where="who may read it")
        return
    with contextlib.suppress(McoError):  # without a key there is none, and `key` says so
        patient.connection = patient.connect(patient.file, patient.changes)
        settings = patient.connection.settings
    patient.settings = settings
    where = (
        f"{file}, caller {settings.caller}" if file else f"no file: defaults and variables, caller {settings.caller}"
    )
    has_password = any(urllib.parse.urlsplit(url).password not in (None, "guest") for url in settings.brokers)
    if file is not None and has_password and file.stat().st_mode & 0o044:
        mode = file.stat().st_mode & 0o777
        yield found("config-exposed", f"{file} holds a broker's password, and others may read it ({mode:o})", file=file)
    else:
        yield fine(CONFIGURATION, where)


def key(patient: Patient) -> Iterator[Finding]:
    """Read our private key."""
    from mco_rpc.security import keys

    settings = patient.settings
    if settings is None or settings.connector != "rabbitmq":
        yield skipped(KEY, _why_without_keys(settings))
        return
    file = Path(settings.key_file).expanduser()
    try:
        keys.read_private(file)
    except SecurityError as e:
        yield found("key-unusable", str(e))
    else:
        yield fine(KEY, f"{file}; nodes know it as key={settings.caller}")


def trusted_nodes(patient: Patient) -> Iterator[Finding]:
    """Read every key that we trust."""
    from mco_rpc.security import keys

    settings = patient.settings
    if settings is None or settings.connector != "rabbitmq":
        yield skipped(TRUST, _why_without_keys(settings))
        return
    folder = Path(settings.trusted_nodes).expanduser()
    try:
        names = sorted(entry.name[:-4] for entry in os.scandir(folder) if entry.name.endswith(".pub"))
        known = keys.KeyFolder(folder, read_at_once=0)
        owners: dict[bytes, list[str]] = {}
        for name in names:
            if (public := known.get(name)) is not None:
                owners.setdefault(public, []).append(name)
    except OSError as e:
        yield found("trust-unusable", f"folder of trusted keys {folder}: {e.strerror}", folder=folder)
        return
    except SecurityError as e:
        yield found("trust-unusable", str(e), folder=folder)
        return
    patient.trusted = frozenset(names)
    if not owners:
        yield found("trust-empty", f"{folder} holds no key", folder=folder)
        return
    alike = [nodes for nodes in owners.values() if len(nodes) > 1]
    for nodes in alike:
        who = listed(nodes)
        yield found("keys-alike", f"one key for {len(nodes)} identities: {who}", nodes=tuple(nodes), names=who)
    if not alike:
        yield fine(TRUST, f"{len(names)} keys in {folder}")


def _why_without_keys(settings: ClientSettings | None) -> str:
    return "the configuration must be read first" if settings is None else "this connector needs none"


def cache(_: Patient) -> Iterator[Finding]:
    """See whether something can be kept from one command to the next."""
    from mco_client.schema.cache import default_folder

    folder = default_folder()
    if folder is None:
        yield skipped(LOCAL, "no cache folder: there is no home, or a recording is being made")
        return
    # Unlike pathlib's, these take what lies behind a closed door for what is not there.
    there = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)  # noqa: PTH110
    if os.access(there, os.W_OK | os.X_OK) and os.path.isdir(there):  # noqa: PTH112
        yield fine(LOCAL, f"cache {folder}")
    else:
        yield found("cache-unwritable", f"{there} cannot be written by this user", folder=there)
