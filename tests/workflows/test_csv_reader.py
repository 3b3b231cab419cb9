"""CSV files as programs write them; and files that are none."""

from __future__ import annotations

import csv
import gzip
import io
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
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


def read(path: Path, content: bytes, **options: Any) -> list[tuple[int, list[str]]]:
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
        ("\n\r\n,,\ncase,activity,timestamp\n1,a,x\n", [5]),
        ('case, activity, timestamp\n1, "a, b", x\n', [2]),
    ],
    ids=[
        *("trailing delimiters", "blank", "quoted line ends", "quoted cr", "sep=;", "quoted sep", "tab sep"),
        *("blank before the header", "spaces before quotes"),
    ],
)
def test_lines_are_counted_as_an_editor_does(tmp_path: Path, content: str, lines: list[int]) -> None:
    """Whatever is passed over: empty lines, lines of delimiters alone, Excel's first line; a trailing delimiter."""
    records = read(tmp_path / "log.csv", content.encode())

    assert [line for line, _ in records] == lines
    assert {len(fields) for _, fields in records} == {3}


TITLES = {
    "comment": ("# export\n", ",", 1),
    "title": ("Incidents of 2024\n\n", ",", 2),
    "title with commas": ("Incidents, open and closed, of 2024, Berlin\n", ",", 1),
    "title with other marks": ("# Export of 01.03.2024; client 100\n# Page 1\n", "\t", 2),
    "names and values": ("Report;Incidents\nCreated;2024-03-01\n\n", ";", 3),
    "padded": ("Report;;\n;;\n", ";", 2),
    "quoted": ('"A title of\ntwo lines"\n', "|", 2),
    "after sep": ("sep=;\nReport\n", ";", 2),
    "cp1252": ("Störungen\n", ";", 1),
}


@pytest.mark.parametrize("name", TITLES)
def test_what_stands_before_the_header_is_told_and_can_be_skipped(tmp_path: Path, name: str) -> None:
    """With the number of its lines; what is skipped is not read at all, whatever its bytes are."""
    before, delimiter, lines = TITLES[name]
    content = before.encode("cp1252") + PLAIN.replace(",", delimiter).encode()
    (path := tmp_path / "log.csv").write_bytes(content)
    first = "sep=;" if name == "after sep" else before[:5]

    with pytest.raises(EventLogError, match=f"what looks like the header is in line {lines + 1}") as caught:
        CSVFile(path)

    assert caught.value.options == {"skip_lines": lines}
    assert name in ("cp1252", "after sep") or first in caught.value.problem
    assert read(path, content, skip=lines) == [(line + lines, fields) for line, fields in READ]


@pytest.mark.parametrize(
    "content",
    [
        "case,activity,timestamp\n1,a,b,2024-03-01\n2,a,b,2024-03-01\n3,a,2024-03-01\n",
        "case,activity,timestamp\n1,a\n2,b\n",
        "case,activity,timestamp\n",
        "case,activity,timestamp,\n1,a,2024-03-01,\n",
        "case,activity,timestamp\nstring,string,datetime,x\n",
    ],
    ids=["commas in values", "short rows", "no rows", "trailing delimiters", "one row"],
)
def test_a_header_is_taken_for_one_whatever_its_rows_are(tmp_path: Path, content: str) -> None:
    (path := tmp_path / "log.csv").write_text(content)

    with CSVFile(path) as file:
        assert file.header[:3] == ["case", "activity", "timestamp"]


def test_the_delimiter_is_what_goes_with_the_rows(tmp_path: Path) -> None:
    """Where the header has two marks as often; and another mark than the usual ones is proposed only if it does."""
    (path := tmp_path / "log.csv").write_text("case;what, or so;when, roughly\n1;a;2024-03-01\n2;b;2024-03-02\n")
    with CSVFile(path) as file:
        assert file.header == ["case", "what, or so", "when, roughly"]
    path.write_text("case$what$when\n1$a$2024-03-01\n")
    with pytest.raises(EventLogError, match=r"Does '\$' stand between its fields") as caught:
        CSVFile(path)
    assert caught.value.options == {"delimiter": "$"}
    path.write_text("case #1\n1\n")
    with CSVFile(path) as file:
        assert file.header == ["case #1"]


def test_a_header_without_the_name_of_the_row_numbers_is_told(tmp_path: Path) -> None:
    """As R's `write.table` writes it: every row would be a bad one."""
    (path := tmp_path / "log.csv").write_text('"case","activity","timestamp"\n"1","7","a",2024-03-01\n"2","7","b",x\n')

    with pytest.raises(EventLogError, match=r"has 3 names, and all rows have 4 fields.*: row,case,activity,…"):
        CSVFile(path)


