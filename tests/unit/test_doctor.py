# SPDX-License-Identifier: Apache-2.0
"""The illnesses that ``mco doctor`` knows: each is described in full, and there is a test that causes it."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from mco_client.cli.main import main
from mco_client.doctor.finding import found
from mco_client.doctor.illnesses import ILLNESSES

TESTS = Path(__file__).parents[1]


def _caused() -> Iterator[str]:
    """Yield the codes that tests are marked with."""
    for file in TESTS.rglob("test_doctor*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            is_mark = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "causes"
            if is_mark:
                yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))  # type: ignore[attr-defined]


def test_every_illness_is_caused_by_a_test_and_none_is_caused_that_is_not_known() -> None:
    assert set(_caused()) == set(ILLNESSES)


@pytest.mark.parametrize("code", ILLNESSES)
def test_advice_is_a_sentence_whatever_is_known_of_the_case(code: str) -> None:
    advice = found(code, "seen").advice
    assert advice
    assert "{" not in advice
    names = {name for _, name, _, _ in string.Formatter().parse(ILLNESSES[code].advice) if name}
    assert all(name.isidentifier() for name in names)


@pytest.mark.parametrize("options", [["-t", "0"], ["-t", "nan"], ["--dm", "broadcast", "--do", "nodes.txt"]])
def test_options_that_cannot_be_meant_are_refused_before_anything_is_looked_at(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *options]) == 1
    said = capsys.readouterr()
    assert not said.out
    assert options[-1] in said.err or "takes none" in said.err


def test_an_illness_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--explain", "clock-node"]) == 0
    assert "timedatectl" in capsys.readouterr().out
    assert main(["doctor", "--explain", "clock-nod"]) == 1
    assert "did you mean clock-node?" in capsys.readouterr().err
