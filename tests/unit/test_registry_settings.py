# SPDX-License-Identifier: Apache-2.0
"""The registry's settings, and its command where something is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from mco_client.cli.main import main
from mco_registry.settings import RegistrySettings, database_url, registry_settings
from mco_rpc.config import NodeSettings
from mco_rpc.errors import ConfigError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCO_CONFIG", "/nonexistent/client.yaml")  # the client's, and not asked


def test_a_registry_is_called_so_unless_it_is_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text("max_nodes: 7\n")
    assert registry_settings(file).identity == "registry"
    monkeypatch.setenv("MCO_IDENTITY", "reg2")
    assert (registry_settings(file).identity, registry_settings(file).max_nodes) == ("reg2", 7)
    with pytest.raises(ConfigError, match="/nonexistent/other is not there"):
        registry_settings(Path("/nonexistent/other"))


def test_a_node_is_still_called_like_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    from mco_rpc.config import node_settings

    monkeypatch.setattr("socket.getfqdn", lambda: "web1.example.net")
    assert node_settings(None, {}).identity == "web1.example.net"


def test_its_node_has_the_settings_that_both_know_and_says_nothing_of_itself() -> None:
    made = RegistrySettings(
        identity="reg2", collectives=("dmz",), workers=9, max_clock_skew_s=3.0, audit_file="/x", brokers=("amqp://b/",)
    )
    node = made.node()
    shared = {field.name for field in msgspec.structs.fields(NodeSettings)} & set(RegistrySettings.__struct_fields__)
    assert shared >= {
        "identity",
        "collectives",
        "brokers",
        "workers",
        "authorization",
        "trusted_callers",
        "heartbeat_s",
    }
    assert all(getattr(node, name) == getattr(made, name) for name in shared)
    assert not node.registration
    assert not Path(node.facts_dir).exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_nodes": 0},
        {"max_node_bytes": -1},
        {"identity": "a b"},
        {"workers": 0},
        {"collectives": []},
        {"log_level": "x"},
    ],
)
def test_a_value_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).removesuffix("s")):
        msgspec.convert(wrong, RegistrySettings).check()


def test_where_the_database_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert database_url("postgresql://h/x") == "postgresql://h/x"
    assert database_url("/a/b.sqlite") == "sqlite:////a/b.sqlite"
    monkeypatch.chdir(tmp_path)
    assert database_url("b.sqlite") == f"sqlite:///{tmp_path}/b.sqlite"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert database_url("") == "sqlite:////var/lib/mco/registry.sqlite"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert database_url("") == "sqlite:////state/mco/registry.sqlite"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert database_url("") == "sqlite:////home/me/.local/state/mco/registry.sqlite"


@pytest.mark.parametrize("command", ["serve", "check"])
def test_without_its_libraries_it_says_what_to_install(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sqlalchemy"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("daemon", "store", "tables", "agent", "selection"):
        monkeypatch.delitem(sys.modules, f"mco_registry.{name}", raising=False)
    monkeypatch.delattr("mco_registry.daemon", raising=False)  # where an earlier test has left it
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    (tmp_path / "registry.yaml").write_text("")
    assert main(["registry", command, "--config", str(tmp_path / "registry.yaml")]) == 1
    assert "the registry needs sqlalchemy: install mco-behave[registry]" in capsys.readouterr().err


def test_the_command_shows_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["registry", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in ("serve", "keygen", "check"))
