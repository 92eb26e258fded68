# SPDX-License-Identifier: Apache-2.0
"""The command ``mco-node`` as far as it needs no broker: keys, checks, and what it says of a wrong use."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mco_node.main import main
from mco_rpc import __version__
from mco_rpc.security import keys

WAIT_S = 60.0
EXIT_OK, EXIT_CONFIG = 0, 2


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    # When the version is asked for
    with pytest.raises(SystemExit) as caught:
        main(["--version"])

    # Then it is told
    assert caught.value.code == EXIT_OK
    assert capsys.readouterr().out == f"mco-node {__version__}\n"


def test_a_configuration_that_is_not_there_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # When a command gets a file that is not there, then that is said
    assert main(["check", "--config", str(tmp_path / "none.yaml")]) == EXIT_CONFIG
    assert capsys.readouterr().err == f"mco-node: configuration file {tmp_path}/none.yaml is not there\n"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MCO_")}
    return subprocess.run(
        (sys.executable, "-m", "mco_node", *arguments),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        env={**own, **variables},
    )


def test_an_error_of_the_system_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk on which nothing can be written
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "/etc/mco")

    monkeypatch.setattr(keys, "generate", fail)
    (tmp_path / "node.yaml").write_text("identity: web1\n")

    # When something is to be written there, then that is said
    assert main(["keygen", "--config", str(tmp_path / "node.yaml")]) == EXIT_CONFIG
    assert capsys.readouterr().err == "mco-node: [Errno 30] Read-only file system: '/etc/mco'\n"


def test_a_key_is_made_once(tmp_path: Path) -> None:
    # When a key is made
    config = tmp_path / "node.yaml"
    config.write_text(f"identity: web1\nkey_file: {tmp_path}/node.key\n")
    done = run("keygen", "--config", str(config))

    # Then both files are there, and their places are said
    assert (done.returncode, done.stderr) == (EXIT_OK, "")
    assert f"private key {tmp_path}/node.key\npublic key  {tmp_path}/web1.pub" in done.stdout
    assert keys.public_of(keys.read_private(tmp_path / "node.key")) == keys.read_public(tmp_path / "web1.pub")

    # When it is made again, then the identity is not replaced
    again = run("keygen", "--config", str(config))
    assert again.returncode == EXIT_CONFIG
    assert again.stderr.startswith(f"mco-node: key file {tmp_path}/node.key exists; ")


def test_a_check_says_what_is_offered_and_what_is_wrong(tmp_path: Path) -> None:
    # Given a configuration that is fine
    keys.generate(tmp_path / "node.key", tmp_path / "callers" / "operator.pub")
    config = tmp_path / "node.yaml"
    text = textwrap.dedent(f"""\
        identity: web1
        key_file: {tmp_path}/node.key
        trusted_callers: {tmp_path}/callers
        agents: {{iptables: {{backend: memory}}, discovery: {{enabled: false}}}}
        audit_file: {tmp_path}/audit.jsonl
        """)
    config.write_text(text)

    # When it is checked, then the agents are there
    done = run("check", MCO_CONFIG=str(config))
    identity, agents, sources, *others = done.stdout.splitlines()
    assert identity == "identity web1"
    assert agents.startswith("agents ")
    assert {"iptables", "rpcutil"} <= set(agents.removeprefix("agents ").split(", "))
    assert sources.startswith("data sources ")
    assert {"fact", "fstat"} <= set(sources.removeprefix("data sources ").split(", "))
    assert "not offered: discovery: switched off in the configuration" in others
    assert (done.returncode, done.stderr) == (EXIT_OK, "")

    # And nothing was written
    assert not (tmp_path / "audit.jsonl").exists()

    # When it has problems, then they are said, with another status
    config.write_text(f"{text}facts_file: {tmp_path}/none.yaml\n")
    done = run("check", "--config", str(config))
    assert done.returncode == EXIT_CONFIG
    assert f"problem: {tmp_path}/none.yaml: No such file or directory" in done.stdout


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    # When a key shall be made where nothing can be written
    config = tmp_path / "node.yaml"
    config.write_text("identity: web1\nkey_file: /proc/none/node.key\n")
    done = run("keygen", "--config", str(config))

    # Then that is said in one line
    assert done.returncode == EXIT_CONFIG
    assert done.stderr.startswith("mco-node: ")
    assert "/proc/none" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_command_is_needed() -> None:
    # When none is given, then the usage is shown
    done = run()
    assert done.returncode == EXIT_CONFIG
    assert "usage: mco-node" in done.stderr
