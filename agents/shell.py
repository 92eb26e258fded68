# SPDX-License-Identifier: Apache-2.0
"""The agent that runs any command, off unless a node's configuration says otherwise.

It never uses a shell by itself; who wants one says ``["sh", "-c", "..."]``, and a node that allows that allows all.
"""

from __future__ import annotations

import fnmatch
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mco_host.users import uid_of
from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action
from mco_rpc.command import clean_environment
from mco_rpc.errors import Cancelled, ConfigError, Denied, InvalidData, TimedOut
from mco_rpc.strays import VARIABLE, end_strays, new_mark

TIMEOUT_S = 60.0
MAX_COMMAND_LENGTH = 4096
_ANY_MORE = "..."
WHY_OFF = (
    "off unless the configuration says `agents: {shell: {enabled: true}}`: it runs what a caller likes, "
    "and no schema can check that"
)


class Shell(Agent):
    """Run a command, where a node's owner has allowed that.

    It is off: what a caller likes, run as the node's user, has no schema that could refuse a mistake, need not be the
    same the second time, and an authorization rule that allows it allows everything. Write an agent instead; in shell,
    Perl or any other language it takes ten lines more than the command: see
    [Agents in any language](../../guides/external-agents.md).

    Switched on it runs anything; with ``allow`` only what is like a line of that list:

    ```yaml
    agents:
      shell:
        enabled: true
        allow: ["uptime", "systemctl status *", "journalctl -u nginx ..."]
    ```

    A line is compared word by word; ``*`` and ``?`` are as in file names, but never stand for an option's leading
    ``-``, and a last ``...`` for any further words, options too. A caller can then set neither the environment nor the
    folder. A program that runs others (``env``, ``find``, ``tar``) allows everything again.
    """

    timeout_s = TIMEOUT_S
    why_off = WHY_OFF
    setting_names = ("allow",)

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._allowed = _patterns(self.setting("allow", [])) if "allow" in self.settings else None

    @action(
        "Run a command, and say how it ended",
        inputs={
            "command": Input(
                "any", "Its words as a list, or as a text that is split as a shell would; no shell sees it", "Command"
            ),
            "timeout_s": Input("number", f"Seconds it may take, at most {TIMEOUT_S:g}", optional=True),
            "user": Input("string", "Who runs it", optional=True, validate="shellsafe", max_length=64),
            "cwd": Input(
                "string", "The folder it runs in", default="/", validate=r"/\/[^\x00-\x1f\x7f]*/", max_length=1024
            ),
            "environment": Input("hash", "Variables beside PATH, HOME and LANG", optional=True, max_length=100),
        },
        outputs={
            "exitcode": Output("integer", "Its exit status; less than 0 for a signal", display_as="Status"),
            "stdout": Output("string", "What it printed", display_as="Output"),
            "stderr": Output("string", "What it printed on standard error", display_as="Errors"),
            "took_s": Output("float", "Seconds it took", display_as="Seconds"),
            "is_truncated": Output("boolean", "Whether it printed more than is kept", display_as="Cut off"),
            "words": Output("array", "The words that were run, or with noop would be", display_as="Words"),
        },
        mutating=True,
        noop=True,
        aggregates=[Aggregate("summary", "exitcode")],
    )
    def run(  # type: ignore[override]  # the action has the name that its users know
        self,
        command: object,
        timeout_s: float = TIMEOUT_S,
        user: str | None = None,
        cwd: str = "/",
        environment: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Run it to its end; a status other than 0 is an answer like any other."""
        words = _words(command)
        self._check_allowed(words, cwd, environment)
        if timeout_s <= 0:
            raise InvalidData(f"shell#run: timeout_s: expected more than 0, got {timeout_s:g}")
        if self.is_noop:
            return {"words": words}
        if not Path(cwd).is_dir():
            raise InvalidData(f"shell#run: cwd: there is no folder {cwd} on this node")
        mark = new_mark()
        variables = clean_environment(**{**_of_user(user), **_texts(environment), VARIABLE: mark})
        began = time.monotonic()
        try:
            done = super().run(*words, is_streamed=True, timeout_s=timeout_s, environment=variables, cwd=cwd, user=user)
        except (TimedOut, Cancelled):
            end_strays(mark, *([uid_of(user)] if user else []))
            raise
        return {
            "exitcode": done.returncode,
            "stdout": done.stdout,
            "stderr": done.stderr,
            "took_s": round(time.monotonic() - began, 3),
            "is_truncated": done.is_truncated,
            "words": words,
        }

    def _check_allowed(self, words: list[str], cwd: str, environment: Mapping[str, object] | None) -> None:
        if self._allowed is None:
            return
        if environment or cwd != "/":
            raise Denied("shell#run: this node allows some commands only, and then neither environment nor cwd")
        if not any(_is_like(words, pattern) for pattern in self._allowed):
            known = ", ".join(f"`{' '.join(pattern)}`" for pattern in self._allowed)
            raise Denied(f"shell#run: `{shlex.join(words)}` is none of what this node allows: {known}")


def _words(command: object) -> list[str]:
    if isinstance(command, str):
        try:
            words = shlex.split(command)
        except ValueError as e:
            raise InvalidData(f"shell#run: command {command[:80]!r} cannot be split into words: {e}") from e
    elif isinstance(command, list) and all(isinstance(word, str) for word in command):
        words = list(command)
    else:
        raise InvalidData(f"shell#run: command: expected a text or a list of texts, got {str(command)[:80]!r}")
    length = sum(map(len, words))
    if not words or not words[0]:
        raise InvalidData("shell#run: command: it names no program")
    if length > MAX_COMMAND_LENGTH:
        raise InvalidData(f"shell#run: command: {length} characters; at most {MAX_COMMAND_LENGTH} are allowed")
    if any("\0" in word for word in words):
        raise InvalidData("shell#run: command: a word cannot hold a null character")
    return words


def _patterns(given: list[object]) -> list[list[str]]:
    try:
        patterns = [shlex.split(str(line)) for line in given]
    except ValueError as e:
        raise ConfigError(f"agents: shell: allow: {e}") from e
    for line, words in zip(given, patterns, strict=True):
        if not words or not words[0] or words[0] == _ANY_MORE or set(words[0]) & set("*?["):
            raise ConfigError(
                f"agents: shell: allow: {line!r}: expected the name of a program first, without placeholders; "
                "without `allow` everything is allowed"
            )
    return patterns


def _is_like(words: list[str], pattern: list[str]) -> bool:
    if pattern[-1] == _ANY_MORE:
        pattern = pattern[:-1]
        words = words[: len(pattern)] if len(words) >= len(pattern) else []
    return len(words) == len(pattern) and all(
        fnmatch.fnmatchcase(word, like) and not (word.startswith("-") and not like.startswith("-"))
        for word, like in zip(words, pattern, strict=True)
    )


def _texts(environment: Mapping[str, object] | None) -> dict[str, str]:
    for key, value in (environment or {}).items():
        if not key or "=" in key or "\0" in key or not isinstance(value, str) or "\0" in value:
            raise InvalidData(f"shell#run: environment: {key!r} is no variable with a text")
    return {key: str(value) for key, value in (environment or {}).items()}


def _of_user(name: str | None) -> dict[str, str]:
    """Return the variables that a user's programs expect; raise `InvalidData` if there is no such user."""
    if name is None:
        return {}
    import pwd

    try:
        found = pwd.getpwnam(name)
    except KeyError as e:
        raise InvalidData(f"shell#run: user: there is no user {name!r} on this node") from e
    return {"HOME": found.pw_dir, "USER": name, "LOGNAME": name}
