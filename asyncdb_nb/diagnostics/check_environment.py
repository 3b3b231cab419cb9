"""Look at this process: the versions that are installed, the running event loop, and who has patched asyncio."""

from __future__ import annotations

import asyncio
import platform
import sys
from importlib import metadata
from typing import Any

from asyncdb_nb.aio._asyncio import is_patched, running_loop
from asyncdb_nb.diagnostics.finding import Finding, Level

_OPTIONAL = ("ipython", "nest-asyncio2", "uvloop", "pytest", "pytest-asyncio")
_OF_ASYNCIO = ("asyncio", "uvloop", "asyncdb_nb")


def look_at_versions() -> list[Finding]:
    """Name what is installed, and what is missing or too old for this package."""
    from packaging.requirements import Requirement

    found, problems = [f"asyncdb_nb {_installed('asyncdb_nb')}"], []
    for line in metadata.requires("asyncdb_nb") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, installed = requirement.name, _installed(requirement.name)
        found.append(f"{name} {installed or 'missing'}")
        if installed is None or not requirement.specifier.contains(installed, prereleases=True):
            wanted = f"{name}{requirement.specifier}"
            fact = f"{name} is {installed or 'missing'}, and {requirement.specifier} is needed."
            problems.append(Finding("versions", Level.WRONG, fact, f"`pip install '{wanted}'`"))
    found += [f"{name} {version}" for name in _OPTIONAL if (version := _installed(name))]
    python = Finding("versions", Level.OK, f"Python {platform.python_version()} on {platform.system()}")
    return [python, Finding("versions", Level.OK, ", ".join(found)), *problems]


def look_at_loop() -> list[Finding]:
    """Name the running loop, and whatever stands in the place of asyncio's own functions."""
    loop = running_loop()
    if loop is None:
        advice = "In a script: `asyncio.run(main())`; in a function that is not async: `asyncdb_nb.run(coroutine)`."
        return [Finding("loop", Level.NOTE, "No event loop is running here.", advice), *_patches(None)]
    kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
    findings = [Finding("loop", Level.OK, f"The running loop is {kind}.")]
    if loop.get_debug():
        advice = "Unset PYTHONASYNCIODEBUG when you are done: it is slow, and ipykernel cannot shut down with it."
        findings.append(Finding("loop", Level.NOTE, "asyncio's debug mode is on.", advice))
    return findings + _patches(loop)


def _patches(loop: asyncio.AbstractEventLoop | None) -> list[Finding]:
    """Find functions of asyncio that come from somewhere else."""
    functions: dict[str, Any] = {"asyncio.run": asyncio.run}
    if loop is not None:
        kind = type(loop)
        functions |= {f"its {name}()": getattr(kind, name) for name in ("run_forever", "run_until_complete")}
    by_module: dict[str, list[str]] = {}
    for name, function in functions.items():
        module = getattr(function, "__module__", None) or "asyncio"
        if module.partition(".")[0] not in _OF_ASYNCIO:
            by_module.setdefault(module, []).append(name)
    if not by_module and "nest_asyncio" in sys.modules and is_patched():
        by_module["nest_asyncio"] = ["asyncio"]
    return [
        Finding("loop", Level.NOTE, f"{module} has replaced {', '.join(names)}.", _ADVICE_ON_PATCHES)
        for module, names in by_module.items()
    ]


_ADVICE_ON_PATCHES = (
    "Queries work, but timeouts may come late and asyncio.run() may close no loop. "
    "Take the patch out: `await` in cells, `asyncdb_nb.run(coroutine)` elsewhere."
)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
