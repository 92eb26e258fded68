# SPDX-License-Identifier: Apache-2.0
"""All data sources of a node, asked in time and once: a source that fails makes the filter fail, never be false.

It does not know filters; `mco_rpc.filters` calls what `Sources.session` returns.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from mco_rpc.agent import deadline
from mco_rpc.data import DataSource, SourceSchema
from mco_rpc.errors import Cancelled, FilterError, McoError, TimedOut
from mco_rpc.suggestion import did_you_mean
from mco_rpc.validation import shown

from .moment import CutShort, Moment

_log = logging.getLogger(__name__)
Ask = Callable[[str, tuple[str, ...]], Mapping[str, Any]]


class Sources:
    """What a node can be asked in filters.

    Args:
        active: the sources by name.
        inactive: those that do not apply to this node, and why.
        clock: seconds of a clock that nobody sets; deadlines are on it.
    """

    def __init__(
        self,
        active: Mapping[str, DataSource],
        inactive: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._active = dict(active)
        self.inactive: Mapping[str, str] = dict(inactive or {})
        self._schemas = {
            name: msgspec.structs.replace(source.schema(), timeout_s=source.timeout_s)
            for name, source in sorted(self._active.items())
        }
        self._clock = clock
        self._moment = Moment(clock)

    def schemas(self) -> Mapping[str, SourceSchema]:
        """Return what can be asked, by name."""
        return self._schemas

    def check_names(self, names: Iterable[str]) -> None:
        """Raise `FilterError` for the first name that is no source of this node, and say why not."""
        for name in sorted(names):
            if name in self._active:
                continue
            if name in self.inactive:
                raise FilterError(f"data source {name} is not on this node: {self.inactive[name]}")
            known = ", ".join(self._schemas) or "none"
            raise FilterError(
                f"there is no data source {shown(name)}{did_you_mean(name, self._schemas)}; this node has: {known}"
            )

    def query(self, name: str, arguments: tuple[str, ...], until: float) -> Mapping[str, Any]:
        """Return the fields of a source, perhaps those that another request got a moment ago.

        Args:
            until: when the request has to be over.

        Raises:
            FilterError: there is no such source here, the arguments are wrong, or it did not answer as it should.
        """
        self.check_names((name,))
        source, schema = self._active[name], self._schemas[name]
        checked = schema.check_arguments(arguments)

        def look() -> Mapping[str, Any]:
            return self._look(source, schema, checked, until)

        try:
            return self._moment.get((name, arguments), look, until, source.keep_s)
        except FilterError as e:
            said = ", ".join(shown(argument) for argument in arguments)
            raise FilterError(f"data source {name}({said}): {e}") from e

    def session(self, until: float) -> Ask:
        """Return the function that one request asks with: the same question is put once, however long it takes."""
        answers: dict[tuple[str, tuple[str, ...]], Mapping[str, Any]] = {}

        def ask(name: str, arguments: tuple[str, ...]) -> Mapping[str, Any]:
            key = (name, tuple(arguments))
            if key not in answers:
                answers[key] = self.query(*key, until)
            return answers[key]

        return ask

    def _look(
        self, source: DataSource, schema: SourceSchema, arguments: tuple[Any, ...], until: float
    ) -> Mapping[str, Any]:
        begun = self._clock()
        own_end = begun + source.timeout_s
        end = min(until, own_end)
        late = CutShort if until < own_end else FilterError
        if end <= begun:
            raise CutShort("no time was left to ask it")
        token = deadline.set(end)
        try:
            fields = schema.check_fields(source.query(*arguments))
        except Cancelled:
            raise
        except TimedOut as e:
            raise late(str(e)) from e
        except McoError as e:
            raise FilterError(str(e)) from e
        except BaseException as e:  # whatever it does, an exit too, is its fault and not ours
            _log.exception("data source %s failed", schema.name)
            raise FilterError(f"it failed: {type(e).__name__}: {_said(e)}") from e
        finally:
            deadline.reset(token)
        if self._clock() > end:
            raise late(f"it took longer than {end - begun:.3g} s")
        return fields


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "it cannot even say why"
