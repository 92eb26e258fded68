# SPDX-License-Identifier: Apache-2.0
"""Import a package without those of its modules that are never used here.

pika's package imports its asyncio adapter, and with it all of asyncio: a quarter of a command's start-up and 1.7 MiB in
every node; and its blocking one, 0.7 MiB. Who asks for one of them later gets the real one.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any


@contextlib.contextmanager
def without(modules: Mapping[str, str]) -> Iterator[None]:
    """Within the context, let packages import nothing of worth from modules of theirs.

    Args:
        modules: by the module's name the one that its package takes from it, and the packages above.
    """
    packages = sorted({package for module in modules for package in _above(module)})
    if any(package in sys.modules for package in packages):
        yield
        return
    for module, name in modules.items():
        placeholder = types.ModuleType(module)
        setattr(placeholder, name, None)
        sys.modules[module] = placeholder
    try:
        yield
    finally:
        for module in modules:
            del sys.modules[module]
        for package in packages:
            if package in sys.modules:
                _get_later(sys.modules[package], {name: module for module, name in modules.items()})


def _above(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module


def _get_later(package: types.ModuleType, modules: Mapping[str, str]) -> None:
    """Let a package have what it was not given as soon as somebody asks for it."""
    for name, module in modules.items():
        for left in (name, module.rpartition(".")[2]):
            if vars(package).get(left, package) is None or isinstance(vars(package).get(left), types.ModuleType):
                delattr(package, left)

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}")
        made = getattr(importlib.import_module(modules[name]), name)
        setattr(package, name, made)
        return made

    vars(package)["__getattr__"] = get
