# SPDX-License-Identifier: Apache-2.0
"""Making, changing and removing files: the part of the file agent that needs `writable` folders."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from mco_host import changes, files
from mco_host.changes import Wanted
from mco_host.paths import Place, walked
from mco_host.users import gid_of, group_name, uid_of, user_name
from mco_rpc.agent import Agent, Aggregate, Input, NodeView, Output, action
from mco_rpc.errors import ActionAborted, InvalidData
from mco_rpc.turns import Turns

from .allowed import Allowed
from .difference import MAX_COMPARED_BYTES, difference
from .reading import PATH

MAX_CONTENT_LENGTH = 256 * 1024
_OWNER_RULE = r"/[A-Za-z0-9_][A-Za-z0-9_.@\\$-]*/"
KIND = Input("list", "What it shall be", prompt="Kind", choices=("file", "directory", "link", "absent"), default="file")
CONTENT = Input("string", "What shall be in the file", prompt="Content", optional=True, max_length=MAX_CONTENT_LENGTH)
MODE = Input("string", "Permissions, as in 0644", prompt="Mode", optional=True, max_length=5, validate="/0?[0-7]{3,4}/")
OWNER = Input(
    "string", "Name or number of its owner", prompt="Owner", optional=True, max_length=256, validate=_OWNER_RULE
)
GROUP = Input(
    "string", "Name or number of its group", prompt="Group", optional=True, max_length=256, validate=_OWNER_RULE
)
TARGET = Input(
    "string",
    "Where a link shall lead",
    prompt="Target",
    optional=True,
    max_length=4096,
    validate=r"/[^\x00-\x1f\x7f]+/",
)
RECURSIVE = Input("boolean", "Also a folder that is not empty", prompt="Recursive", default=False)
_STATE = "null if it is not there; else type, size, permissions, owner and group, and target of a link"
CHANGE = {
    "changed": Output("boolean", "Whether anything was changed, or with noop would be", display_as="Changed"),
    "before": Output("hash", f"What was there: {_STATE}", display_as="Before"),
    "after": Output("hash", f"What is there, or with noop would be: {_STATE}", display_as="After"),
    "path": Output("string", "Where it truly is, links on the way followed", display_as="Path"),
}
_State = dict[str, Any] | None
_TOUCHED = Wanted("file")
CHANGED = [Aggregate("summary", "changed")]


class Changing(Agent):
    """Make, change and remove files."""

    def __init__(self, node: NodeView | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(node, settings)
        self._turns = Turns()

    @property
    def allowed(self) -> Allowed:
        """What may be read and changed here."""
        raise NotImplementedError

    @action(
        "Make a file if it is not there, and say that it was changed now",
        inputs={"path": PATH},
        outputs=CHANGE,
        mutating=True,
        noop=True,
        aggregates=CHANGED,
    )
    def touch(self, path: str) -> dict[str, Any]:
        """Touch it; that is a change each time."""
        with self._changeable(path) as (place, before):
            if place.seen is not None and _kind(place) not in ("file", "directory"):
                raise ActionAborted(f"{files.as_text(place.path)} is a {_kind(place)}")
            if not self.is_noop:
                changes.touch(place)
            return self._changed(place, before, is_changed=True, goal=_TOUCHED)

    @action(
        "Remove a file",
        inputs={"path": PATH, "recursive": RECURSIVE},
        outputs=CHANGE | {"removed": Output("integer", "Files and folders, all in it counted", display_as="Removed")},
        mutating=True,
        noop=True,
        aggregates=CHANGED,
    )
    def remove(self, path: str, recursive: bool = False) -> dict[str, Any]:
        """Remove it; what is not there is fine."""
        with self._changeable(path) as (place, before):
            if place.seen is None:
                return self._changed(place, before, is_changed=False) | {"removed": 0}
            inside = changes.entries(place) if _kind(place) == "directory" else 0
            if inside and not recursive:
                raise ActionAborted(
                    f"{files.as_text(place.path)} is a folder with {inside} files; recursive=true removes them all"
                )
            if not self.is_noop:
                changes.remove(place)
            return self._changed(place, before, is_changed=True) | {"removed": inside + 1}

    @action(
        "Have a file, a folder or a link as it shall be",
        inputs={
            "path": PATH,
            "kind": KIND,
            "content": CONTENT,
            "mode": MODE,
            "owner": OWNER,
            "group": GROUP,
            "target": TARGET,
        },
        outputs=CHANGE
        | {
            "difference": Output("string", "What changes in its lines, as diff shows it", display_as="Difference"),
            "difference_problem": Output("string", "Why that is not shown", display_as="No difference"),
        },
        mutating=True,
        noop=True,
        aggregates=CHANGED,
    )
    def ensure(
        self,
        path: str,
        kind: str = "file",
        content: str | None = None,
        mode: str | None = None,
        owner: str | None = None,
        group: str | None = None,
        target: str | None = None,
    ) -> dict[str, Any]:
        """Change what is not as it shall be, and nothing else; one kind is never made of another."""
        given = {"content": content, "mode": mode, "owner": owner, "group": group, "target": target}
        wanted = {key: value for key, value in given.items() if value is not None}
        if kind == "absent":
            _check_only(kind, wanted, ())
            return {key: value for key, value in self.remove(path).items() if key != "removed"}
        goal = _wanted(kind, wanted)
        with self._changeable(path) as (place, before):
            is_kind = {"link": "symlink"}.get(kind, kind)
            if place.seen is not None and _kind(place) != is_kind:
                raise ActionAborted(
                    f"{files.as_text(place.path)} is a {_kind(place)}, and would not be made a {kind}; remove it first"
                )
            old = changes.content_of(place, MAX_COMPARED_BYTES) if goal.content is not None else None
            is_changed = _differs(place, goal, old)
            shown: dict[str, Any] = {}
            if is_changed and goal.content is not None:
                shown = difference(place, old, goal.content, self.allowed.why_not_content)
            if is_changed and not self.is_noop:
                changes.make(place, goal)
            return self._changed(place, before, is_changed=is_changed, goal=goal) | shown

    @contextlib.contextmanager
    def _changeable(self, path: str) -> Iterator[tuple[Place, _State]]:
        """Yield a place where a change is allowed, alone, and its state; a link at the end of the path is the place."""
        with self._turns.one(f"file: {path}", self.timeout_s), walked(path, follows_last=False) as place:
            self.allowed.check_change(place)
            yield place, _state(place)

    def _changed(self, place: Place, before: _State, *, is_changed: bool, goal: Wanted | None = None) -> dict[str, Any]:
        """Return the outputs of a change, if what is there now is what was wanted."""
        path = files.as_text(place.path)
        if self.is_noop or not is_changed:
            after = _would_be(before, goal) if is_changed else before
            return {"changed": is_changed, "before": before, "after": after, "path": path}
        with walked(place.path, follows_last=False) as now:
            if goal is not None and _differs(now, goal, changes.content_of(now, MAX_CONTENT_LENGTH * 4)):
                raise ActionAborted(f"{path} is not as it was made; something else changes it")
            return {"changed": True, "before": before, "after": _state(now), "path": path}


def _wanted(kind: str, given: Mapping[str, str]) -> Wanted:
    """Return how a file shall be, from the inputs."""
    fitting = {
        "file": ("content", "mode", "owner", "group"),
        "directory": ("mode", "owner", "group"),
        "link": ("target", "owner", "group"),
    }[kind]
    _check_only(kind, given, fitting)
    if kind == "link" and "target" not in given:
        raise InvalidData("file#ensure: a link needs a target")
    content = given.get("content")
    try:
        return Wanted(
            kind,
            content=None if content is None else content.encode(),
            mode=int(given["mode"], 8) if "mode" in given else None,
            uid=uid_of(given["owner"]) if "owner" in given else None,
            gid=gid_of(given["group"]) if "group" in given else None,
            target=given.get("target"),
        )
    except UnicodeEncodeError as e:
        raise InvalidData("input content: it holds half a character") from e


def _check_only(kind: str, given: Mapping[str, str], fitting: tuple[str, ...]) -> None:
    if extra := [name for name in given if name not in fitting]:
        raise InvalidData(f"file#ensure: {', '.join(extra)} cannot be given for kind={kind}")


def _differs(place: Place, goal: Wanted, content: bytes | None) -> bool:
    """Say whether a file is not as it shall be."""
    seen = place.seen
    if seen is None:
        return True
    return (
        (goal.content is not None and content != goal.content)
        or (goal.mode is not None and stat.S_IMODE(seen.st_mode) != goal.mode)
        or (goal.uid is not None and seen.st_uid != goal.uid)
        or (goal.gid is not None and seen.st_gid != goal.gid)
        or (goal.target is not None and _target(place) != goal.target)
    )


def _kind(place: Place) -> str:
    return files.kind_of(place.seen) if place.seen else "missing"


def _state(place: Place) -> _State:
    if place.seen is None:
        return None
    told = files.of_status(place.seen)
    state = {"type": _kind(place)} | {key: told[key] for key in ("size", "permissions", "owner", "group")}
    return state | {"target": _target(place)} if state["type"] == "symlink" else state


def _would_be(before: _State, goal: Wanted | None) -> _State:
    """Return the state that a change would lead to, as far as that is known before: null for what would be gone."""
    if goal is None:
        return None
    kind = {"link": "symlink"}.get(goal.kind, goal.kind)
    usual = {"file": "0644", "directory": "0755"}.get(kind, "0777")
    new = {"type": kind, "size": None, "permissions": usual, "owner": user_name(os.geteuid()), "group": None}
    state = dict(before or new)
    if kind == "file" and (goal.content is not None or before is None):
        state["size"] = len(goal.content or b"")
    if goal.mode is not None:
        state["permissions"] = f"{goal.mode:04o}"
    if goal.uid is not None:
        state["owner"] = user_name(goal.uid)
    if goal.gid is not None:
        state["group"] = group_name(goal.gid)
    return state if goal.target is None else state | {"target": goal.target}


def _target(place: Place) -> str | None:
    try:
        return files.as_text(os.readlink(place.name, dir_fd=place.folder_fd))
    except OSError:
        return None
