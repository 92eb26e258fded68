# SPDX-License-Identifier: Apache-2.0
"""``mco doctor``: why does it not work? Looks from here to the nodes, and says what to do about what it finds."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mco_client.cli import exits, options, output
from mco_client.cli.app import App
from mco_client.doctor.finding import Finding, Grade
from mco_client.text import one_line

if TYPE_CHECKING:
    from mco_rpc.filters import Filter

_COLOURS = {Grade.OK: "green", Grade.WARNING: "yellow", Grade.ILL: "red", Grade.SKIPPED: "cyan"}
_GRADE_WIDTH = max(len(grade) for grade in Grade)
_AREA_WIDTH = 13
_MAX_TEXT = 2000


@click.command(
    epilog="""\b
Examples:
  mco doctor                          look at everything
  mco doctor -C /dev_server/          only at these nodes
  mco doctor --dm inventory --do fleet.yaml    and at who should be there
  mco doctor -j                       for a program
  mco doctor --explain clock-node     what an illness is

\b
Exit status:
  0  well; warnings count with --strict only
  1  the command line is wrong, and nothing was looked at
  2  ill"""
)
@options.filtered
@options.timeout
@options.located()
@click.option("--strict", "is_strict", is_flag=True, help="Count warnings as illnesses.")
@click.option("--explain", metavar="CODE", help="Say what an illness is, and what to do; `all` for all of them.")
@options.verbose("Say which illness it is by its code.")
@options.as_json
@options.debug
@click.pass_context
def doctor(
    ctx: click.Context,
    node_filter: Filter,
    timeout_s: float | None,
    config: Path | None,
    changes: dict[str, Any],
    is_strict: bool,
    explain: str | None,
    is_verbose: bool,
    is_json: bool,
) -> int:
    """Find out why something does not work, and what to do."""
    from mco_client.doctor.examination import examine
    from mco_client.doctor.patient import TIMEOUT_S, Patient

    if explain is not None:
        return _explain(explain)
    patient = Patient(ctx.ensure_object(App).open, config, changes, node_filter, timeout_s or TIMEOUT_S)
    findings = []
    for finding in examine(patient):
        findings.append(finding)
        if not is_json:
            _say(finding, is_verbose=is_verbose)
    counts = Counter(finding.grade for finding in findings)
    if is_json:
        output.say_json(
            {
                "findings": [finding.to_dict() for finding in findings],
                "statistics": {grade.value: counts[grade] for grade in Grade},
            }
        )
    else:
        output.say(f"\n{_summary(counts)}")
    return _status(counts, is_strict=is_strict)


def _say(finding: Finding, *, is_verbose: bool) -> None:
    grade = output.coloured(f"{finding.grade:<{_GRADE_WIDTH}}", _COLOURS[finding.grade])
    code = f"  [{finding.code}]" if finding.code and is_verbose else ""
    output.say(f"{grade}  {finding.area:<{_AREA_WIDTH}}  {one_line(finding.text, _MAX_TEXT)}{code}")
    if advice := finding.advice:
        output.say(f"{'':<{_GRADE_WIDTH}}  {'':<{_AREA_WIDTH}}  -> {one_line(advice, _MAX_TEXT)}")
    sys.stdout.flush()


def _summary(counts: Counter[Grade]) -> str:
    parts = [f"{counts[grade]} {grade}" for grade in Grade if counts[grade]]
    is_well = not counts[Grade.ILL] and not counts[Grade.WARNING]
    return f"{', '.join(parts)}{': all is well' if is_well and not counts[Grade.SKIPPED] else ''}"


def _status(counts: Counter[Grade], *, is_strict: bool) -> int:
    if counts[Grade.ILL] or (is_strict and counts[Grade.WARNING]):
        return exits.FAILED
    return exits.OK


def _explain(code: str) -> int:
    from mco_client.doctor.illnesses import ILLNESSES
    from mco_rpc.suggestion import did_you_mean

    if code != "all" and code not in ILLNESSES:
        raise click.UsageError(
            f"there is no illness {code!r}{did_you_mean(code, ILLNESSES)}; `--explain all` lists them."
        )
    chosen: Iterable[str] = ILLNESSES if code == "all" else (code,)
    output.say("\n\n".join(_described(each) for each in chosen))
    return exits.OK


def _described(code: str) -> str:
    from mco_client.doctor.illnesses import ILLNESSES

    illness = ILLNESSES[code]
    advice = Finding(illness.area, Grade.ILL, "", code).advice
    return (
        f"{code} ({illness.area}, {'a warning' if illness.is_warning else 'an illness'})\n"
        f"  symptom: {illness.symptom}\n  cause:   {illness.cause}\n  to do:   {advice}"
    )
