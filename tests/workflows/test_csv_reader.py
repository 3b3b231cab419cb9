"""CSV files as programs write them; and files that are none."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from pathlib import Path

import pytest

from asyncdb_nb import EventLogError
from asyncdb_nb.errors import MalformedRowError
from asyncdb_nb.workflows.event_log.csv_reader import CSVFile

PLAIN = "case,activity,timestamp\n1,a,2024-03-01\n2,é,2024-03-02\n"


def without_bytes(value: object) -> str | None:
    """Name a case without its content, which is long, or has the time in it."""
    return "" if isinstance(value, bytes) else None


READ = [(2, ["1", "a", "2024-03-01"]), (3, ["2", "é", "2024-03-02"])]


def zipped(*names: str) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


def read(path: Path, content: bytes, **options: str) -> list[tuple[int, list[str]]]:
    path.write_bytes(content)
    with CSVFile(path, **options) as file:
        assert file.header[:3] == ["case", "activity", "timestamp"]
        return [(line, fields) for line, fields, fault in file.records() if not fault]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (PLAIN, {}),
        (PLAIN.replace("\n", "\r\n"), {}),
        (PLAIN.replace("\n", "\r"), {}),
        (PLAIN.rstrip("\n"), {}),
        ("\ufeff" + PLAIN, {}),
        (PLAIN.replace(",", ";"), {}),
        (PLAIN.replace(",", "\t"), {}),
        (PLAIN.replace(",", "|"), {}),
        (PLAIN.replace(",", "^"), {"delimiter": "^"}),
        (PLAIN.encode("cp1252"), {"encoding": "cp1252"}),
        (PLAIN.encode("utf-16"), {}),
        (PLAIN.encode("utf-32"), {}),
        (PLAIN.encode("utf-16-be"), {"encoding": "utf-16-be"}),
        (b"\xfe\xff" + PLAIN.replace("\n", "\r").encode("utf-16-be"), {"encoding": "cp1252"}),
        (gzip.compress(PLAIN.encode()), {}),
        (PLAIN.replace("activity", " activity ").replace("\n", ",\n"), {}),
    ],
    ids=[
        *("lf", "crlf", "cr", "no last line end", "bom", "semicolons", "tabs", "bars", "named", "cp1252", "utf-16"),
        *("utf-32", "utf-16 named", "mark beats name", "gzip", "trailing delimiters everywhere"),
    ],
)
def test_a_file_has_the_same_records_in_any_form(tmp_path: Path, content: str | bytes, options: dict[str, str]) -> None:
    records = read(tmp_path / "log.csv", content.encode() if isinstance(content, str) else content, **options)

    assert [(line, fields[:3]) for line, fields in records] == READ


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("case,activity,timestamp\n1,a,x,\n2,b,x,\n", [2, 3]),
        ("case,activity,timestamp\n\n , ,\n,,\n1,a,x\n\n", [5]),
        ('case,activity,timestamp\n1,"a\nb\r\nc",x\n2,b,x\n', [2, 5]),
        ('case,activity,timestamp\r1,"a\rb",x\r2,b,x\r', [2, 4]),
        ("sep=;\r\ncase;activity;timestamp\r\n1;a;x\r\n", [3]),
        ('"sep=|"\ncase|activity|timestamp\n1|a|x\n', [3]),
        ("SEP=\t\ncase\tactivity\ttimestamp\n1\ta\tx\n", [3]),
    ],
    ids=["trailing delimiters", "blank", "quoted line ends", "quoted cr", "sep=;", "quoted sep", "tab sep"],
)
def test_lines_are_counted_as_an_editor_does(tmp_path: Path, content: str, lines: list[int]) -> None:
    """Whatever is passed over: empty lines, lines of delimiters alone, Excel's first line; a trailing delimiter."""
    records = read(tmp_path / "log.csv", content.encode())

    assert [line for line, _ in records] == lines
    assert {len(fields) for _, fields in records} == {3}


