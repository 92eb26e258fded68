# SPDX-License-Identifier: Apache-2.0
"""Schemas are kept by digest, and believed only if they have it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mco_client.schema import cache as schema_cache
from mco_client.schema.cache import MAX_SCHEMA_BYTES, SchemaCache, default_folder, is_digest, of_user
from mco_rpc.errors import SchemaError
from mco_rpc.schema import DIGEST_LENGTH, ActionSchema, AgentSchema, Output

TOY = AgentSchema("toy", "A toy", "1.0", {"play": ActionSchema("play", "Play")})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mco" / "schemas"


def test_what_was_kept_is_there_for_the_next_process(folder: Path) -> None:
    digest = SchemaCache(folder).put(TOY.to_json())
    assert digest == TOY.digest
    assert SchemaCache(folder).get(digest) == TOY
    assert SchemaCache(folder).get("0" * DIGEST_LENGTH) is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / f"{digest}.json").stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == [f"{digest}.json"]


def test_the_order_of_a_declaration_is_kept(folder: Path) -> None:
    outputs = {name: Output("string", name) for name in ("zebra", "ape")}
    schema = AgentSchema("toy", "A toy", "1", {"play": ActionSchema("play", "Play", outputs=outputs)})
    digest = SchemaCache(folder).put(json.loads(json.dumps(schema.to_json())))
    kept = SchemaCache(folder).get(digest)
    assert kept is not None
    assert list(kept.actions["play"].outputs) == ["zebra", "ape"]


def test_a_file_that_says_something_else_is_not_believed(folder: Path) -> None:
    digest = SchemaCache(folder).put(TOY.to_json())
    file = folder / f"{digest}.json"
    for body in (file.read_bytes().replace(b"Play", b"Pray"), b"", b"[", b"\xff", b"{}", b"[" * 100_000):
        file.write_bytes(body)
        assert SchemaCache(folder).get(digest) is None
    # and is replaced by what is asked for again
    SchemaCache(folder).put(TOY.to_json())
    assert SchemaCache(folder).get(digest) == TOY


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "0" * 16, "0" * 31, "0" * 33, "G" * 32, "A" * 32, "٠" * 32])
def test_what_is_no_digest_names_no_file(digest: str, folder: Path) -> None:
    assert not is_digest(digest)
    assert SchemaCache(folder).get(digest) is None


def test_what_is_no_file_is_neither_waited_for_nor_followed(folder: Path) -> None:
    digest = SchemaCache(folder).put(TOY.to_json())
    file = folder / f"{digest}.json"
    elsewhere = file.rename(folder / "elsewhere")
    makers: list[Callable[[], None]] = [
        lambda: os.mkfifo(file),
        lambda: file.mkdir(),
        lambda: file.symlink_to(elsewhere),
        lambda: file.symlink_to("/dev/zero"),
    ]
    for make in makers:
        make()
        assert SchemaCache(folder).get(digest) is None
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    with file.open("wb") as sparse:
        sparse.truncate(MAX_SCHEMA_BYTES + 1)
    assert SchemaCache(folder).get(digest) is None


@pytest.mark.parametrize("obstacle", ["file", "unwritable"])
def test_a_folder_that_cannot_be_used_is_no_error(obstacle: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    if obstacle == "file":
        folder.write_text("")
    else:
        folder = Path("/proc/nowhere/cache")
    cache = SchemaCache(folder)
    assert cache.get(cache.put(TOY.to_json())) == TOY
    assert SchemaCache(folder).get(TOY.digest) is None


def test_without_a_folder_it_lasts_as_long_as_the_process() -> None:
    cache = SchemaCache()
    assert cache.get(cache.put(TOY.to_json())) == TOY


def test_what_is_no_schema_or_too_large_is_refused(folder: Path) -> None:
    with pytest.raises(SchemaError, match="not an agent schema"):
        SchemaCache(folder).put("rubbish")
    large = AgentSchema("toy", "x" * MAX_SCHEMA_BYTES, "1")
    with pytest.raises(SchemaError, match="at most 262,144 are read"):
        SchemaCache(folder).put(large.to_json())
    assert not folder.exists()


def test_it_does_not_grow_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_cache, "MAX_FILES", 3)
    cache = SchemaCache(folder)
    for number in range(6):
        digest = cache.put(AgentSchema("toy", "A toy", str(number)).to_json())
        os.utime(folder / f"{digest}.json", (number, number))
    assert len(list(folder.iterdir())) == 3
    assert SchemaCache(folder).get(digest) is not None
    assert len(cache._known) == 3


def test_what_cannot_be_removed_keeps_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_cache, "MAX_FILES", 2)
    cache = SchemaCache(folder)
    # Given folders of somebody else's, older and newer than all, and a file that is not to be removed
    stubborn = folder / "stubborn"
    for path, modified in ((folder / "old", 0), (folder / "new", 2**33), (stubborn, 1)):
        path.write_text("") if path == stubborn else path.mkdir(parents=True)
        os.utime(path, (modified, modified))
    unlink = Path.unlink

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        if path == stubborn:
            raise PermissionError(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlinked)
    # When more is kept than there is room for
    digests = []
    for number in range(5):
        digests.append(cache.put(AgentSchema("toy", "A toy", str(number)).to_json()))
        os.utime(folder / f"{digests[-1]}.json", (100 + number, 100 + number))
    # Then the oldest schemas go, and nothing of what is not ours
    kept = [f"{digest}.json" for digest in digests[-2:]]
    assert {path.name for path in folder.iterdir()} == {"old", "new", "stubborn", *kept}


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/mco/schemas"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/mco/schemas"),
        ({"HOME": "/h"}, "/h/.cache/mco/schemas"),
        ({}, None),
    ],
)
def test_it_is_in_the_user_s_cache(environment: dict[str, str], folder: str | None) -> None:
    assert default_folder(environment) == (Path(folder) if folder else None)


def test_a_recording_and_its_replay_begin_with_nothing(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    of_user("rabbitmq", environment).put(TOY.to_json())
    assert of_user("memory", environment).get(TOY.digest) == TOY
    assert of_user("replay", environment).get(TOY.digest) is None
    assert of_user("rabbitmq", {**environment, "MCO_RECORD": "fleet.rec"}).get(TOY.digest) is None
