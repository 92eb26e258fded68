# SPDX-License-Identifier: Apache-2.0
"""The systemd unit, as it is shipped and as it is installed."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from mco_node import main, unit
from mco_rpc.errors import ConfigError


def parsed(text: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str
    found.read_string(text)
    return found


def test_it_starts_the_program_of_this_installation():
    service = parsed(unit.text(Path("/opt/my mco/50%/mco-node")))["Service"]

    assert service["ExecStart"] == "'/opt/my mco/50%%/mco-node' run"
    assert service["Type"] == "notify"
    assert service["WatchdogSec"] == "30"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_a_configuration_error_is_the_status_that_is_not_tried_again():
    assert parsed(unit.text())["Service"]["RestartPreventExitStatus"] == str(main.EXIT_CONFIG)


def test_it_is_written_once(tmp_path):
    assert unit.install(tmp_path) == (tmp_path / "mco-node.service", True)
    assert unit.install(tmp_path) == (tmp_path / "mco-node.service", False)

    assert (tmp_path / "mco-node.service").read_text() == unit.text()
    assert (tmp_path / "mco-node.service").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["mco-node.service"]

    (tmp_path / "mco-node.service").write_text("of an older version")
    assert unit.install(tmp_path)[1]


def test_a_masked_unit_and_a_folder_that_is_not_there_are_left_alone(tmp_path):
    (tmp_path / "mco-node.service").symlink_to("/dev/null")
    with pytest.raises(ConfigError, match="is a link to /dev/null"):
        unit.install(tmp_path)
    with pytest.raises(ConfigError, match="--print"):
        unit.install(tmp_path / "not" / "there")


def test_the_command_prints_it(capsys):
    assert main.main(["install-unit", "--print"]) == 0
    assert capsys.readouterr().out == unit.text()


def test_the_command_says_what_comes_next(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(unit.install, "__defaults__", (tmp_path,))
    assert main.main(["install-unit"]) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path}/mco-node.service is written; run:\n  systemctl daemon-reload\n  systemctl enable --now mco-node\n"
    )
