"""Whatever an Excel file contains, its houses are read or one line soon reports what is wrong and where."""

import os
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.chart import BarChart

from faults.bounds import bounded
from faults.record import LONG, record, tries
from mlp.ames import AmesHousingDataset
from mlp.errors import InputError
from mlp.house_features import BOUNDS, FEATURES, PRICE

COLUMNS = [*FEATURES, PRICE]
HOUSES: list[list[Any]] = [[*(least + row for least, _ in BOUNDS.values()), 100_000 + row] for row in range(4)]
SHEET = "xl/worksheets/sheet1.xml"


def write(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("excel") / "own.xlsx"


@pytest.fixture(scope="module")
def members(path: Path) -> dict[str, bytes]:
    """The parts of a small valid Excel file, by name."""
    book = openpyxl.Workbook()
    for row in [COLUMNS, *HOUSES]:
        book.worksheets[0].append(row)
    book.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def outcome(path: Path) -> tuple[str, str]:
    """Returns `as_asked` if openpyxl reads the same from those cells, or `refused` and the message."""
    try:
        with bounded(), warnings.catch_warnings(action="error"):
            dataset = AmesHousingDataset(path)
    except InputError as error:
        message = str(error)
    else:
        sheet = openpyxl.load_workbook(path, data_only=True).worksheets[0]
        places = {cell.value: place for place, cell in enumerate(sheet[1], start=1)}
        for row, (features, price) in enumerate(dataset, start=2):
            found = [*features.tolist(), price.item()]
            assert found == [sheet.cell(row, places[name]).value for name in COLUMNS]
        return "as_asked", ""
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) - len(str(path)) < 400
    return "refused", message.replace(str(path), "own.xlsx")


def test_the_unchanged_file_is_valid(path: Path, members: dict[str, bytes]) -> None:
    write(path, members)
    assert outcome(path)[0] == "as_asked"


