"""
Recognise files that are no text with fields, by their first bytes, and say how each is made one.

What a file is called does not count: a workbook that was renamed to `log.csv` is still a workbook.
"""

from __future__ import annotations

import re
import zipfile
from json import dumps
from pathlib import Path
from shlex import quote

from asyncdb_nb.errors import EventLogError

GZIP = b"\x1f\x8b"

_BY_PANDAS = "import pandas; pandas.{}.to_csv({{1}}, index=False)"
_PROGRAMS = {  # what to install, and what to type
    "xlsx": ("openpyxl", _BY_PANDAS.format("read_excel({0})")),
    "xls": ("xlrd", _BY_PANDAS.format("read_excel({0})")),
    "ods": ("odfpy", _BY_PANDAS.format("read_excel({0})")),
    "html": ("lxml", _BY_PANDAS.format("read_html({0})[0]")),
    "parquet": ("", _BY_PANDAS.format("read_parquet({0})")),
    "arrow": ("", _BY_PANDAS.format("read_feather({0})")),
    "json": ("", _BY_PANDAS.format("read_json({0})")),
    "lines": ("", _BY_PANDAS.format("read_json({0}, lines=True)")),
    "xes": ("pm4py", "import pm4py; pm4py.convert_to_dataframe(pm4py.read_xes({0})).to_csv({1}, index=False)"),
}
_UNPACK = "Unpack it and load what is in it{}."
_BY_FIRST_BYTES = (
    (re.compile(rb"PK\x03\x04|PK\x05\x06"), "a ZIP archive", _UNPACK),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an old Excel workbook (.xls)", "xls"),
    (re.compile(rb"PAR1"), "a Parquet file", "parquet"),
    (re.compile(rb"ARROW1\0\0"), "an Arrow file", "arrow"),
    (re.compile(rb"\s*<\?xml(?s:.*)<(xes:)?log\b|\s*<log\b"), "an XES event log (XML)", "xes"),
    (re.compile(rb"\s*<(!doctype\s+)?(html|table)\b", re.IGNORECASE), "an HTML page", "html"),
    (re.compile(rb"\s*<\?xml"), "XML", "Export it as CSV where it comes from."),
    (re.compile(rb"\s*\{\s*\"[^\n]*\}\s*\n\s*\{"), "JSON, an object a line", "lines"),
    (re.compile(rb"\s*(\[\s*)?\{\s*\""), "JSON", "json"),
    (re.compile(rb"BZh[1-9]1AY|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!"), "a compressed file", _UNPACK),
    (re.compile(rb"%PDF-"), "a PDF document", "Export the table as CSV where it comes from."),
    (re.compile(rb"SQLite format 3\0"), "an SQLite database", "Export the table as CSV: sqlite3 -csv -header."),
)


def refuse_other_formats(path: Path, first_bytes: bytes) -> None:
    """
    Refuse a file that begins as no CSV file does.

    Args:
        path: The file, to name it, and to look into an archive.
        first_bytes: Its first bytes, a few hundred, gunzipped where it is gzipped, and as UTF-8 where it has a mark.

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
        return "an Excel workbook (.xlsx)", "xlsx"
    if "content.xml" in names:
        return "an OpenDocument spreadsheet (.ods)", "ods"
    inside = f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""
    return what, _UNPACK.format(inside) + f" Type: python -m zipfile -e {quote(str(path))} ."


def _remedy(path: Path, remedy: str) -> str:
    """What to do: a text, or for a key of `_PROGRAMS` a command for a shell, whatever the file is called."""
    if remedy not in _PROGRAMS:
        return remedy.replace("{}", "")
    target = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    target += ".csv" if path.name != f"{target}.csv" else ".new.csv"  # which is not that file itself
    package, program = _PROGRAMS[remedy]
    first = f"Install {package} (pip install {package}), then type" if package else "Type"
    return f"{first}: python -c {quote(program.format(dumps(str(path)), dumps(target)))}"
