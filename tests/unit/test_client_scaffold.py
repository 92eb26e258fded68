# SPDX-License-Identifier: Apache-2.0
"""What is generated works at once, and nothing that is there is overwritten."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mco_client.schema.agent_file import check
from mco_client.schema.scaffold import Wanted, files, write
from mco_rpc.errors import ConfigError

WANTED = {
    "plain": Wanted("weather"),
    "actions": Wanted("weather", ["look", "ask"], ["wish"], "Say how the weather is."),
    "changing": Wanted("snow_fall", [], ["begin", "end"]),
}


def run(*arguments: str, folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": path, "HOME": str(folder), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_a_generated_agent_is_good_and_its_test_passes(wanted: Wanted, tmp_path: Path) -> None:
    written = write(files(wanted), tmp_path)
    assert written == [tmp_path / f"{wanted.name}.py", tmp_path / "tests" / f"test_{wanted.name}.py"]
    checked = check(written[0])
    assert checked.findings == []
    assert set(checked.schemas[0].actions) == {*wanted.asking, *wanted.changing} or {"status"}
    assert {action.name for action in checked.schemas[0].actions.values() if action.mutating} == set(wanted.changing)
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_what_is_generated_is_tidy(wanted: Wanted, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    agent, test = write(files(wanted), tmp_path)
    config = "--config=line-length=120"
    done = run("-m", "ruff", "check", "--isolated", "--select=E,F,I,B,UP", config, str(tmp_path), folder=tmp_path)
    if "No module named ruff" in done.stdout:
        pytest.skip("no ruff here")
    assert done.returncode == 0, done.stdout
    done = run("-m", "ruff", "format", "--isolated", "--check", "--diff", config, str(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert test.is_file()
    assert agent.is_file()


@pytest.mark.parametrize("language", ["sh", "perl", "node", "python"])
def test_a_generated_executable_is_good_and_its_test_passes(language: str, tmp_path: Path) -> None:
    wanted = Wanted("weather", ["look", "ask"], ["wish"], "It's how the weather is.", language=language)
    schema, executable, test = write(files(wanted), tmp_path)
    checked = check(schema)
    assert checked.findings == []
    assert set(checked.schemas[0].actions) == {"look", "ask", "wish"}
    assert executable.stat().st_mode & 0o777 == 0o755
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(test), folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_an_executable_is_no_package() -> None:
    with pytest.raises(ConfigError, match="a package holds a class in Python"):
        files(Wanted("weather", is_package=True, language="sh"))


def test_a_generated_package_installs_its_entry_point(tmp_path: Path) -> None:
    wanted = Wanted("snow_fall", ["depth"], is_package=True)
    pyproject, agent, test = write(files(wanted), tmp_path)
    root = tmp_path / "mco-agent-snow-fall"
    assert pyproject == root / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text())["project"]
    assert project["entry-points"] == {"mco.agents": {"snow_fall": "mco_agent_snow_fall:SnowFall"}}
    # Given it as pip would leave it, found by its entry point
    info = root / "mco_agent_snow_fall-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mco-agent-snow-fall\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[mco.agents]\nsnow_fall = mco_agent_snow_fall:SnowFall\n")
    # Then its test passes, which asks a node that finds it so
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(test), folder=root, path=str(root))
    assert done.returncode == 0, done.stdout
    assert agent.is_file()


@pytest.mark.parametrize("there", ["weather.py", "tests/test_weather.py"])
def test_nothing_is_overwritten_and_then_nothing_is_written(there: str, tmp_path: Path) -> None:
    file = tmp_path / there
    file.parent.mkdir(exist_ok=True)
    file.symlink_to("nowhere")
    with pytest.raises(ConfigError, match=f"nothing was written, for this is there already: .*{there}$"):
        write(files(Wanted("weather")), tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if not path.is_dir()] == [file.name]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Wanted("../weather"), "agent '../weather' cannot be used"),
        (Wanted("Weather"), "agent 'Weather' cannot be used"),
        (Wanted("class"), "agent 'class' cannot be used"),
        (Wanted("x" * 65), "cannot be used"),
        (Wanted("weather", ["1st"]), "action '1st' cannot be used"),
        (Wanted("weather", ["run"]), "action 'run' cannot be used: every agent has something of this name"),
        (Wanted("weather", ["node"]), "action 'node' cannot be used"),
        (Wanted("weather", ["look"], ["look"]), "action 'look' is given twice"),
        (Wanted("weather", description='"""\nimport os'), "one line without quotes"),
        (Wanted("weather", description="\\"), "one line without quotes"),
    ],
)
def test_what_cannot_be_a_name_is_refused(wanted: Wanted, why: str) -> None:
    with pytest.raises(ConfigError, match=why.replace(".", r"\.")):
        files(wanted)
