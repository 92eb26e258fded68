# SPDX-License-Identifier: Apache-2.0
"""A source is made from settings; what they lack or have too much is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mco_client.discovery.source import KINDS, make
from mco_rpc.config import DISCOVERY_KINDS, ClientSettings, client_settings
from mco_rpc.errors import ConfigError
from mco_rpc.filters import Filter


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("inventry", ["x"], "'inventry' is no source of nodes: expected inventory, .*, did you mean inventory?"),
        ("broadcast", [], "'broadcast' is no source of nodes"),
        ("", [], "'' is no source of nodes"),
        ("inventory", [], "discovery inventory needs a file: name it in discovery_options"),
        ("flatfile", [" "], "discovery flatfile needs a file"),
        ("flatfile", ["~nobody-of-that-name/nodes"], "discovery flatfile: ~nobody-of-that-name/nodes: "),
        ("stdin", ["nodes.txt"], "discovery stdin takes no options, got 'nodes.txt'; did you mean flatfile?"),
        ("external", [], "discovery external needs a command"),
    ],
)
def test_what_cannot_be_made_is_told(kind: str, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        make(kind, options, ClientSettings())


def test_the_settings_know_every_kind() -> None:
    assert set(KINDS) < set(DISCOVERY_KINDS)
    with pytest.raises(ConfigError, match=r"discovery: 'flatfil' is not one of .*, did you mean flatfile\?"):
        client_settings(None, {"MCO_DISCOVERY": "flatfil", "MCO_CALLER": "alice", "HOME": "/nonexistent"})


def test_settings_make_a_source(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name}\n")
    environment = {
        "MCO_DISCOVERY": "flatfile",
        "MCO_DISCOVERY_OPTIONS": f"{tmp_path}/one, {tmp_path}/two",
        "MCO_CALLER": "alice",
        "HOME": str(tmp_path),
    }
    settings = client_settings(None, environment)
    source = make(settings.discovery, settings.discovery_options, settings)
    assert source.known(Filter(), 1.0).nodes == ("one", "two")


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nodes").write_text("web1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make("flatfile", ["~/nodes"], ClientSettings()).known(Filter(), 1.0).nodes == ("web1",)
