# SPDX-License-Identifier: Apache-2.0
"""What this node knows about itself: facts and classes, from files and from executables.

A source that breaks keeps its last good values, and the node says so: in its log and to whoever takes
its inventory.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mco_rpc.command import run
from mco_rpc.errors import ConfigError, RequestError
from mco_rpc.ownership import why_not_trusted
from mco_rpc.yaml_text import parse_yaml, read_yaml_mapping

_log = logging.getLogger(__name__)
EXECUTABLE_TIMEOUT_S = 10.0


class Watched:
    """The value in a file, read again when the file changes; the last good value while it is broken."""

    def __init__(self, path: Path, read: Callable[[Path], Any], empty: Any, *, is_optional: bool) -> None:
        self._path, self._read = path, read
        self._value = empty
        self._is_optional = is_optional
        self._seen: object = None
        self._was_there = False
        self._lock = threading.Lock()
        self.problem: str | None = None

    def current(self) -> Any:
        """Return the value as the file says now, or as it last said."""
        try:
            status = self._path.stat()
            seen: object = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError as e:
            seen = e.errno
        with self._lock:
            if seen != self._seen:
                self._seen = seen
                self._load()
            return self._value

    def _load(self) -> None:
        if self._is_optional and not self._was_there and not self._path.exists():
            self.problem = None
            return
        self._was_there = True
        try:
            self._value = self._read(self._path)
            self.problem = None
        except ConfigError as e:
            self.problem = f"{e}; the last good values are kept"
            _log.error("%s", self.problem)


class Facts:
    """The facts of a file and of a folder of executables, later ones over earlier ones by name.

    Args:
        folder: executables print a mapping as YAML, JSON or ``key=value`` lines; ``*.yaml`` files hold one.
    """

    def __init__(self, file: Watched, folder: Path, interval_s: float) -> None:
        self._file = file
        self._folder = folder
        self._interval_s = interval_s
        self._by_source: dict[str, dict[str, Any]] = {}
        self._problems: dict[str, str] = {}
        self._merged: tuple[object, Mapping[str, Any]] = (None, {})
        self._generation = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def current(self) -> Mapping[str, Any]:
        """Return all facts; cheap unless something changed."""
        from_file = self._file.current()
        key = (id(from_file), self._generation)
        if self._merged[0] != key:
            merged = dict(from_file)
            for _, values in sorted(self._by_source.items()):
                merged.update(values)
            self._merged = (key, merged)
        return self._merged[1]

    def problems(self) -> list[str]:
        """Return what is wrong with any source."""
        file = [self._file.problem] if self._file.problem else []
        return file + [problem for _, problem in sorted(self._problems.items())]

    def start(self) -> None:
        """Run the executables once, and again every interval."""
        self.refresh()
        # Without a folder too: it may be made later.
        self._thread = threading.Thread(target=self._every_interval, name="facts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Run them no more."""
        self._stop.set()

    def refresh(self) -> None:
        """Ask every source in the folder now; never raise."""
        fresh: dict[str, dict[str, Any]] = {}
        problems: dict[str, str] = {}
        try:
            for source in self._sources():
                try:
                    fresh[source.name] = _plain_mapping(_read_source(source))
                except Exception as e:
                    fresh[source.name] = self._by_source.get(source.name, {})
                    problems[source.name] = f"facts {source}: {_said(e)}; the last good values are kept"
        except Exception as e:
            fresh = self._by_source
            problems = {"": f"facts_dir: {self._folder}: {_said(e)}; the last good values are kept"}
        for problem in problems.values():
            _log.error("%s", problem)
        self._by_source, self._problems = fresh, problems
        self._generation += 1

    def _sources(self) -> list[Path]:
        """Return the files in the folder; none if there never was one."""
        try:
            why_not = why_not_trusted(self._folder.stat())
            found = sorted(self._folder.iterdir())
        except FileNotFoundError:
            if self._by_source:
                raise
            return []
        if why_not:
            raise ConfigError(why_not)
        return [source for source in found if not source.name.startswith(".") and source.is_file()]

    def _every_interval(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.refresh()


def watch_facts(path: Path, *, is_optional: bool) -> Watched:
    """Return the facts in a YAML file."""
    return Watched(path, _read_facts, {}, is_optional=is_optional)


def watch_classes(path: Path, *, is_optional: bool) -> Watched:
    """Return the classes in a file: a YAML list, or one name a line as Puppet writes them."""
    return Watched(path, _read_classes, frozenset(), is_optional=is_optional)


def _read_facts(path: Path) -> dict[str, Any]:
    values = read_yaml_mapping(path)
    try:
        return _plain_mapping(values)
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e


def _read_classes(path: Path) -> frozenset[str]:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from e
    if path.suffix not in (".yaml", ".yml"):
        return frozenset(line.strip() for line in text.splitlines() if line.strip())
    names = parse_yaml(text, str(path))
    if not isinstance(names, list | None) or not all(isinstance(name, str) for name in names or ()):
        raise ConfigError(f"{path}: expected a list of class names")
    return frozenset(names or ())


def _said(error: Exception) -> str:
    if isinstance(error, ConfigError | RequestError):
        return str(error)
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"


def _read_source(source: Path) -> Any:
    if source.suffix in (".yaml", ".yml"):
        return read_yaml_mapping(source)
    status = source.stat()
    if not os.access(source, os.X_OK):
        raise ConfigError("neither executable nor a .yaml file")
    if why_not := why_not_trusted(status):
        raise ConfigError(f"not run, because {why_not}")
    done = run((str(source),), deadline=time.monotonic() + EXECUTABLE_TIMEOUT_S, check=True)
    if done.is_truncated:
        raise ConfigError("it printed too much")
    lines = [line for line in done.stdout.splitlines() if line.strip() and not line.startswith("#")]
    if lines and all("=" in line and ":" not in line.partition("=")[0] for line in lines) and lines[0][0] not in "{[":
        return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    return parse_yaml(done.stdout, str(source))


def _plain_mapping(values: Any) -> dict[str, Any]:
    """Return facts as data that JSON can say: dates become text, keys become text."""
    if not isinstance(values, dict | None):
        raise ConfigError(f"expected a mapping of facts, found {type(values).__name__}")
    try:
        plain: dict[str, Any] = msgspec.to_builtins(values or {}, str_keys=True, enc_hook=str)
        msgspec.json.encode(plain)
    except (TypeError, ValueError, RecursionError) as e:
        raise ConfigError(f"these facts cannot be sent: {e}") from e
    return plain
