"""CopyData messages are found as their lengths say, and rows are the same however messages cut them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from struct import pack, unpack_from
from typing import Any

import copy_stream
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_decode import EXAMPLES, SMALL, SMALL_ROWS, TYPES, _assert_equal, _values, results

from asyncdb_nb.dataframes.columns import column as assembly
from asyncdb_nb.dataframes.columns.column import from_wire
from asyncdb_nb.dataframes.columns.decoder import Batch, Decoder
from asyncdb_nb.dataframes.copy_binary import messages
from asyncdb_nb.dataframes.copy_binary.messages import Contents, find
from asyncdb_nb.engine.copy_protocol import Messages
from asyncdb_nb.errors import CorruptStreamError


def message(content: bytes, kind: bytes = b"d") -> bytes:
    return kind + pack("!i", len(content) + 4) + content


def one_by_one(data: bytes, position: int) -> list[tuple[int, int]]:
    """The complete CopyData messages from a position on, the plainest way."""
    found = []
    while position + 5 <= len(data) and data[position : position + 1] == b"d":
        length = unpack_from("!i", data, position + 1)[0]
        if length < 4 or position + 1 + length > len(data):
            break
        found.append((position, position + 1 + length))
        position += 1 + length
    return found


LOOK_ALIKES = st.sampled_from(
    [b"", b"d", b"\0\3", b"d\0\0\0\4", b"d\0\0\0\6\0\3" * 9, b"d\0" * 40, b"\0\3d\0\0\0\7\0\3\0"]
)
CONTENTS = st.lists(LOOK_ALIKES, max_size=3).map(b"".join) | st.binary(max_size=60).map(lambda b: b"\0\3" + b)
OTHERS = st.sampled_from(
    [b"", b"C\0\0\0\4", b"d\0\0\0\3", b"d\xff\xff\xff\xff", b"d\1\0\0\0", b"d\0\0\0\x30cut", b"d\0\0"]
)


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(
    st.lists(CONTENTS, min_size=1, max_size=80), OTHERS, st.integers(0, 9), st.integers(1, 40), st.integers(20, 2000)
)
@example([b"\0\3abc"] * 60 + [b"\0\4abc"] * 60, b"", 0, 16, 2000)
def test_messages_are_found_as_their_lengths_say(
    contents: list[bytes], other: bytes, before: int, few: int, window: int
) -> None:
    data = b"d" * before + b"".join(map(message, contents)) + other
    found: list[tuple[int, int]] = []
    position = before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "_FEW", few)
        patch.setattr(messages, "_LARGE", window)
        patch.setattr(messages, "_WINDOW", window)
        while one_by_one(data, position):
            starts, ends = find(data, position, len(data))
            found += zip(starts.tolist(), ends.tolist(), strict=True)
            position = found[-1][1]

    assert found == one_by_one(data, before)


def decoded(
    columns: list[Any], parts: Iterable[Messages | bytes], rows: int | None = None, *, arrow: bool = False
) -> Batch:
    decoder = Decoder(columns, arrow=arrow)
    batches = [batch for part in parts if (batch := decoder.feed([part])) is not None]
    batches.append(decoder.finish(rows))
    return Batch(assembly.joined([batch.columns for batch in batches]), sum(batch.rows for batch in batches))


def as_messages(contents: Sequence[bytes], *, noise: bytes = b"") -> Messages:
    """Messages as they are handed over, in two parts, with other messages between them."""
    data, starts, ends = b"", [], []
    for content in contents:
        data += noise
        starts.append(len(data))
        data += message(content)
        ends.append(len(data))
    return Messages([data[: len(data) // 2], data[len(data) // 2 :]], [(starts, ends)], 0)


def by_rows(rows: list[list[bytes | None]]) -> list[bytes]:
    """The contents as PostgreSQL sends them."""
    each = [copy_stream.row(row) for row in rows]
    return [copy_stream.HEADER + each[0], *each[1:], copy_stream.TRAILER] if rows else [copy_stream.stream([])]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(results(), st.integers(1, 14), st.sampled_from([b"", message(b"note", b"N")]), st.booleans())
def test_any_result_in_messages_of_a_row_each(
    result: tuple[list[str], list[list[bytes | None]]], many: int, noise: bytes, arrow: bool
) -> None:
    names, rows = result
    columns = [(name, TYPES[name]) for name in names]
    contents = by_rows(rows)
    parts = [as_messages(contents[at : at + many], noise=noise) for at in range(0, len(contents), many)]

    got = decoded(columns, parts, len(rows), arrow=arrow)

    for n, (name, type_) in enumerate(columns):
        _assert_equal(got.columns[n], from_wire(name, type_, [row[n] for row in rows]))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(results(), st.data())
def test_any_result_in_messages_that_are_cut_anywhere(
    result: tuple[list[str], list[list[bytes | None]]], data: st.DataObject
) -> None:
    """Some rows each as a message, then pieces of any size, some of them as bytes alone."""
    names, rows = result
    columns = [(name, TYPES[name]) for name in names]
    contents = by_rows(rows)
    whole = data.draw(st.integers(0, len(contents)))
    rest = b"".join(contents[whole:])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rest)), max_size=6)))
    pieces = [rest[start:end] for start, end in zip([0, *cuts], [*cuts, len(rest)], strict=True)]
    parts: list[Messages | bytes] = [as_messages(contents[:whole])] if whole else []
    for piece in pieces:
        parts.append(piece if data.draw(st.booleans()) else as_messages([piece]))

    got = decoded(columns, parts, len(rows))

    for n, (name, type_) in enumerate(columns):
        _assert_equal(got.columns[n], from_wire(name, type_, [row[n] for row in rows]))


def test_a_corrupt_byte_in_a_message_raises_or_is_inside_one_value() -> None:
    contents = by_rows(SMALL_ROWS * 2)
    right = _values(decoded(SMALL, [as_messages(contents)]))
    outcomes: Counter[str] = Counter()

    for number, content in enumerate(contents):
        for position in range(len(content)):
            for change in (1, 2, 4, 0x20, 0x80, 0xFF):
                corrupt = bytearray(content)
                corrupt[position] ^= change
                try:
                    got = _values(
                        decoded(SMALL, [as_messages([*contents[:number], bytes(corrupt), *contents[number + 1 :]])], 6)
                    )
                except CorruptStreamError:
                    outcomes["raised"] += 1
                    continue
                changed = [(n, k) for n in range(6) for k in range(4) if repr(got[k][n]) != repr(right[k][n])]
                assert [len(column) for column in got] == [6] * 4
                assert len(changed) <= 1, (number, position, change)
                outcomes["a value changed"] += len(changed)
    assert outcomes["raised"] > 800
    assert outcomes["a value changed"] > 100


@pytest.mark.parametrize("missing", [0, 1, 3, 6])
def test_a_message_that_is_missing_raises(missing: int) -> None:
    contents = by_rows(SMALL_ROWS * 2)
    del contents[missing]

    with pytest.raises(CorruptStreamError):
        decoded(SMALL, [as_messages(contents)], 6)


def test_messages_behind_the_end_raise() -> None:
    whole = as_messages(by_rows(SMALL_ROWS))

    with pytest.raises(CorruptStreamError, match="bytes follow its end"):
        decoded(SMALL, [whole, as_messages([copy_stream.TRAILER])])


def test_an_error_says_where_in_the_stream_it_is() -> None:
    """At the same place as without messages."""
    rows = [*SMALL_ROWS, [b"1234", b"\xff", None, None]]
    told = []
    for parts in ([copy_stream.stream(rows)], [as_messages(by_rows(rows))]):
        with pytest.raises(CorruptStreamError) as raised:
            decoded(SMALL, parts)
        told.append(str(raised.value))

    assert told[0] == told[1]


def test_contents_are_joined_without_what_is_between_them() -> None:
    contents = [b"a", b"", b"bcd", b"", b"", b"e"]

    assert Contents.of([as_messages(contents, noise=b"noise"), as_messages(contents)]).joined() == b"abcdeabcde"
