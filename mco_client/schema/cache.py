# SPDX-License-Identifier: Apache-2.0
"""Schemas that nodes published, kept by digest: in memory, and in a folder that outlives the process.

What is read back is believed only if it has the digest it is filed under. A folder that cannot be used is no
error: the schemas are asked for again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mco_client import cached
from mco_rpc.errors import SchemaError
from mco_rpc.schema import DIGEST_LENGTH, AgentSchema, digest_of

MAX_SCHEMA_BYTES = 256 * 1024
MAX_FILES = 500
_HEX = frozenset("0123456789abcdef")


class SchemaCache:
    """Schemas by digest.

    Args:
        folder: where they are kept; only in memory if None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, AgentSchema] = {}

    def get(self, digest: str) -> AgentSchema | None:
        """Return the schema with this digest, None if it is not here."""
        if digest not in self._known and is_digest(digest) and self._folder is not None:
            with contextlib.suppress(OSError, msgspec.DecodeError, SchemaError, RecursionError, UnicodeDecodeError):
                plain = msgspec.json.decode(cached.read(self._folder / f"{digest}.json", MAX_SCHEMA_BYTES))
                if digest_of(plain) == digest:
                    self._keep(digest, AgentSchema.from_json(plain))
        return self._known.get(digest)

    def schemas(self) -> list[AgentSchema]:
        """Return all that are kept and can be believed."""
        for file in sorted(self._folder.glob("*.json")) if self._folder is not None else ():
            self.get(file.stem)
        return list(self._known.values())

    def put(self, plain: object) -> str:
        """Keep a schema that a node sent as plain data; return its digest.

        Raises:
            SchemaError: it is no schema, or too large.
        """
        digest = digest_of(plain)
        body = msgspec.json.encode(plain)  # as it was sent: people see outputs in the order of their declaration
        if len(body) > MAX_SCHEMA_BYTES:
            raise SchemaError(f"a schema of {len(body):,} bytes; at most {MAX_SCHEMA_BYTES:,} are read")
        self._keep(digest, AgentSchema.from_json(plain))
        if self._folder is not None:
            with contextlib.suppress(OSError):
                cached.make(self._folder)
                cached.write(self._folder / f"{digest}.json", body)
                _prune(self._folder)
        return digest

    def _keep(self, digest: str, schema: AgentSchema) -> None:
        while len(self._known) >= MAX_FILES:
            del self._known[next(iter(self._known))]
        self._known[digest] = schema


def is_digest(text: object) -> bool:
    """Say whether a text can be the digest of a schema, and so the name of a file."""
    return isinstance(text, str) and len(text) == DIGEST_LENGTH and _HEX.issuperset(text)


def default_folder(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the user's folder for schemas; None if he has no home, or makes a recording."""
    known = os.environ if environment is None else environment
    if known.get("MCO_RECORD"):  # whoever plays it asks for the schemas that would be left out of it
        return None
    return cached.folder_of("schemas", known)


def of_user(connector: str, environment: Mapping[str, str] | None = None) -> SchemaCache:
    """Return the user's cache; while a run is recorded or replayed, one that knows nothing yet.

    A recording holds every question, so that its replay does not depend on what somebody's cache knows.
    """
    known = os.environ if environment is None else environment
    is_alone = connector == "replay" or bool(known.get("MCO_RECORD"))
    return SchemaCache(None if is_alone else default_folder(known))


def _prune(folder: Path) -> None:
    """Keep the newest files; a folder is somebody else's, and what is gone another process removed."""
    aged = []
    for file in folder.iterdir():
        with contextlib.suppress(OSError):
            found = file.lstat()
            if not stat.S_ISDIR(found.st_mode):
                aged.append((found.st_mtime, file))
    for _, file in sorted(aged)[:-MAX_FILES]:
        with contextlib.suppress(OSError):
            file.unlink()
