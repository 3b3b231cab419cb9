"""
Write `docs/reference.md` from the docstrings.

    python docs/make_reference.py

Signatures are taken from the source, so that they read as they were written, on every version of Python.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "reference.md"
SECTIONS = ("Args", "Returns", "Raises", "Attributes", "Example")
HEAD = """# Reference

Written from the docstrings by `docs/make_reference.py`; a test keeps it in step. In a notebook, `connect?` shows the
same. What is named here is what the package promises to keep.
"""

GROUPS = {
    "Connect": "asyncdb_nb.connect asyncdb_nb.Database asyncdb_nb.LoopBoundPool",
    "Sessions": "asyncdb_nb.session_scope",
    "Frames": (
        "asyncdb_nb.frame asyncdb_nb.frames asyncdb_nb.table asyncdb_nb.batches asyncdb_nb.to_frame "
        "asyncdb_nb.to_timedelta"
    ),
    "Scale": (
        "asyncdb_nb.database.snapshot.Snapshot asyncdb_nb.distributed.read_sql_table "
        "asyncdb_nb.distributed.read_sql_query asyncdb_nb.distributed.to_postgresql asyncdb_nb.distributed.release"
    ),
    "Writing": "asyncdb_nb.write asyncdb_nb.dataframes.writing.writing.Written",
    "Repositories": "asyncdb_nb.Repository",
    "Synchronous code": "asyncdb_nb.run",
    "Explore": (
        "asyncdb_nb.explore.profile.Profile asyncdb_nb.explore.plan.Plan asyncdb_nb.explore.diagram.Diagram "
        "asyncdb_nb.explore.view.View asyncdb_nb.explore.view_statement.Page"
    ),
    "Watch": "asyncdb_nb.trace asyncdb_nb.diagnostics.Trace",
    "Doctor": "asyncdb_nb.diagnostics.examine asyncdb_nb.diagnostics.Diagnosis asyncdb_nb.diagnostics.Finding",
    "Embedded server": "asyncdb_nb.server.embedded_server asyncdb_nb.server.EmbeddedServer",
    "Sample workflows": (
        "asyncdb_nb.workflows.WorkflowRepository asyncdb_nb.workflows.Flow asyncdb_nb.workflows.load_event_log "
        "asyncdb_nb.workflows.unload_event_log asyncdb_nb.workflows.ensure_sample asyncdb_nb.workflows.seed_workflows "
        "asyncdb_nb.workflows.create_tables asyncdb_nb.workflows.drop_tables"
    ),
    "Lessons": "asyncdb_nb.lessons.check asyncdb_nb.lessons.run_pytest",
}


def reference() -> str:
    """Return the page."""
    parts = [HEAD]
    for title, names in GROUPS.items():
        parts.append(f"## {title}\n")
        for name in names.split():
            parts += entry(name)
    errors = import_module("asyncdb_nb.errors")
    return "\n".join([*parts, "## Errors\n", inspect.cleandoc(errors.__doc__ or "") + "\n"])


def entry(path: str) -> list[str]:
    """Describe a function, or a class with its public methods and properties."""
    module, _, name = path.rpartition(".")
    value = getattr(import_module(module), name)
    lines = [f"### `{path}`\n", f"```text\n{signature(name, value)}\n```\n", markdown(value)]
    if inspect.isclass(value):
        for member, function in vars(value).items():
            if not member.startswith("_") and (callable(function) or isinstance(function, property | classmethod)):
                lines += [f"#### `{name}.{member}`\n", *shown(member, function), markdown(function)]
    return lines


def shown(member: str, function: Any) -> list[str]:
    """Show the signature of a method; a property has none."""
    if isinstance(function, property):
        return []
    return [f"```text\n{signature(member, getattr(function, '__func__', function))}\n```\n"]


def signature(name: str, value: Any) -> str:
    """Return a signature as it is written in the source, in one line or one argument a line."""
    node: Any = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    if isinstance(node, ast.ClassDef):
        inits = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        if not inits:
            return name
        node = inits[0]
    arguments = one_by_one(node.args)
    returned = None if inspect.isclass(value) else value.__annotations__.get("return")  # a wrapper may have its own
    returns = f" -> {returned}" if returned is not None else ""
    kind = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    line = f"{kind}{name}({', '.join(arguments)}){returns}"
    if len(line) <= 100:
        return line
    return f"{kind}{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){returns}"


def one_by_one(arguments: ast.arguments) -> list[str]:
    """Return each argument but `self` as it is written."""
    undefaulted = [None] * (len(arguments.args) - len(arguments.defaults))
    plain = zip(arguments.args, [*undefaulted, *arguments.defaults], strict=True)
    written = [one(argument, default) for argument, default in plain if argument.arg not in ("self", "cls")]
    if arguments.vararg:
        written.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        written.append("*")
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    written += [one(argument, default) for argument, default in named]
    if arguments.kwarg:
        written.append(f"**{ast.unparse(arguments.kwarg)}")
    return written


def one(argument: ast.arg, default: ast.expr | None) -> str:
    """Return an argument with its default."""
    if default is None:
        return ast.unparse(argument)
    return f"{ast.unparse(argument)} = {ast.unparse(default)}"


def markdown(value: Any) -> str:
    """Turn a Google-style docstring into Markdown."""
    text = inspect.cleandoc(value.__doc__ or "")
    pieces = re.split(rf"^({'|'.join(SECTIONS)}):\n", text, flags=re.MULTILINE)
    written = [pieces[0].strip() + "\n"]
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        written.append(section(title, textwrap.dedent(body).strip()))
    return "\n".join(written)


def section(title: str, body: str) -> str:
    """Write one section of a docstring: a list, a block of code, or a paragraph."""
    if title == "Example":
        return f"```pycon\n{body}\n```\n"
    if title == "Returns":
        return f"**{title}** {body}\n"
    items = re.split(r"\n(?=\S)", body)
    return f"**{title}**\n\n" + "\n".join(item(one) for one in items) + "\n"


def item(text: str) -> str:
    """Write `name: what it is` as an item of a list."""
    name, _, meaning = text.partition(":")
    return f"- `{name}`: {' '.join(meaning.split())}"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
