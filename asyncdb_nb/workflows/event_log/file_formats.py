"""
Recognise files that are no text with fields, by their first bytes, and say how each is made one.

What a file is called does not count: a workbook that was renamed to `log.csv` is still a workbook.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from asyncdb_nb.errors import EventLogError

GZIP = b"\x1f\x8b"

_WITH_PANDAS = 'Save it as CSV there, or type: python -c "import pandas; pandas.{}({!r}).to_csv({!r}, index=False)"'
_UNPACK = "Unpack it and load what is in it{}."
_XES = (
    'Convert it (pip install pm4py): python -c "import pm4py; '
    'pm4py.convert_to_dataframe(pm4py.read_xes({!r})).to_csv({!r}, index=False)"'
)
_BY_FIRST_BYTES = (
    (re.compile(rb"PK\x03\x04|PK\x05\x06"), "a ZIP archive", _UNPACK),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an old Excel workbook (.xls)", "read_excel"),
    (re.compile(rb"PAR1"), "a Parquet file", "read_parquet"),
    (re.compile(rb"\s*<\?xml(?s:.*)<(xes:)?log\b|\s*<log\b"), "an XES event log (XML)", _XES),
    (re.compile(rb"\s*<(!doctype\s+)?(html|table)\b", re.IGNORECASE), "an HTML page", "read_html"),
    (re.compile(rb"\s*<\?xml"), "XML", "Export it as CSV where it comes from."),
    (re.compile(rb"\s*(\[\s*)?\{\s*\""), "JSON", "read_json"),
    (re.compile(rb"BZh[1-9]1AY|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!"), "a compressed file", _UNPACK),
    (re.compile(rb"%PDF-"), "a PDF document", "Export the table as CSV where it comes from."),
    (re.compile(rb"SQLite format 3\0"), "an SQLite database", "Export the table as CSV: sqlite3 -csv -header."),
)


def refuse_other_formats(path: Path, first_bytes: bytes) -> None:
    """
    Refuse a file that begins as no CSV file does.

    Args:
        path: The file, to name it, and to look into an archive.
        first_bytes: Its first bytes, a few hundred, gunzipped where it is gzipped.

    Raises:
        EventLogError: It is of another format; the message says which, and how to convert it.
    """
    for begins, what, remedy in _BY_FIRST_BYTES:
        if begins.match(first_bytes.removeprefix(b"\xef\xbb\xbf")):
            if remedy is _UNPACK:
                what, remedy = _archive(path, what)
            raise EventLogError(f"{path.name} is {what}, not CSV. {_remedy(path, remedy)}")


def _archive(path: Path, what: str) -> tuple[str, str]:
    """Say what an archive is, by what is in it, and the remedy for that."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError):
        return what, _UNPACK.format("")
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook (.xlsx)", "read_excel"
    if "content.xml" in names:
        return "an OpenDocument spreadsheet (.ods)", "read_excel"
    inside = f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""
    return what, _UNPACK.format(inside) + f" Type: python -m zipfile -e {path.name} ."


def _remedy(path: Path, remedy: str) -> str:
    target = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    if remedy.startswith("read_"):
        return _WITH_PANDAS.format(remedy, path.name, f"{target}.csv")
    return remedy.format(path.name, f"{target}.csv") if remedy is _XES else remedy.replace("{}", "")
