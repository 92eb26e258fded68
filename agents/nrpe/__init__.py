# SPDX-License-Identifier: Apache-2.0
"""The agent that runs the checks that a host has already: the commands of its nrpe.cfg; NRPE need not run."""

from __future__ import annotations

import contextvars
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action, time_left_s
from mco_rpc.command import clean_environment
from mco_rpc.errors import ActionAborted, ConfigError, InvalidData, TimedOut
from mco_rpc.suggestion import did_you_mean

from .command_line import arguments_of, argv_of, takes_arguments
from .config import Config, read
from .output import taken_apart

DEFAULTS = ("/etc/nagios/nrpe.cfg", "/etc/nrpe/nrpe.cfg", "/usr/local/nagios/etc/nrpe.cfg")
MAX_PARALLEL = 8
MAX_OUTPUT_BYTES = 64 * 1024  # as much as NRPE itself sends
NO_OUTPUT = "Unable to read output"
MAX_STDERR_LENGTH = 2000
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# What is kept so that an answer about those who are late is still in time.
_MARGIN_S = 1.0
COMMAND = Input(
    "string", "A command that nrpe.cfg names", prompt="Command", validate=r"/[^\x00-\x1f\x7f\[\]=!]+/", max_length=256
)
ARGS = Input(
    "any", "Its arguments: a list, or a text with ! between them", prompt="Arguments", optional=True, max_length=1024
)
SAID = {
    "exitcode": Output("integer", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN", display_as="Exit code"),
    "state": Output("string", "The same as a word", display_as="State"),
    "output": Output("string", "The first line it printed, performance data left out", display_as="Output"),
    "perfdata": Output("string", "The performance data as it printed it", display_as="Performance data"),
    "metrics": Output(
        "array", "The same as label, value, unit, warn, crit, min, max", display_as="Metrics", default=[]
    ),
    "long_output": Output("string", "All other lines", display_as="More"),
    "took_s": Output("number", "Seconds it took", display_as="Seconds"),
}


class Nrpe(Agent):
    """Run the checks of the host's nrpe.cfg.

    The setting `config` names the file, and `user` who runs the checks: nrpe_user, as with NRPE, if nothing is said
    and the node runs as root. At most `parallel` checks run at a time. Arguments are taken where nrpe.cfg has
    dont_blame_nrpe=1, and never become a part of the shell's language.
    """

    timeout_s = 60.0
    setting_names = ("config", "user", "parallel")

    @staticmethod
    def activate_when(settings: Mapping[str, object]) -> str | None:
        """Ask for the configuration."""
        if _path(settings):
            return None
        return f"there is no {settings.get('config') or ' and no '.join(DEFAULTS[:2])}"

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        for key in ("config", "user"):
            self.setting(key, "")
        self._parallel = self.setting("parallel", MAX_PARALLEL)
        if not 0 < self._parallel <= 64:
            raise ConfigError(f"agents: nrpe: parallel: expected 1 to 64, got {self._parallel!r}")

    @action(
        "Run one check",
        inputs={"command": COMMAND, "args": ARGS},
        outputs={"command": Output("string", "Its name", display_as="Command"), **SAID},
        aggregates=[Aggregate("summary", "state")],
    )
    def runcommand(self, command: str, args: object = "") -> dict[str, Any]:
        """Run it as NRPE would, and return what it says."""
        config = self._read()
        line = config.commands.get(command)
        if line is None:
            raise InvalidData(
                f"{_path(self.settings)} names no command {command!r}{did_you_mean(command, config.commands)}; "
                "nrpe#list says which there are"
            )
        arguments = arguments_of(args, config)
        return {"command": command, **self._check(config, line, arguments, time_left_s(self.timeout_s) - _MARGIN_S)}

    @action(
        "Run all checks that need no arguments",
        outputs={
            "commands": Output("hash", "What each says, by its name", display_as="Commands", default={}),
            "counts": Output("hash", "How many are in each state", display_as="Counts", default={}),
            "worst": Output("string", "The worst state of all", display_as="Worst"),
            "skipped": Output("array", "Those that need arguments", display_as="Skipped", default=[]),
        },
        timeout_s=120,
        aggregates=[Aggregate("summary", "worst")],
    )
    def runallcommands(self) -> dict[str, Any]:
        """Run several at a time; who is late is UNKNOWN."""
        from concurrent.futures import ThreadPoolExecutor

        config = self._read()
        until = time.monotonic() + time_left_s(120) - _MARGIN_S
        skipped = sorted(name for name, line in config.commands.items() if takes_arguments(line))
        names = sorted(config.commands.keys() - set(skipped))

        def check(name: str) -> dict[str, Any]:
            return self._check(config, config.commands[name], [], until - time.monotonic())

        with ThreadPoolExecutor(self._parallel, thread_name_prefix="nrpe") as pool:
            running = {name: pool.submit(contextvars.copy_context().run, check, name) for name in names}
            try:
                found = {name: future.result() for name, future in running.items()}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        counts = {state: sum(said["state"] == state for said in found.values()) for state in STATES}
        worst = next((state for state in ("CRITICAL", "WARNING", "UNKNOWN") if counts[state]), "OK")
        return {"commands": found, "counts": counts, "worst": worst, "skipped": skipped}

    @action(
        "List the commands of nrpe.cfg",
        outputs={
            "commands": Output("hash", "The command line of each name", display_as="Commands", default={}),
            "config": Output("string", "The file they are in", display_as="File"),
            "user": Output("string", "Who runs them", display_as="User"),
            "takes_arguments": Output("boolean", "Whether arguments are taken", display_as="Arguments"),
            "problems": Output("array", "What could not be read, and why", display_as="Problems", default=[]),
        },
    )
    def list(self) -> dict[str, Any]:
        """Read the files as they are now."""
        config = self._read()
        return {
            "commands": {name: _plain(config.commands[name]) for name in sorted(config.commands)},
            "config": _path(self.settings),
            "user": self._user(config) or None,
            "takes_arguments": config.is_taking_arguments,
            "problems": [_plain(problem) for problem in config.problems],
        }

    def _read(self) -> Config:
        path = _path(self.settings)
        if path is None:
            raise ActionAborted(str(self.activate_when(self.settings)))
        return read(path)

    def _user(self, config: Config) -> str:
        """Return who runs the checks, nothing for whoever runs the node."""
        return str(self.settings.get("user", config.user)) if os.geteuid() == 0 else ""

    def _check(self, config: Config, line: str, arguments: Sequence[str], left_s: float) -> dict[str, Any]:
        began = time.monotonic()
        timeout_s = min(float(config.timeout_s), left_s)
        try:
            user = self._user(config)
            done = self.run(
                *argv_of(line, arguments, config.prefix),
                timeout_s=max(timeout_s, 0.0),
                user=user or None,
                environment=_environment(user),
                max_output_bytes=MAX_OUTPUT_BYTES,
            )
            code, text = done.returncode, done.stdout
            if not text.strip():  # NRPE's verdict and words; why, it does not tell
                code, text = 3, f"{NO_OUTPUT}\n{done.stderr.strip()[:MAX_STDERR_LENGTH]}"
        except TimedOut:
            code, text = 3, f"Command timed out after {max(timeout_s, 0):g} seconds"
        except ActionAborted as e:
            if type(e) is not ActionAborted:  # cancelled
                raise
            code, text = 3, str(e)
        if code < 0:  # a signal ended it
            code = 2
        if not 0 <= code <= 3:
            code = 3
        said = taken_apart(text)
        return {**said, "exitcode": code, "state": STATES[code], "took_s": round(time.monotonic() - began, 3)}


def _path(settings: Mapping[str, object]) -> str | None:
    """Return the configuration file that there is."""
    named = settings.get("config")
    return next((str(path) for path in ((named,) if named else DEFAULTS) if Path(str(path)).is_file()), None)


def _environment(user: str) -> dict[str, str]:
    """Return the variables of a check; nothing of the daemon's own is for the user who runs them."""
    import pwd

    try:
        found = pwd.getpwnam(user) if user else None
    except KeyError:  # whoever starts it says so
        found = None
    return clean_environment(**({"HOME": found.pw_dir, "USER": user, "LOGNAME": user} if found else {}))


def _plain(text: str) -> str:
    """Return a text that can be sent, whatever bytes the file holds."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
