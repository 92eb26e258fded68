# SPDX-License-Identifier: Apache-2.0
"""Run the checks that prove this project, one after the other, and stop at the first that fails.

``make lint``, ``make test``, the hooks of pre-commit and the CI entry all come here, so that they cannot differ.
Needs only the standard library; must not install anything (``tools/setup.sh`` does) nor decide what a check means.

    python tools/check.py lint          the checks that need no network and no root
    python tools/check.py test          everything
    python tools/check.py mypy docs     the named checks
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent
AS_ROOT = str(ROOT / "tools" / "as_root.sh")
TYPED_PACKAGES = ("mco_rpc", "mco_client", "mco_node", "mco_agents", "mco_host", "mco_lab", "mco_registry")
COVERED_FILES = "mco_rpc/*,mco_client/*,node/*,registry/*"
MINIMUM_COVERAGE_PERCENT = 95
# Inside the checkout, because the lab's hosts see the checkout but not each other's temporary folders.
SCRATCH = ROOT / "build" / "check"
INTERRUPTED = 130


@dataclass(frozen=True)
class Check:
    """One command, and what to do when it fails."""

    name: str
    command: tuple[str, ...]
    advice: str
    needs_root: bool = False


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module of the virtual environment."""
    return (PYTHON, "-m", name, *arguments)


def all_checks(site_folder: str) -> dict[str, Check]:
    """Return every check by name, in the order in which ``test`` runs them: the quick ones first."""
    typed = [word for package in TYPED_PACKAGES for word in ("-p", package)]
    pytest = ("-n", "auto", "--dist", "loadgroup", "-p", "no:cacheprovider", "tests", "--ignore=tests/packaging")
    report = (f"--include={COVERED_FILES}", f"--fail-under={MINIMUM_COVERAGE_PERCENT}")
    checks = (
        Check("format", module("ruff", "format", "--check"), "run '.venv/bin/ruff format'"),
        Check("ruff", module("ruff", "check"), "run '.venv/bin/ruff check --fix', then mend the rest by hand"),
        Check("mypy", module("mypy", *typed), "mend the types named above"),
        Check("imports", (str(BIN / "lint-imports"),), "docs/decisions says who may import whom, and why"),
        Check("docs", module("mkdocs", "build", "--quiet", "--strict", "--site-dir", site_folder), "mend docs/"),
        Check("packaging", module("pytest", "-p", "no:cacheprovider", "tests/packaging"), "see the failures above"),
        Check("tests", module("coverage", "run", "-m", "pytest", *pytest), "see the failures above", needs_root=True),
        Check("combine", module("coverage", "combine", "--quiet"), "no test was measured: see [tool.coverage.run]"),
        Check("coverage", module("coverage", "report", *report), "test the lines and branches listed above"),
        Check("demo", (str(BIN / "mco"), "demo"), "run 'make demo' for this part alone", needs_root=True),
    )
    return {check.name: check for check in checks}


GROUPS = {"lint": ("format", "ruff", "mypy", "imports")}


def run(check: Check, environment: dict[str, str]) -> int:
    """Run one check with its output on ours and return its exit status."""
    print(f"\n== {check.name}: {' '.join(_readable(word) for word in check.command)}", flush=True)
    command = [AS_ROOT, *check.command] if check.needs_root else list(check.command)
    try:
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    except FileNotFoundError:
        print(f"{command[0]} is not there: run 'make setup'", flush=True)
        return 127


def run_all(checks: list[Check]) -> int:
    """Run the checks in turn up to the first failure, close with a table of wall times, return the exit status."""
    times_s: list[tuple[str, float]] = []
    failed: tuple[Check, int] | None = None
    environment = {
        **os.environ,
        "COVERAGE_FILE": str(SCRATCH / "coverage"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(SCRATCH / "hypothesis"),
    }
    for check in checks:
        started = time.monotonic()
        status = run(check, environment)
        times_s.append((check.name, time.monotonic() - started))
        if status:
            failed = check, status
            break
    _print_table(times_s, is_failed=failed is not None)
    if failed is None:
        return 0
    check, status = failed
    print(f"FAILED: {check.name} (exit status {status}): {check.advice}", flush=True)
    return 1


def main(arguments: list[str]) -> int:
    """Run the named checks or groups."""
    with tempfile.TemporaryDirectory(prefix="mco-site-") as site_folder:
        known = all_checks(site_folder)
        groups = {**GROUPS, "test": tuple(known)}
        unknown = [name for name in arguments if name not in known and name not in groups]
        if unknown or not arguments:
            print(f"Say which checks to run: {', '.join((*groups, *known))}. Seen: {' '.join(arguments) or 'nothing'}")
            return 2
        checks = [known[name] for argument in arguments for name in groups.get(argument, (argument,))]
        return _run_with_root(checks) if any(check.needs_root for check in checks) else run_all(checks)


def _run_with_root(checks: list[Check]) -> int:
    """Ask for the password now and not in the middle, start from no measurement, and leave no file of root's."""
    is_root = os.getuid() == 0
    if not is_root and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode:
        print("The tests with real hosts need root:", flush=True)
        if subprocess.run(["sudo", "-v"], check=False).returncode:
            return 1
    SCRATCH.mkdir(parents=True, exist_ok=True)
    for old in SCRATCH.glob("coverage*"):
        old.unlink()
    try:
        return run_all(checks)
    finally:
        if not is_root:
            owner = f"{os.getuid()}:{os.getgid()}"
            find = ["find", str(ROOT), "-xdev", "-uid", "0", "-exec", "chown", "-h", owner, "{}", "+"]
            subprocess.run([AS_ROOT, *find], check=False)


def _readable(word: str) -> str:
    """Shorten the paths of the checkout for a person's eye."""
    return word.replace(f"{ROOT}/", "")


def _print_table(times_s: list[tuple[str, float]], *, is_failed: bool) -> None:
    """Print how long each check took, and how the run ended."""
    print()
    for number, (name, time_s) in enumerate(times_s, start=1):
        word = "FAILED" if is_failed and number == len(times_s) else "ok"
        print(f"  {name:<10} {time_s:7.1f} s  {word}")
    total_s = sum(time_s for _, time_s in times_s)
    print(f"  {'all':<10} {total_s:7.1f} s", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
