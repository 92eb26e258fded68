# SPDX-License-Identifier: Apache-2.0
"""Load agents and data sources again while the node runs: one at a time, and what fails keeps the old one at work."""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mco_rpc.agent import NodeView, time_left_s
from mco_rpc.config import NodeSettings
from mco_rpc.errors import ActionAborted, InvalidData
from mco_rpc.suggestion import did_you_mean

from .loader import Loaded, Part, Wanted
from .offer import Offer
from .origins import Origin, stamps

_log = logging.getLogger(__name__)
# A file that changed so lately may be half written.
SETTLE_S = 1.0
_LOCK_TIMEOUT_S = 10.0


# Finds the agents of a node, given what it has now and what of that is wanted again; `mco_node.loader.load` is the
# usual one.
Load = Callable[[NodeSettings, NodeView, Loaded | None, Wanted | None], Loaded]


class Reloading:
    """Holds what the node offers, and replaces it as a whole.

    Args:
        on_offer: is told of each new offer, before anybody is told that it is there.
    """

    def __init__(
        self,
        settings: NodeSettings,
        node: NodeView,
        load: Load,
        on_offer: Callable[[Offer], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._node, self._load, self._on_offer, self._clock = settings, node, load, on_offer, clock
        self._lock = threading.Lock()
        self._since = 0.0
        self._is_over = threading.Event()
        self._loaded = load(settings, node, None, None)
        self.offer = Offer.of(self._loaded)
        self.last: dict[str, Any] | None = None

    def one(self, name: str) -> dict[str, Any]:
        """Load one agent again.

        Raises:
            InvalidData: there is none of that name, and no file either.
            ActionAborted: it does not load; an old one stays.
        """
        found: list[Part | None] = []

        def wanted(origin: Origin | None, was: Part | None) -> bool:
            is_it = (origin is not None and origin.called == name) or (was is not None and _declares(was, name))
            if is_it:
                found.append(was)
            return is_it

        told = self.again(wanted, f"agent {name}")
        if not found:
            raise InvalidData(
                f"there is no agent {name!r} on this node{did_you_mean(name, self.offer.agents)}, and nothing that is "
                "called so; reload_agents looks at all files"
            )
        self._complain(told, [part for part in self._loaded.parts.values() if wanted(part.origin, part)])
        return told

    def all(self, settings: NodeSettings | None = None) -> dict[str, Any]:
        """Load everything again, with other settings if they are given; what fails raises `ActionAborted`."""
        told = self.again(None, "all agents", settings)
        self._complain(told, list(self._loaded.parts.values()))
        return told

    def again(self, wanted: Wanted | None, what: str, settings: NodeSettings | None = None) -> dict[str, Any]:
        """Load what is wanted, and say what is different."""
        importlib.invalidate_caches()  # a package may have been installed
        with self._alone():
            self._settings = settings or self._settings
            before = self._loaded
            loaded = self._load(self._settings, self._node, before, wanted)
            offer = Offer.of(loaded, self.offer)
            difference = _difference(before, loaded)
            self._loaded, self.offer = loaded, offer
            self._on_offer(offer)
            told = {**difference, "problems": list(loaded.problems)}
            self.last = {"at": self._clock(), "what": what, **told}
        _log.info(
            "reloaded %s: %s",
            what,
            "; ".join(f"{word} {', '.join(names)}" for word, names in difference.items() if names) or "nothing changed",
        )
        return told

    def watch(self) -> None:
        """Look at the libdir folders every interval, if there are any, until `stop`."""
        if self._settings.libdir and self._settings.libdir_interval_s:
            threading.Thread(target=self._watch, name="libdir", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._is_over.set()

    def look(self, settle: Callable[[float], object] = time.sleep) -> bool:
        """Load files that changed and have been left alone for a moment; say whether there were any."""
        seen = stamps(self._settings.libdir)
        if seen == self._loaded.stamps:
            return False
        settle(min(SETTLE_S, self._settings.libdir_interval_s))
        if stamps(self._settings.libdir) != seen:
            return False  # somebody is still at it
        self.again(_is_changed_file, "changed files in libdir")
        return True

    def _watch(self) -> None:
        while not self._is_over.wait(self._settings.libdir_interval_s):
            try:
                self.look(self._is_over.wait)
            except Exception:
                _log.exception("the libdir folders could not be looked at; trying again")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=max(0.0, min(_LOCK_TIMEOUT_S, time_left_s(_LOCK_TIMEOUT_S)) - 1.0)):
            raise ActionAborted(f"another reload has been at work for {time.monotonic() - self._since:.0f} s")
        try:
            self._since = time.monotonic()
            yield
        finally:
            self._lock.release()

    def _complain(self, told: Mapping[str, Any], parts: list[Part]) -> None:
        """Raise what is wrong with some parts, or with a folder, as the answer of who asked for them."""
        problems = [problem for part in parts for problem in part.problems]
        problems += [problem for problem in self._loaded.problems if problem.startswith("libdir: ")]
        if problems:
            raise ActionAborted("; ".join(problems), dict(told))


def _declares(part: Part, name: str) -> bool:
    return any(declared == name for _, declared in part.names)


def _is_changed_file(origin: Origin | None, was: Part | None) -> bool:
    before = was.origin if was else None
    either = origin or before
    if either is None or not either.folder:
        return False
    return origin is None or before is None or origin.stamp != before.stamp


def _difference(before: Loaded, after: Loaded) -> dict[str, list[str]]:
    """Return the names that came, went and were replaced; a data source's as filters write it."""
    old = {**before.agents, **{f"{name}()": source for name, source in before.sources.items()}}
    new = {**after.agents, **{f"{name}()": source for name, source in after.sources.items()}}
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "replaced": sorted(name for name in new.keys() & old.keys() if new[name] is not old[name]),
    }