def with_rows(rows: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """Adds rows below the houses."""
    return lambda members: members | {SHEET: members[SHEET].replace(b"</sheetData>", rows + b"</sheetData>")}


def with_value(value: bytes, kind: bytes = b"n") -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """Puts a value of an XML type into the first cell of the second house."""
    cell = b'<c r="A3" t="%s"><v>%s</v></c>' % (kind, value)
    return lambda members: members | {SHEET: re.sub(rb'<c r="A3".*?</c>', cell, members[SHEET])}


def with_sheet(content: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda members: members | {SHEET: content}


def with_title(title: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """Renames the sheet and removes the last column."""
    return lambda members: (
        members
        | {
            "xl/workbook.xml": members["xl/workbook.xml"].replace(b'name="Sheet"', b'name="%s"' % title),
            SHEET: re.sub(rb'<c r="Q\d".*?</c>', b"", members[SHEET]),
        }
    )


def letter(_: dict[str, bytes]) -> dict[str, bytes]:
    """Returns the parts of a word processor's file."""
    kind = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    types = b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override %s/></Types>'
    return {
        "[Content_Types].xml": types % (b'PartName="/word/document.xml" ContentType="%s"' % kind),
        "word/document.xml": b"<document/>",
    }


def everything_merged(members: dict[str, bytes]) -> dict[str, bytes]:
    merged = b'<mergeCells><mergeCell ref="A1:XFD1048576"/></mergeCells>'
    return with_value(b"")(members | {SHEET: members[SHEET].replace(b"</sheetData>", b"</sheetData>" + merged)})


NESTED = b"".join(b'<!ENTITY e%d "%s">' % (level, b"&e%d;" % (level - 1) * 10) for level in range(1, 10))
ENTITIES = b'<!DOCTYPE a [<!ENTITY e0 "0123456789">%s]><a>&e9;</a>' % NESTED
UNREADABLE = r": not an Excel file that can be read \(.*\); allowed: an .xlsx file"
FAR = b'<row r="%d"><c r="XFD%d"><v>1</v></c></row>'
NUMBERS = "allowed: a number from 0 to 10000000000"
MANY = 900_000 if LONG else 100_000  # tags of XML


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_value(b"9" * 401), rf", sheet Sheet, row 3, column A \(Lot Area\): is 9{{100}}\.\.\.; {NUMBERS}"),
        (with_value(b"9" * 5000), UNREADABLE),
        (with_value(b"1.7e308"), rf", sheet Sheet, row 3, column A \(Lot Area\): is 1.7e\+308; {NUMBERS}"),
        (with_value(b"1.0e400"), rf", sheet Sheet, row 3, column A \(Lot Area\): is inf; {NUMBERS}"),
        (with_value(b"#DIV/0!", b"e"), rf", sheet Sheet, row 3, column A \(Lot Area\): is '#DIV/0!'; {NUMBERS}"),
        (with_value(b"x" * 900, b"str"), rf", sheet Sheet, row 3, column A \(Lot Area\): is 'x{{99}}\.\.\.; {NUMBERS}"),
        (with_value(b"2020-01-01", b"d"), r", sheet Sheet, row 3, column A \(Lot Area\): is datetime.*\(2020, 1, 1.*"),
        (with_value(b"99", b"s"), UNREADABLE),
        (with_rows(b'<row r="1000000000"/>'), None),
        (
            with_rows(b'<row r="6"><c r="ZZZZZZZ6"><v>1</v></c></row>'),
            r": not an Excel file that can be read \(.*\); .*",
        ),
        (
            with_rows(b"".join(FAR % (row, row) for row in range(6, MANY // 6))),
            None,
        ),
        (with_rows(b'<row r="6">' + b"<c/>" * MANY + b"</row>"), None),
        (with_rows(b"<row/>" * MANY), None),
        (with_rows(b"<c/>" * 1_000_000), r": unpacks to 1,000,\d+ XML tags; allowed: at most 1,000,000"),
        (with_rows(b"<a>" * (MANY // 2) + b"</a>" * (MANY // 2)), None),
        (everything_merged, r".*, row 3, column A \(Lot Area\): is empty \(merged cells A1:XFD1048576\); .*"),
        (with_title(b"x" * 9000), r", sheet x{100}\.\.\., row 1: column 'SalePrice' is missing; it must .*"),
        (with_title(b"a&#10;b"), r", sheet a b, row 1: column 'SalePrice' is missing; it must appear exactly once"),
        (with_sheet(b"<worksheet/>"), r", sheet Sheet, row 1: column 'Lot Area' is missing; it must .*"),
        (with_sheet(ENTITIES), UNREADABLE),
        (letter, UNREADABLE),
        (lambda _: {"letter.txt": b"Dear all"}, UNREADABLE),
    ],
)
def test_a_hostile_file_is_read_or_reported_in_one_short_line(
    change: Callable[[dict[str, bytes]], dict[str, bytes]], message: str | None, path: Path, members: dict[str, bytes]
) -> None:
    write(path, change(members))
    found = outcome(path)[1]
    assert re.fullmatch(f"own.xlsx{message}", found) if message else found == "", found


def test_a_file_with_only_charts_is_reported(path: Path) -> None:
    book = openpyxl.Workbook()
    book.create_chartsheet("Prices").add_chart(BarChart())
    book.remove(book.worksheets[0])
    book.save(path)
    assert outcome(path)[1] == "own.xlsx: no sheet with cells; needed: one with a row for each house"


def test_an_empty_workbook_is_reported_as_lacking_columns(path: Path) -> None:
    openpyxl.Workbook().save(path)
    assert outcome(path)[1].endswith("row 1: column 'Lot Area' is missing; it must appear exactly once")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_opened(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "own.xlsx")
    message = "own.xlsx: not a regular file; needed: one, and no folder, pipe or device"
    assert outcome(tmp_path / "own.xlsx")[1] == message


values = st.one_of(
    st.integers(1, 10**6),
    st.integers(),
    st.floats(),
    st.floats(0, 1e6),
    st.booleans(),
    st.none(),
    st.dates(),
    st.datetimes(),
    st.sampled_from(["=A1", "#DIV/0!", "1,200", "", "x" * 1000, 10**300, *COLUMNS]),
)
NUMBER = re.compile(rb"\d+")
PIECES = [
    b"",
    b"-1",
    b"1e309",
    b"99999999999999999999",
    b"A",
    b"XFD1048577",
    b"&lt;",
    b"<a>",
    b'"',
    b"true",
    b"inlineStr",
]


@st.composite
def changes(draw: st.DrawFn) -> Callable[[Path, dict[str, bytes]], None]:
    """Draws a change of cells, of numbers or bytes in the XML, or of the file's bytes, or cuts the file off."""
    kind = draw(st.sampled_from(["cells", "numbers", "xml", "bytes", "cut"]))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    pieces = draw(st.lists(st.sampled_from(PIECES), min_size=4, max_size=4))
    cells = draw(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 19), values), min_size=1, max_size=4))
    part = draw(st.sampled_from([SHEET, SHEET, SHEET, "xl/workbook.xml", "xl/styles.xml", "[Content_Types].xml"]))

    def change(path: Path, members: dict[str, bytes]) -> None:
        if kind == "cells":
            write(path, members)
            book = openpyxl.load_workbook(path)
            for row, column, value in cells:
                book.worksheets[0].cell(row, column).value = value
            book.save(path)
            return
        content = members[part]
        for place, piece in zip(places, pieces, strict=False):
            if kind == "numbers":
                found = list(NUMBER.finditer(content))
                number = found[int(place * len(found))]
                content = content[: number.start()] + piece + content[number.end() :]
            elif kind == "xml":
                at = int(place * len(content))
                content = content[:at] + piece + content[at + 3 :]
        write(path, members | {part: content})
        whole = bytearray(path.read_bytes())
        if kind == "bytes":
            for place, piece in zip(places, pieces, strict=False):
                whole[int(place * len(whole))] = (piece or b"\xff")[0]
        path.write_bytes(whole[: int(places[0] * len(whole))] if kind == "cut" else whole)

    return change


def test_any_excel_file_is_read_or_rejected(path: Path, members: dict[str, bytes]) -> None:
    found: Counter[str] = Counter()

    @tries(30, 1000)
    @given(changes())
    def once(change: Callable[[Path, dict[str, Any]], None]) -> None:
        change(path, members)
        found[outcome(path)[0]] += 1

    once()
    record("Excel files of houses with cells, XML or bytes changed, or cut off", found.total(), **found)
