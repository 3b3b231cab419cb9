"""Show a profile in a notebook: nothing of the data is taken for markup."""

from __future__ import annotations

from html import escape

from asyncdb_nb.explore.profile_figures import Figures
from asyncdb_nb.explore.profile_text import HEADS, TO_THE_RIGHT, cells_of, notes_of, title_of

_WRAPPED = {"type", "most frequent"}


def html_of(profile: Figures) -> str:
    """Write a profile as an HTML table in the page's own colours."""
    styles = [_style(name) for name in HEADS]
    head = "".join(f'<th style="{style}">{name}</th>' for name, style in zip(HEADS, styles, strict=True))
    rows = "".join(
        "<tr>"
        + "".join(f'<td style="{s}">{escape(cell)}</td>' for cell, s in zip(cells_of(column), styles, strict=True))
        + "</tr>"
        for column in profile.columns
    )
    notes = "".join(f"<p style='margin:.3em 0'>{escape(note)}</p>" for note in notes_of(profile))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if profile.columns else ""
    return f"<p><b>{escape(title_of(profile))}</b></p>{table}{notes}"


def _style(name: str) -> str:
    side = "right;font-variant-numeric:tabular-nums" if name in TO_THE_RIGHT else "left"
    return f"vertical-align:top;text-align:{side};" + ("min-width:12em" if name in _WRAPPED else "white-space:nowrap")
