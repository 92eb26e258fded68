# SPDX-License-Identifier: Apache-2.0
"""Entry points of installed packages: the same that Python's own library finds, and broken packages harm nobody."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from mco_rpc.installed import EntryPoint, entry_points


def package(folder: Path, name: str, text: str, *, kind: str = "dist-info") -> None:
    made = folder / f"{name}.{kind}"
    made.mkdir(parents=True)
    (made / "entry_points.txt").write_text(text)


@pytest.mark.parametrize(
    "group", ["mco.agents", "mco.data", "mco.commands", "console_scripts", "pytest11", "none.such"]
)
def test_it_finds_what_pythons_own_library_finds(group: str) -> None:
    theirs = {
        (entry.name, entry.value.partition("[")[0].strip()) for entry in importlib.metadata.entry_points(group=group)
    }
    assert {(entry.name, entry.value) for entry in entry_points(group)} == theirs


def test_ours_are_loaded() -> None:
    (found,) = entry_points("mco.agents", "rpcutil")
    assert found.load().schema().name == "rpcutil"


def test_groups_comments_and_extras_are_told_apart(tmp_path: Path) -> None:
    package(tmp_path, "one-1.0", "[a]\nx = m:X\n# y = m:Y\n\n[b]\nz=m:Z\n[a.b]\nq = m:Q [extra]\n")
    assert entry_points("a", path=[str(tmp_path)]) == (EntryPoint("x", "m:X"),)
    assert entry_points("a.b", path=[str(tmp_path)]) == (EntryPoint("q", "m:Q"),)


def test_of_a_package_installed_twice_the_first_counts(tmp_path: Path) -> None:
    package(tmp_path / "first", "a_package-2.0", "[a]\nx = new:X\n")
    package(tmp_path / "second", "A.Package-1.0", "[a]\nx = old:X\ny = old:Y\n", kind="egg-info")
    assert entry_points("a", path=[str(tmp_path / "first"), str(tmp_path / "second")]) == (EntryPoint("x", "new:X"),)


def test_what_cannot_be_read_harms_nobody(tmp_path: Path) -> None:
    package(tmp_path, "good-1.0", "[a]\nx = m:X\n")
    (tmp_path / "none-1.0.dist-info").mkdir()
    bad = tmp_path / "bad-1.0.dist-info"
    bad.mkdir()
    (bad / "entry_points.txt").write_bytes(b"[a]\n\xff\xfe = m:Y\n")
    (tmp_path / "file.dist-info").write_text("")
    assert entry_points("a", path=[str(tmp_path / "gone"), str(tmp_path)]) == (EntryPoint("x", "m:X"),)


@pytest.mark.parametrize("value", ["no_such_module:X", "json:no_such_name"])
def test_what_is_not_there_says_so(value: str) -> None:
    with pytest.raises((ImportError, AttributeError), match="no_such"):
        EntryPoint("x", value).load()
