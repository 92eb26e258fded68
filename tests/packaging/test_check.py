# SPDX-License-Identifier: Apache-2.0
"""What ``make test`` says must be true: a failure is never lost, and ends the run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK_PY = ROOT / "tools" / "check.py"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mco_tools_check", CHECK_PY)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_all_checks_pass(check: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    checks = [check.Check(name, python(f"print('{name} ran')"), "") for name in ("first", "second")]
    assert check.run_all(checks) == 0
    printed = capfd.readouterr().out
    assert "first ran" in printed
    assert "second ran" in printed
    assert "FAILED" not in printed


def test_first_failure_ends_the_run(check: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    checks = [
        check.Check("good", python(""), ""),
        check.Check("bad", python("raise SystemExit(3)"), "mend it"),
        check.Check("never", python("print('never ran')"), ""),
    ]
    assert check.run_all(checks) == 1
    printed = capfd.readouterr().out
    assert "never" not in printed
    assert printed.splitlines()[-1] == "FAILED: bad (exit status 3): mend it"


def test_missing_command_fails(check: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    assert check.run_all([check.Check("gone", ("/nonexistent/command",), "")]) == 1
    assert "make setup" in capfd.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["mpyy"], ["lint", "mpyy"]])
def test_unknown_name_runs_nothing(check: ModuleType, arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert check.main(arguments) == 2
    printed = capfd.readouterr().out
    assert "mypy" in printed
    assert "==" not in printed


def test_hooks_run_what_make_lint_runs(check: ModuleType) -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    entries = [line.split()[-1] for line in text.splitlines() if "tools/check.py" in line and "entry:" in line]
    assert tuple(entries) == check.GROUPS["lint"]


def test_ci_runs_make_test_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "exec make test"


def test_help_lists_every_target() -> None:
    done = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    phony = next(line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if ".PHONY" in line)
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")}
    assert listed == set(phony.split(":")[1].split())
