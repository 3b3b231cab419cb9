"""Files as twenty programs may write them: what is proposed first reads each value as it was written."""

from __future__ import annotations

import csv
import inspect
import io
import random
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from asyncdb_nb import EventLogError
from asyncdb_nb.workflows import load_event_log
from asyncdb_nb.workflows.event_log.parse import Event
from asyncdb_nb.workflows.event_log.preparation import complete, prepared

HEADERS = [
    ("Ticket", "Schritt", "Beginn", "Ende"),
    ("Case ID", "Task", "Start Date", "End Date"),
    ("VBELN", "VORGANG", "STARTDAT", "ENDDAT"),
    ("run_id", "job", "started_at", "completed_at"),
    ("Dossier", "Étape", "Date de début", "Date de fin"),
    ("incident", "action", "from", "to"),
]
FORMATS = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%m/%Y %H:%M",
    "%d-%b-%Y %H:%M",
    "%b %d, %Y %I:%M %p",
    "%Y%m%d%H%M%S",
    "%Y-%m-%d %H:%M:%S CET",
    "epoch_s",
    "epoch_ms",
]
TITLES = [
    "",
    "",
    "# made by a program\n",
    "Report of\n\n",
    "\n\n",
    "Export\nClient: 100\n",
    '"A title\nof two lines"\n',
]
IN_TWO = [  # forms of a date and of a time, and what both columns say where there is none
    ("%d.%m.%Y", "%H:%M:%S", ["", "00.00.0000", "31.12.9999"]),
    ("%Y%m%d", "%H%M%S", ["", "00000000", "99991231"]),
    ("%m/%d/%Y", "%I:%M %p", ["", "12/31/9999"]),
    ("%Y-%m-%d", "%H:%M", ["", "9999-12-31"]),
]
COSTS = ["${:,.2f}", "{:.2f} EUR", "CHF {:.1f}", "({:.2f})", "{:,.2f}", "{:.2f}-"]
OPEN = ["", "NULL", "0000-00-00", "9999-12-31 00:00:00", "-"]
NAMES = ['say "hi"', "a, b; c", "zurück – geprüft", "two\nlines", " spaces ", "x|y", "plain", "#1", "it's"]


def written(moment: datetime, form: str) -> str:
    if form.startswith("epoch"):
        return str(int(moment.timestamp() * (1000 if form == "epoch_ms" else 1)))
    zone = ZoneInfo("Europe/Berlin") if form.endswith("CET") else UTC
    return moment.astimezone(zone).strftime(form)


def made(chance: random.Random) -> tuple[bytes, list[tuple[Any, ...]], bool]:
    """A file, its events (case, activity, end, start, cost), and whether it has totals; all in Berlin's winter."""
    form, first = chance.choice(FORMATS), datetime(2023, 11, 1, tzinfo=UTC)
    two, cost = chance.choice([None, None, *IN_TWO]), chance.choice(COSTS)
    rows, events = [], []
    for number in range(chance.randint(15, 40)):
        start = first + timedelta(minutes=chance.randint(0, 120_000))
        is_open = number and chance.random() < 0.2
        end = None if is_open else start + timedelta(minutes=chance.randint(1, 500))
        amount = Decimal(chance.randint(0, 999_999)) / 100
        case, activity = str(100 + number // 3), chance.choice(NAMES)
        told = chance.choice(OPEN) if end is None else written(end, form)
        times = [written(start, form), told]
        if two:
            date, clock, none = two
            times = [start.strftime(date), start.strftime(clock)]
            times += [end.strftime(date), end.strftime(clock)] if end else [chance.choice(none), ""]
        text_of_cost = cost.format(amount)
        rows.append([case, activity, *times, text_of_cost])
        shown = Decimal(re.sub(r"[^\d.]", "", text_of_cost))
        events.append((case, activity.strip(), end, start, -shown if "(" in cost or cost.endswith("-") else shown))
    delimiter = chance.choice(",;\t|")
    quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=chance.choice(["\n", "\r\n"]))
    *names, start_name, end_name = chance.choice(HEADERS)
    if two:
        writer.writerow([*names, "Start Date", "Start Time", "End Date", "End Time", "amount"])
    else:
        writer.writerow([*names, start_name, end_name, "amount"])
    writer.writerows(rows)
    encoding = chance.choice(["utf-8", "utf-8-sig", "cp1252", "utf-16"])
    sep = f"sep={delimiter}\n" if chance.random() < 0.2 else ""
    end = chance.choice(["", "", "\n\n", "Total\n"])
    return (sep + chance.choice(TITLES) + text.getvalue() + end).encode(encoding), events, "Total" in end


@pytest.mark.parametrize("seed", range(40))
def test_what_is_proposed_first_reads_every_value_as_it_was_written(seed: int, tmp_path: Path) -> None:
    """Whatever the delimiter, the encoding, the form of times, the title, the words for an end that is open."""
    content, events, totals = made(random.Random(seed))
    (path := tmp_path / "log.csv").write_bytes(content)
    options: dict[str, Any] = {
        name: each.default for name, each in inspect.signature(load_event_log).parameters.items()
    } | {"cost": "amount"}
    with pytest.raises(EventLogError) as caught, prepared(path, options):
        pass

    complete(caught.value, path, options)
    with prepared(path, options | caught.value.options) as log:
        bad: list[Any] = []
        found = list(log.parser.events(log.file.records(), lambda *row: bad.append(row)))

    def read(event: Event) -> tuple[Any, ...]:
        _, case, step, at, start, phase, _, _, cost, _ = event
        began, ended = (at, None) if phase == "start" else (start, at)
        times = (each and datetime.fromisoformat(each) for each in (ended, began))
        return case, step, *times, Decimal(cost or "NaN")

    assert list(map(read, found)) == events
    assert [record.fields[0] for record, _ in bad] == ["Total"] * totals
