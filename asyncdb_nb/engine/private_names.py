"""
What the seams to other libraries say of the private names that they rely on.

A seam is the one module that touches the private names of a library. It lists them in `PRIVATE_NAMES`: the owner
("module:Class", or "module" for a name of the module itself), the name, and what relies on it. The tests look for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

Names = Mapping[str, Mapping[str, str]]


def owner(path: str) -> Any:
    """Return what "module:Class" names, or "module"."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute) if attribute else import_module(module)


def missing(names: Names) -> list[str]:
    """List the names that their owners do not have; for methods, slots and names of a module."""
    return [f"{path}.{name}" for path, listed in names.items() for name in listed if not hasattr(owner(path), name)]
