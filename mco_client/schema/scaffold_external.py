# SPDX-License-Identifier: Apache-2.0
"""The first version of an agent that is an executable: its schema, the executable in a language, and a test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SHELL = """\
#!/bin/sh
# {description} Inputs are $MCO_INPUT_name, settings $MCO_SETTING_name.
set -eu

case $MCO_CALL_ACTION in
{cases}
esac
"""
_SHELL_CASE = """\
    {action}) printf '{{"data": {data}}}\\n' ;;\
"""
_PERL = """\
#!/usr/bin/perl
# {description}
use strict;
use warnings;
use JSON::PP;

my $json = JSON::PP->new->utf8->canonical;
my $request = $json->decode(do {{ local $/; <STDIN> }});    # action, data, settings, noop, caller ...

my %actions = (
{cases}
);
print $json->encode({{data => $actions{{$request->{{action}}}}->($request->{{data}})}}), "\\n";
"""
_PERL_CASE = """\
    {action} => sub {{ my ($inputs) = @_; return $json->decode('{data}') }},\
"""
_NODE = """\
#!/usr/bin/env node
// {description}
"use strict";

const request = JSON.parse(require("fs").readFileSync(0, "utf8")); // action, data, settings, noop, caller ...

const actions = {{
{cases}
}};
console.log(JSON.stringify({{ data: actions[request.action](request.data) }}));
"""
_NODE_CASE = """\
  {action}: (inputs) => ({data}),\
"""
_PYTHON = '''\
#!/usr/bin/env python3
"""{description}"""

import json
import sys

REQUEST = json.load(sys.stdin)  # action, data, settings, noop, caller ...
ACTIONS = {{
{cases}
}}
print(json.dumps({{"data": ACTIONS[REQUEST["action"]](REQUEST["data"])}}))
'''
_PYTHON_CASE = """\
    "{action}": lambda inputs: json.loads('{data}'),\
"""
_TEST = '''\
"""What the agent {name} answers when a client asks."""

from pathlib import Path

from mco_client import RpcClient
from mco_lab.memory import MemoryFleet

LIBDIR = Path(__file__).resolve().parent.parent


def test_it_answers_through_the_whole_path():
    with MemoryFleet({{"web1": {{"settings": {{"libdir": [str(LIBDIR)]}}}}}}) as fleet:
        client = RpcClient("{name}", fleet.connection())
{calls}'''
# Language -> its file, the whole, and what answers one action.
LANGUAGES = {
    "sh": ("{name}.sh", _SHELL, _SHELL_CASE),
    "perl": ("{name}.pl", _PERL, _PERL_CASE),
    "node": ("{name}.js", _NODE, _NODE_CASE),
    # A .py file in a libdir itself is an agent of the other kind.
    "python": ("{name}/{name}.py", _PYTHON, _PYTHON_CASE),
}


def files(
    name: str, description: str, asking: Sequence[str], changing: Sequence[str], language: str
) -> dict[Path, str]:
    """Return path -> text; what begins with ``#!`` is to be executable."""
    file, whole, case = LANGUAGES[language]
    answers: dict[str, dict[str, object]] = {action: {"state": "unknown"} for action in asking}
    answers |= {action: {"state": "unknown", "changed": False} for action in changing}
    cases = "\n".join(case.format(action=action, data=json.dumps(data)) for action, data in answers.items())
    executable = Path(file.format(name=name))
    calls = "".join(f'        client.call("{action}").require_all(state="unknown")\n' for action in answers)
    return {
        executable.with_name(f"{name}.json"): json.dumps(_schema(name, description, asking, changing), indent=2) + "\n",
        executable: whole.format(description=description, cases=cases),
        Path(f"tests/test_{name}.py"): _TEST.format(name=name, calls=calls),
    }


def _schema(name: str, description: str, asking: Sequence[str], changing: Sequence[str]) -> dict[str, Any]:
    state = {"state": {"type": "string", "description": "How it is", "display_as": "State"}}
    changed = {"changed": {"type": "boolean", "description": "Whether something was changed", "display_as": "Changed"}}
    reason = {"type": "string", "description": "Why", "prompt": "Reason", "optional": True, "max_length": 200}
    asked = {
        action: {
            "description": "Say how it is",
            "outputs": state,
            "aggregates": [{"function": "summary", "output": "state"}],
        }
        for action in asking
    }
    done = {
        action: {
            "description": "Change it",
            "mutating": True,
            "inputs": {"reason": reason},
            "outputs": state | changed,
        }
        for action in changing
    }
    return {
        "name": name,
        "version": "0.1",
        "description": description,
        "timeout_s": 10,
        "external": {"protocol": 1},
        "actions": asked | done,
    }