def test_a_trailing_delimiter_hides_no_field(tmp_path: Path) -> None:
    """Where the rows end in one, a row with a field in that place keeps it, and so has one too many."""
    records = read(tmp_path / "log.csv", b"case,activity,timestamp\n1,a,x,\n1,a,b,x\n")

    assert [len(fields) for _, fields in records] == [3, 4]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    ids=without_bytes,
    argvalues=[
        ("log.xlsx", zipped("[Content_Types].xml", "xl/workbook.xml"), r"an Excel workbook \(.xlsx\).*read_excel"),
        ("log.csv", zipped("[Content_Types].xml", "xl/workbook.xml"), r"an Excel workbook.*log.new.csv"),
        ("log.ods", zipped("mimetype", "content.xml"), "an OpenDocument spreadsheet"),
        ("log.zip", zipped("a/events.csv"), r"a ZIP archive.*a/events.csv.*python -m zipfile -e \S*log.zip \."),
        ("log.zip", b"PK\x03\x04cut off", "a ZIP archive"),
        ("log.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "an old Excel workbook"),
        (
            "log.xes",
            b'<?xml version="1.0"?>\n<!-- x -->\n<log xes.version="1.0">',
            "an XES event log.*pm4py",
        ),
        ("log.xes.gz", gzip.compress(b'<?xml version="1.0"?><log>'), r"an XES event log.*log.csv"),
        ("log.xes", b'\xef\xbb\xbf<log openxes.version="1.0">', "an XES event log"),
        ("log.xml", b'<?xml version="1.0"?><orders/>', "is XML, not CSV"),
        ("log.xls", b"<html><table>", "an HTML page"),
        ("log.json", b'[{"case": 1}]', r"is JSON, not.*read_json\(.*log.csv"),
        ("log.json", b'{"case": 1}\n{"case": 2}\n', "is JSON, an object a line.*lines=True"),
        ("my log.zip", zipped("events.csv"), r"-e '[^']*my log.zip' \."),
        ("log.parquet", b"PAR1\x15\x04", "a Parquet file"),
        ("log.arrow", b"ARROW1\0\0\xff\xff\xff\xff", r"an Arrow file.*read_feather\("),
        ("log.json", b'[{"case": "caf\xc3\xa9"}]'.decode().encode("utf-16"), "is JSON, not"),
        ("log.xes", '<?xml version="1.0"?>\n<log>'.encode("utf-16"), "an XES event log"),
        ("log.xz", b"\xfd7zXZ\0\0", "a compressed file"),
        ("log.pdf", b"%PDF-1.7", "a PDF document"),
        ("log.db", b"SQLite format 3\0", "an SQLite database"),
        ("log.csv", b"", "log.csv is empty"),
        ("log.csv", b"\xef\xbb\xbf", "no header in line 1"),
        ("log.csv", b"\n \n", "no header in line 2"),
        ("log.csv", b"sep=;\n", "no header in line 2"),
        ("log.csv", b"a;b;c,d,e\n", "The delimiter may be ',' or ';'"),
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


@pytest.mark.parametrize("name", ["it's.csv", "events.parquet", "events.json", "lines.json", "my log.zip", "page.html"])
def test_a_file_of_another_format_is_made_csv_by_what_is_typed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shell, from another folder, whatever the file is called; and it is not overwritten."""
    (folder := tmp_path / "a folder").mkdir()
    frame = pd.DataFrame({"case": ["1"], "activity": ["a"], "timestamp": ["2024-03-01"]})
    path = folder / name
    match name:
        case "events.json":
            frame.to_json(path, orient="records")
        case "lines.json":
            frame.loc[[0, 0]].to_json(path, orient="records", lines=True)
        case "my log.zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("log.csv", frame.to_csv(index=False))
        case "page.html":
            pytest.importorskip("lxml")
            frame.to_html(path, index=False)
        case _:
            frame.to_parquet(path)
    before = path.read_bytes()
    with pytest.raises(EventLogError) as caught:
        CSVFile(path)
    python = f"{shlex.quote(sys.executable)} -"
    typed = caught.value.problem.partition("ype: ")[2].replace("python -", python, 1)

    subprocess.run(typed, shell=True, check=True, cwd=tmp_path)

    assert path.read_bytes() == before
    [made] = tmp_path.glob("*.csv")
    with CSVFile(made) as file:
        assert file.header == ["case", "activity", "timestamp"]
        assert next(file.records()).fields == ["1", "a", "2024-03-01"]


def test_what_is_no_text_at_all_is_not_taken_for_utf_16(tmp_path: Path) -> None:
    (path := tmp_path / "log.dat").write_bytes(b"\x93NUMPY\x01\x00\x00\x00v\x00{'descr'\n\x00\x00")
    with pytest.raises(MalformedRowError, match="NUL byte") as caught:
        CSVFile(path, "utf-8", None, None)

    assert caught.value.options == {}
