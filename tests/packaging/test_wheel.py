# SPDX-License-Identifier: Apache-2.0
"""The built wheel, in a clean environment and away from the checkout, is the product."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCE = (
    ".git",
    ".venv",
    "build",
    "dist",
    "site",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".coverage*",
)
EXPECTED_PACKAGES = {
    "mco_agents",
    "mco_client",
    "mco_features",
    "mco_lab",
    "mco_node",
    "mco_host",
    "mco_registry",
    "mco_rpc",
    "mco_steps",
    "mco_systemd",
}
COMMAND_TIMEOUT_S = 300

# One slow set-up, shared: both stay on one worker when the tests run in parallel.
pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("packaging")]


@dataclass(frozen=True)
class Installed:
    """The archives that were built, and an environment with the wheel and its dependencies alone."""

    sdist: Path
    wheel: Path
    bin: Path
    elsewhere: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return run([str(self.bin / command[0]), *command[1:]], self.elsewhere)


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would who knows nothing of this checkout."""
    ours = ("PYTHON", "COVERAGE_", "COV_", "MCO_", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def must(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command printed; fail with everything it printed if its exit status is not 0."""
    assert done.returncode == 0, f"{done.args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("packaging")
    source, dist, environment, elsewhere = (folder / name for name in ("source", "dist", "environment", "elsewhere"))
    elsewhere.mkdir()
    # A copy: what an earlier build or editable install left in the checkout must not get into the archives.
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_SOURCE), symlinks=True)
    # The wheel is built from the source archive, so that a file missing there is missing here, too.
    must(run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)], elsewhere))
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    shutil.rmtree(source)
    venv.create(environment, with_pip=True, system_site_packages=False)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    must(run([*pip, "install", "--quiet", "--use-pep517", str(wheel)], elsewhere))
    must(run([*pip, "check"], elsewhere))
    return Installed(sdist=sdist, wheel=wheel, bin=environment / "bin", elsewhere=elsewhere)


def test_wheel_brings_only_our_own_names(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert {name.split("/")[0] for name in set(names) - metadata} == EXPECTED_PACKAGES
    untyped = {package for package in EXPECTED_PACKAGES if f"{package}/py.typed" not in names}
    assert untyped <= {"mco_features", "mco_systemd"}
    assert any(name.endswith("/LICENSE") for name in metadata)


def test_archives_bring_what_the_demo_reads(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        in_wheel = archive.namelist()
    assert {"mco_features/firewall.feature", "mco_lab/firewall.yaml", "mco_systemd/mco-node.service"} <= set(in_wheel)
    with tarfile.open(installed.sdist) as archive:
        in_sdist = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"features/firewall.feature", "lab/firewall.yaml", "LICENSE", "README.md", "setup.cfg"} <= in_sdist


def test_commands_say_who_they_are(installed: Installed) -> None:
    version = installed.wheel.name.split("-")[1]
    assert version in must(installed.run("mco", "--version"))
    assert "Usage" in must(installed.run("mco", "--help"))
    assert "run" in must(installed.run("mco-node", "--help"))


def test_code_comes_from_the_wheel(installed: Installed) -> None:
    where = "import mco_node, mco_features; print(*mco_node.__path__, *mco_features.__path__, sep='\\n')"
    for path in must(installed.run("python", "-c", where)).splitlines():
        assert Path(path).is_relative_to(installed.bin.parent)


def test_demo_in_memory_passes(installed: Installed) -> None:
    done = installed.run("mco", "demo", "--memory")
    assert "1 feature passed, 0 failed" in must(done)
    assert list(installed.elsewhere.iterdir()) == []


def test_unknown_option_is_refused(installed: Installed) -> None:
    done = installed.run("mco", "demo", "--memroy")
    assert done.returncode != 0
    assert "--memroy" in done.stderr
    assert "Traceback" not in done.stderr
