# SPDX-License-Identifier: Apache-2.0
"""Import a package without one of its modules that is never used here.

pika's package imports its asyncio adapter, and with it all of asyncio: a quarter of a command's start-up and
1.7 MiB in every node. Who imports that adapter later gets the real one.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def without(module: str, name: str) -> Iterator[None]:
    """Within the context, let ``from MODULE import NAME`` find nothing of worth instead of loading the module."""
    parent = module.rpartition(".")[0]
    if parent in sys.modules:
        yield
        return
    placeholder = types.ModuleType(module)
    setattr(placeholder, name, None)
    sys.modules[module] = placeholder
    try:
        yield
    finally:
        del sys.modules[module]
        if hasattr(sys.modules.get(parent), name):
            delattr(sys.modules[parent], name)
