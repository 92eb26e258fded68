# SPDX-License-Identifier: Apache-2.0
"""behave's runner with bundled hooks and steps, for suites anywhere: ``runner = mco_client.bdd.runner:FleetRunner``.

Bundled steps come together with the suite's own; a mistake in any step is told before anything touches the
fleet; and what cannot be judged is said in words, not as a traceback.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from behave.exception import ConfigError as BehaveConfigError
from behave.model_core import Status
from behave.runner import Runner, the_step_registry
from behave.runner_util import collect_feature_locations, exec_file
from behave.step_registry import AmbiguousStep, setup_step_decorators

from mco_client.bdd import hooks
from mco_client.bdd.signals import term_interrupts
from mco_rpc.errors import ExpectationFailed, McoError
from mco_rpc.suggestion import did_you_mean

BUNDLED_STEPS = "mco_steps"
_HOOKS = ("before_all", "before_scenario", "after_scenario", "after_all")


class CouldNotJudge(AssertionError):
    """The fleet could not be asked, or its answer says nothing either way."""


class FleetRunner(Runner):  # type: ignore[misc]  # behave has no types
    """Runs features against a fleet."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        hooks.announce(config)  # behave prints lines of its own next, and this is to be the first

    def setup_paths(self) -> None:
        """Find the suite's folder; one without steps of its own is fine."""
        try:
            super().setup_paths()
        except BehaveConfigError:
            paths = self.config.paths or [self.DEFAULT_DIRECTORY]
            try:
                features = collect_feature_locations(paths)
            except FileNotFoundError as e:
                raise BehaveConfigError(f"{e}: no such file or folder") from None
            if not features:
                raise BehaveConfigError(f"no feature in {', '.join(paths)}") from None
            folder = (Path(paths[0]) if Path(paths[0]).is_dir() else Path(features[0].filename).parent).resolve()
            self.config.paths = paths
            self.config.base_dir = self.base_dir = str(folder)
            self.path_manager.add(self.base_dir)

    def load_hooks(self, filename: str | None = None) -> None:
        """Load the suite's hooks, and put the bundled ones before and after them."""
        super().load_hooks(filename)
        for name in _HOOKS:
            ours, theirs = getattr(hooks, name), self.hooks.get(name)
            if theirs is None or getattr(theirs, "__self__", None) is self:
                self.hooks[name] = ours
            elif getattr(theirs, "__module__", "") != hooks.__name__:
                self.hooks[name] = _before(ours, theirs) if name.startswith("before") else _after(theirs, ours)

    def load_step_definitions(self, extra_step_paths: list[str] | None = None) -> None:
        """Load the bundled steps, then the suite's own."""
        own = Path(self.base_dir) / self.config.steps_dir
        their_files = list(own.glob("*.py")) if own.is_dir() else []
        for file in _bundled_steps():
            # In this project's own checkout both are the same files, and a step may be defined once.
            if not any(file.samefile(theirs) for theirs in their_files):
                made: dict[str, Any] = {}
                setup_step_decorators(made)
                exec_file(str(file), made)
        if own.is_dir():
            try:
                super().load_step_definitions(extra_step_paths)
            except AmbiguousStep as e:
                raise BehaveConfigError(f"a step is defined twice: {e}") from None

    def run_model(self, features: Any = None) -> bool:
        """Look at every step, then run; say whether anything failed."""
        # behave makes a second registry when it starts; the steps are in the one that its runner holds.
        registry = self.step_registry or the_step_registry
        problems = list(dict.fromkeys(_problems(features or self.features, registry, self.config)))
        for problem in problems:
            print(problem)
        if problems:
            print("Nothing was run, and nothing was touched.")
            return True
        for matchers in registry.steps.values():
            for matcher in matchers:
                matcher.func = _told_in_words(matcher.func)
        with term_interrupts():
            has_failed = bool(super().run_model(features))
        if not has_failed and not any(step.status == Status.passed for step in _steps(features or self.features)):
            print("Nothing was judged: every scenario that was selected was skipped.")
        return has_failed


def _steps(features: Any) -> Iterator[Any]:
    return (step for feature in features for scenario in feature.walk_scenarios() for step in scenario.all_steps)


def _problems(features: Any, registry: Any, config: Any) -> Iterator[str]:
    """Yield what is wrong with the features: steps that nobody defined, nothing selected."""
    known = [matcher.pattern for matchers in registry.steps.values() for matcher in matchers]
    selected = [s for feature in features for s in feature.walk_scenarios() if s.should_run(config)]
    if not selected:
        yield "no scenario was selected: look at the paths, tags and names that were asked for"
    for feature in features:
        if not list(feature.walk_scenarios()):
            yield f"{feature.location}: a feature without a scenario, or an outline without examples, proves nothing"
    for scenario in selected:
        if not scenario.steps:
            yield f"{scenario.location}: a scenario without a step proves nothing: {scenario.name}"
        for step in scenario.all_steps:
            if registry.find_match(step) is None:
                near = did_you_mean(step.name, known)
                yield f"{step.location}: undefined step: {step.keyword} {step.name}{near}"


def _bundled_steps() -> list[Path]:
    found = importlib.util.find_spec(BUNDLED_STEPS)
    folders = list(found.submodule_search_locations or ()) if found else []
    return sorted(file for folder in folders for file in Path(folder).glob("*_steps.py"))


def _before(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    """Return a hook that does both; what the first could not begin, the second does not see."""

    def hook(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    hook.capture = False  # type: ignore[attr-defined]  # behave reads it off the function
    return hook


def _after(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    """Return a hook that does both, the second whatever becomes of the first."""

    def hook(*arguments: Any) -> None:
        try:
            first(*arguments)
        finally:
            second(*arguments)

    hook.capture = False  # type: ignore[attr-defined]  # behave reads it off the function
    return hook


def _told_in_words(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a step that tells a problem of the fleet as a text; a bug in the step keeps its traceback."""

    @functools.wraps(step)
    def told(*arguments: Any, **named: Any) -> Any:
        try:
            return step(*arguments, **named)
        except ExpectationFailed:
            raise
        except McoError as e:
            raise CouldNotJudge(f"could not judge: {e}") from None

    return told
