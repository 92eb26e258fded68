# SPDX-License-Identifier: Apache-2.0
"""Key files: one line each, a private one for its owner's eyes, a public one to hand out.

A private file holds ``mco-ed25519-private BASE64``, a public one ``mco-ed25519-public BASE64``. The name
of a key is the name of its public file without ``.pub``; the file itself claims nothing.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from nacl.bindings import crypto_sign_seed_keypair

from mco_rpc import names
from mco_rpc.errors import SecurityError
from mco_rpc.ownership import why_not_trusted

_PRIVATE, _PUBLIC = "mco-ed25519-private", "mco-ed25519-public"
SEED_BYTES = 32
_MAX_FILE_BYTES = 4096


def new_seed() -> bytes:
    """Return 32 fresh random bytes, the secret of one Ed25519 key."""
    return os.urandom(SEED_BYTES)


def public_of(seed: bytes) -> bytes:
    """Return the 32 bytes of the public key that belongs to ``seed``."""
    public: bytes = crypto_sign_seed_keypair(seed)[0]
    return public


def generate(private: Path, public: Path) -> None:
    """Write a new key pair; the private file can be read by its owner only.

    Raises:
        SecurityError: one of the files is there already (an identity is never replaced by accident), or cannot
            be written.
    """
    for path in (private, public):
        if path.exists():
            raise SecurityError(f"key file {path} exists; remove it first if this identity shall be replaced")
    seed = new_seed()
    for path, kind, key, mode in (
        (private, _PRIVATE, seed, 0o600),
        (public, _PUBLIC, public_of(seed), 0o644),
    ):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
                file.write(f"{kind} {base64.b64encode(key).decode()}\n")
        except OSError as e:
            raise SecurityError(f"key file {path} cannot be written: {e.strerror}") from e


def read_private(path: Path) -> bytes:
    """Return the seed in a private key file.

    Raises:
        SecurityError: the file is missing, we may not read it, others may, or it holds something else.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as e:
        raise SecurityError(
            f"private key {path}: {e.strerror}; `mco keygen` makes one for a caller, `mco-node keygen` one for a node"
        ) from e
    except OSError as e:
        raise SecurityError(f"private key {path}: {e.strerror}{_what_to_do(e)}") from e
    if mode & 0o077:
        raise SecurityError(f"private key {path} can be read by others (mode {mode & 0o777:o}); run: chmod 600 {path}")
    return _read(path, _PRIVATE)


def read_public(path: Path) -> bytes:
    """Return the public key in a public key file.

    Raises:
        SecurityError: the file cannot be read or holds something else.
    """
    return _read(path, _PUBLIC)


class KeyFolder:
    """The public keys ``NAME.pub`` of a folder, as they are at the moment of each question.

    Whoever can write the folder or a key can be everybody: what others may write does not count.

    A key is read again when its file changed. The folder's own time would not do: it stays when a file is
    rewritten in place, and two changes within a tick of the kernel's clock share one.

    Args:
        look_every_s: seconds for which a key, or the folder, that was looked at is not looked at again; a client with
            thousands of nodes to believe would do little else.
        read_at_once: up to so many files are read now, so that a broken one is known before it is needed.

    Raises:
        SecurityError: the folder is missing, or a file in it is not a public key.
    """

    def __init__(
        self,
        folder: Path,
        *,
        is_owner_checked: bool = True,
        look_every_s: float = 0.0,
        read_at_once: float = math.inf,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._prefix = f"{folder}/"
        self._is_owner_checked = is_owner_checked
        self._look_every_s = look_every_s
        self._monotonic = monotonic
        self._folder_looked_at = -math.inf
        # By name: when it was looked at, the state of its file, and the key.
        self._known: dict[str, tuple[float, tuple[int, ...], bytes]] = {}
        try:
            found = [entry.name[:-4] for entry in os.scandir(folder) if entry.name.endswith(".pub")]
        except OSError as e:
            raise SecurityError(f"folder of trusted keys {folder}: {e.strerror}") from e
        for name in sorted(found) if len(found) <= read_at_once else ():
            self.get(name)

    def __str__(self) -> str:
        return f"folder {self._folder}"

    def get(self, name: str) -> bytes | None:
        """Return the key that counts under ``name`` now, None if there is none.

        Raises:
            SecurityError: there is a file, and it cannot be read or is no public key.
        """
        now = self._monotonic()
        known = self._known.get(name)
        if known is not None and now - known[0] < self._look_every_s:
            return known[2]
        if not names.is_name(name):
            return None
        path = f"{self._prefix}{name}.pub"
        try:
            if now - self._folder_looked_at >= self._look_every_s:
                self._check(self._folder, self._folder.stat())
                self._folder_looked_at = now
            found = os.stat(path)  # noqa: PTH116 - one for each answer of thousands: a Path costs more than the look
        except FileNotFoundError:
            self._known.pop(name, None)
            return None
        except OSError as e:
            raise SecurityError(f"key {path}: {e.strerror}") from e
        self._check(Path(path), found)
        state = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if known is not None and known[1] == state:
            key = known[2]
        else:
            self._known.pop(name, None)
            key = read_public(Path(path))
        self._known[name] = (now, state, key)
        return key

    def _check(self, path: Path, status: os.stat_result) -> None:
        if why_not := why_not_trusted(status, is_owner_checked=self._is_owner_checked):
            self._known.clear()
            self._folder_looked_at = -math.inf
            raise SecurityError(f"{'folder' if path == self._folder else 'key'} {path} is not used: {why_not}")


def _read(path: Path, kind: str) -> bytes:
    try:
        # To open a pipe would wait for its writer.
        with open(path, encoding="ascii", errors="replace", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SecurityError(f"key {path}: not a regular file")
            words = file.read(_MAX_FILE_BYTES).split()
    except OSError as e:
        raise SecurityError(f"key {path}: {e.strerror}{_what_to_do(e) if kind == _PRIVATE else ''}") from e
    if len(words) != 2 or words[0] != kind:
        raise SecurityError(f"key {path}: expected one line `{kind} BASE64`, found something else")
    try:
        key = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError) as e:
        raise SecurityError(f"key {path}: the text after {kind} is not base64") from e
    if len(key) != SEED_BYTES:
        raise SecurityError(f"key {path}: {len(key)} bytes, expected {SEED_BYTES}")
    return key


def _what_to_do(error: OSError) -> str:
    """Return what to do about a private key that cannot be read."""
    if not isinstance(error, PermissionError):
        return ""
    return "; this user may not read it: run this as the key's owner (root for a node's), or name another (key_file)"


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
