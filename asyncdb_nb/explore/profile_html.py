"""Show a profile in a notebook: nothing of the data is taken for markup."""

from __future__ import annotations

from html import escape

from asyncdb_nb.explore.profile_figures import Figures
from asyncdb_nb.explore.profile_text import HEADS, cells_of, notes_of, title_of


def html_of(profile: Figures) -> str:
    """Write a profile as an HTML table in the page's own colours."""
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in HEADS)
    rows = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in cells_of(column)) + "</tr>"
        for column in profile.columns
    )
    notes = "".join(f"<p style='margin:.3em 0'>{escape(note)}</p>" for note in notes_of(profile))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if profile.columns else ""
    return f"<p><b>{escape(title_of(profile))}</b></p>{table}{notes}"