def test_a_trailing_delimiter_hides_no_field(tmp_path: Path) -> None:
    """Where the rows end in one, a row with a field in that place keeps it, and so has one too many."""
    records = read(tmp_path / "log.csv", b"case,activity,timestamp\n1,a,x,\n1,a,b,x\n")

    assert [len(fields) for _, fields in records] == [3, 4]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    ids=without_bytes,
    argvalues=[
        ("log.xlsx", zipped("[Content_Types].xml", "xl/workbook.xml"), r"an Excel workbook \(.xlsx\).*read_excel"),
        ("log.csv", zipped("[Content_Types].xml", "xl/workbook.xml"), r"an Excel workbook.*'log.csv'"),
        ("log.ods", zipped("mimetype", "content.xml"), "an OpenDocument spreadsheet"),
        ("log.zip", zipped("a/events.csv"), r"a ZIP archive.*a/events.csv.*python -m zipfile -e log.zip \."),
        ("log.zip", b"PK\x03\x04cut off", "a ZIP archive"),
        ("log.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "an old Excel workbook"),
        (
            "log.xes",
            b'<?xml version="1.0"?>\n<!-- x -->\n<log xes.version="1.0">',
            "an XES event log.*pm4py",
        ),
        ("log.xes.gz", gzip.compress(b'<?xml version="1.0"?><log>'), r"an XES event log.*'log.csv'"),
        ("log.xes", b'\xef\xbb\xbf<log openxes.version="1.0">', "an XES event log"),
        ("log.xml", b'<?xml version="1.0"?><orders/>', "is XML, not CSV"),
        ("log.xls", b"<html><table>", "an HTML page"),
        ("log.json", b'[{"case": 1}]', "is JSON"),
        ("log.parquet", b"PAR1\x15\x04", "a Parquet file"),
        ("log.xz", b"\xfd7zXZ\0\0", "a compressed file"),
        ("log.pdf", b"%PDF-1.7", "a PDF document"),
        ("log.db", b"SQLite format 3\0", "an SQLite database"),
        ("log.csv", b"", "log.csv is empty"),
        ("log.csv", b"\xef\xbb\xbf", "no header in line 1"),
        ("log.csv", b"\n" + PLAIN.encode(), "no header in line 1"),
        ("log.csv", b"sep=;\n", "no header in line 1"),
        ("log.csv", b"a;b;c,d,e\n", "The delimiter may be ';' or ','"),
    ],
)
def test_what_is_no_csv_file_is_told_with_a_remedy(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (path := tmp_path / name).write_bytes(content)

    with pytest.raises(EventLogError, match=message):
        CSVFile(path)


@pytest.mark.parametrize(
    ("content", "line", "reason", "remedy"),
    [
        ("Zoë,b,c\n".encode("cp1252"), 1, "byte 0xeb at position 3 is not utf-8", {"encoding": "cp1252"}),
        (PLAIN.encode("utf-16-le"), 1, "NUL byte", {"encoding": "utf-16-le"}),
        (PLAIN.encode("utf-16-be"), 1, "NUL byte", {"encoding": "utf-16-be"}),
        (PLAIN.encode("utf-16")[:-1], 3, "from here on, the file is not utf-16", {}),
        (PLAIN.encode() + b'1,"a,x\n2,b,y\n', 4, "A quote is opened there that is not closed", {}),
        (PLAIN.encode() + b'1,"a\nb"c,y\n', 4, "A quote is opened there that is not closed", {}),
        (PLAIN.encode() + b"a" * 4_100_000, 4, "longer than 4,000,000 bytes", {}),
        (gzip.compress(PLAIN.encode() * 9)[:-9], 28, "the gzip data is damaged or cut off", {}),
    ],
    ids=["cp1252", "utf-16-le", "utf-16-be", "half a character", "open quote", "text after quote", "long", "cut gzip"],
)
def test_a_file_that_cannot_be_read_on_is_refused(
    tmp_path: Path, content: bytes, line: int, reason: str, remedy: dict[str, str]
) -> None:
    with pytest.raises(MalformedRowError, match=reason) as caught:
        read(tmp_path / "log.csv", content)

    assert (caught.value.line, caught.value.options) == (line, remedy)


def test_a_faulty_record_does_not_hide_the_next(tmp_path: Path) -> None:
    """It is given with its fault, whatever that is: the caller may set it aside."""
    rows = ['1,"a"b,x', "1,Zo\\xeb,x", "1,a\\0,x", "2,b,y"]
    content = "\n".join(["case,activity,timestamp", *rows]).encode().decode("unicode_escape").encode("cp1252")
    (path := tmp_path / "log.csv").write_bytes(content)

    with CSVFile(path) as file:
        records = list(file.records())

    assert [record.line for record in records] == [2, 3, 4, 5]
    assert [record.fault is None for record in records] == [False, False, False, True]
    assert records[0].fields == ['1,"a"b,x']


def test_the_field_limit_of_the_process_is_never_lowered(tmp_path: Path) -> None:
    (path := tmp_path / "log.csv").write_bytes(PLAIN.encode())
    before = csv.field_size_limit(5_000_000)
    try:
        with CSVFile(path) as file:
            list(file.records())

        assert csv.field_size_limit() == 5_000_000
    finally:
        csv.field_size_limit(before)
