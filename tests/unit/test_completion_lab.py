# SPDX-License-Identifier: Apache-2.0
"""The words of ``mco lab`` are completed by the labs that are up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mco_client.cli.completion import answer
from mco_client.cli.main import mco
from mco_lab import state
from mco_lab.errors import LabError


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mco lab exec ", ["db1", "web1", "web2"]),
        ("mco lab exec we", ["web1", "web2"]),
        ("mco lab kill web1 ", ["db1", "web2"]),
        ("mco lab exec --name other ", ["alone"]),
        ("mco lab exec --name gone ", []),
        ("mco lab exec --name d", ["default"]),
        ("mco lab down --name ", ["default", "other"]),
        ("mco lab up fire", [":files", "firewall"]),
        ("mco lab part", ["partition"]),
    ],
)
def test_each_word_is_completed(
    line: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given two labs that are up
    up = {"default": ["web2", "web1", "db1"], "other": ["alone"]}

    def load(name: str) -> SimpleNamespace:
        if name not in up:
            raise LabError(f"no lab named {name} is up")
        return SimpleNamespace(hosts=[SimpleNamespace(name=host) for host in up[name]])

    monkeypatch.setattr(state, "load", load)
    monkeypatch.setattr(state, "names", lambda: sorted(up))
    monkeypatch.delenv("MCO_LAB", raising=False)
    monkeypatch.setenv("_MCO_WORDS", line.replace(" ", "\x1f"))
    # When the key is pressed, then they are offered
    assert answer(mco, "zsh") == 0
    said = capsys.readouterr()
    assert [word.partition("\t")[0] for word in said.out.splitlines()] == words
    assert said.err == ""
