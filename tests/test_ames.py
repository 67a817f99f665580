"""The Ames houses: the contents of the file, the behaviour of the dataset, and the errors for invalid files."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.worksheet.worksheet import Worksheet
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from conftest import ROOT
from mlp.ames import AmesHousingDataset, load, logarithms, save, split, standardise
from mlp.errors import InputError
from mlp.house_features import BOUNDS, FEATURES, PRICE, PRICES

FILE = ROOT / "data/ames/AmesHousing.xlsx"
YEARS = [FEATURES.index(name) for name in ("Year Built", "Year Remod/Add", "Yr Sold")]
HOUSES: list[list[Any]] = [
    [*(row + column + 1900 * (column in YEARS) for column in range(16)), 100_000 + row] for row in range(5)
]


@pytest.fixture(scope="module")
def dataset() -> AmesHousingDataset:
    return AmesHousingDataset(FILE)


def test_the_file_has_the_2928_houses_that_pandas_reads(dataset: AmesHousingDataset) -> None:
    expected = pd.read_excel(FILE)
    assert len(dataset) == 2928
    assert list(expected.columns) == [*FEATURES, PRICE]
    assert np.array_equal(dataset.features, expected[FEATURES])
    assert np.array_equal(dataset.prices, expected[PRICE])


def test_house_286_is_the_lectures(dataset: AmesHousingDataset) -> None:
    features, price = dataset[286]
    assert features.tolist() == [6858, 6, 4, 1915, 1950, 806, 841, 806, 1647, 1, 1, 4, 1, 6, 216, 2010]
    assert price.item() == 128000
    assert features.dtype == price.dtype == torch.float64


def test_a_loader_with_batch_size_32_gives_92_batches_the_last_of_16(dataset: AmesHousingDataset) -> None:
    batches = list(DataLoader(dataset, batch_size=32, shuffle=True))
    assert [len(prices) for _, prices in batches] == [32] * 91 + [16]
    assert torch.cat([prices for _, prices in batches]).sum() == dataset.prices.sum()
    assert not torch.equal(batches[0][1], dataset.prices[:32])


@given(index=st.integers(-3500, 3500))
def test_it_is_indexed_like_a_list(dataset: AmesHousingDataset, index: int) -> None:
    prices = dataset.prices.tolist()
    try:
        expected = prices[index]
    except IndexError:
        with pytest.raises(IndexError):
            dataset[index]
    else:
        assert dataset[index][1] == dataset[np.int64(index)][1] == expected  # type: ignore[call-overload]


@given(st.slices(2928))
def test_it_is_sliced_like_a_list(dataset: AmesHousingDataset, key: slice) -> None:
    part = dataset[key]
    assert isinstance(part, AmesHousingDataset)
    assert len(part) == len(range(2928)[key])
    assert part.prices.tolist() == dataset.prices.tolist()[key]
    assert [price.item() for _, price in part[:5]] == part.prices.tolist()[:5]


def test_iteration_yields_every_house_once(dataset: AmesHousingDataset) -> None:
    assert [price.item() for _, price in dataset] == dataset.prices.tolist()
    assert next(reversed(dataset))[1] == dataset.prices[-1]


def test_an_invalid_index_is_rejected(dataset: AmesHousingDataset) -> None:
    for key in (1.0, "1", None):
        with pytest.raises(TypeError):
            dataset[key]  # type: ignore[call-overload]


def excel(path: Path, change: Callable[[Worksheet], object] = lambda _: None) -> Path:
    """Writes a small Excel file with a sheet Houses, modified by `change`."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    sheet.title = "Houses"
    for row in [[*FEATURES, PRICE], *HOUSES]:
        sheet.append(row)
    change(sheet)
    book.save(path)
    return path


def test_columns_may_be_in_any_order_and_among_others(tmp_path: Path) -> None:
    def shuffle(sheet: Worksheet) -> None:
        columns = [list(column) for column in sheet.iter_cols(values_only=True)]
        others: list[list[Any]] = [["Street", *["Pave"] * 5], [None, "a note", *[None] * 4], *columns[::-1]]
        sheet.delete_cols(1, 17)
        for place, column in enumerate(others, start=1):
            for row, value in enumerate(column, start=1):
                sheet.cell(row, place, value)

    own = AmesHousingDataset(excel(tmp_path / "own.xlsx", shuffle), "Houses")
    assert own.features.tolist() == [house[:16] for house in HOUSES]
    assert own.prices.tolist() == [house[16] for house in HOUSES]


def test_empty_rows_at_the_end_are_ignored(tmp_path: Path) -> None:
    path = excel(tmp_path / "own.xlsx", lambda sheet: sheet.cell(30, 20).__setattr__("number_format", "0.00"))
    assert len(AmesHousingDataset(path)) == 5


def cell(place: str, value: Any) -> Callable[[Worksheet], object]:
    def change(sheet: Worksheet) -> None:
        sheet[place] = value

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda sheet: sheet.delete_cols(2), ", row 1: column 'Overall Qual' is missing; it must appear exactly once"),
        (cell("R1", "Lot Area"), ", row 1: column 'Lot Area' appears in A and R; it must appear exactly once"),
        (cell("A3", "1,200"), ", row 3, column A (Lot Area): is '1,200'; allowed: {LOT}"),
        (cell("A3", "1200"), ", row 3, column A (Lot Area): is '1200'; allowed: {LOT}"),
        (cell("A3", 1e200), ", row 3, column A (Lot Area): is 1e+200; allowed: {LOT}"),
        (cell("I4", 1e200), ", row 4, column I (Gr Liv Area): is 1e+200; allowed: {AREAS}"),
        (cell("I4", 1.7e308), ", row 4, column I (Gr Liv Area): is 1.7e+308; allowed: {AREAS}"),
        (cell("I4", -900), ", row 4, column I (Gr Liv Area): is -900; allowed: {AREAS}"),
        (cell("D5", 19), ", row 5, column D (Year Built): is 19; allowed: {YEARS}"),
        (cell("Q4", -1), ", row 4, column Q (SalePrice): is -1; allowed: {PRICES}"),
        (cell("Q4", 1e13), ", row 4, column Q (SalePrice): is 10000000000000; allowed: {PRICES}"),
        (cell("B2", True), ", row 2, column B (Overall Qual): is True; allowed: {GRADES}"),
        (cell("Q4", None), ", row 4, column Q (SalePrice): is empty; allowed: {PRICES}"),
        (cell("Q4", 0), ", row 4, column Q (SalePrice): is 0; allowed: {PRICES}"),
        (
            cell("C6", "=A6*2"),
            ", row 6, column C (Overall Cond): is a formula without a stored value; allowed: {GRADES}",
        ),
        (
            lambda sheet: sheet.merge_cells("B3:B5"),
            ", row 4, column B (Overall Qual): is empty (merged cells B3:B5); allowed: {GRADES}",
        ),
        (
            lambda sheet: sheet.merge_cells("C1:D1"),
            ", row 1: column 'Year Built' is missing (merged cells C1:D1); it must appear exactly once",
        ),
        (
            lambda sheet: sheet.delete_rows(2, 5),
            ": no houses; needed: at least one row below the names of the columns",
        ),
        (
            lambda sheet: sheet.insert_rows(4),
            ", row 4, column A (Lot Area): is empty; allowed: {LOT}",
        ),
    ],
)
def test_each_fault_is_reported_in_one_line_with_its_cell(
    tmp_path: Path, change: Callable[[Worksheet], object], fault: str
) -> None:
    path = excel(tmp_path / "own.xlsx", change)
    with pytest.raises(InputError) as error:
        AmesHousingDataset(path, "Houses")
    fault = fault.format(
        LOT="a number from 0 to 10000000000",
        GRADES="a number from 0 to 100",
        YEARS="a number from 1000 to 3000",
        AREAS="a number from 0 to 10000000",
        PRICES="a number from 1 to 1000000000000",
    )
    assert str(error.value) == f"{path}, sheet Houses{fault}"


def test_a_missing_sheet_is_reported_in_one_line(tmp_path: Path) -> None:
    path = excel(tmp_path / "own.xlsx")
    with pytest.raises(InputError) as error:
        AmesHousingDataset(path, "Sheet1")
    assert str(error.value) == f"{path}: sheet 'Sheet1' is missing; available: Houses"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "Dear all")


@pytest.mark.parametrize("damage", [lambda path: path.write_text("Lot Area,SalePrice\n1,2\n"), cut, other_archive])
def test_a_file_that_is_not_excel_is_reported_in_one_line(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = excel(tmp_path / "own.xlsx")
    damage(path)
    with pytest.raises(InputError) as error:
        AmesHousingDataset(path)
    assert str(error.value).startswith(f"{path}: not an Excel file that can be read (")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_reported_as_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AmesHousingDataset(tmp_path / "none.xlsx")


def test_a_huge_archive_is_rejected_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = excel(tmp_path / "own.xlsx")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet2.xml", b" " * 60_000_000)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(openpyxl, "load_workbook", None)
    with pytest.raises(InputError, match=r"own.xlsx: unpacks to 60,\d+,\d+ bytes; allowed: at most 20,000,000$"):
        AmesHousingDataset(path)


def test_an_archive_that_lies_about_its_size_is_rejected(tmp_path: Path) -> None:
    path = excel(tmp_path / "own.xlsx")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    members[sheet] = members[sheet].replace(b"</sheetData>", b" " * 60_000_000 + b"</sheetData>")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    size = len(members[sheet]).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (5000).to_bytes(4, "little")))
    with pytest.raises(InputError, match="not an Excel file that can be read"):
        AmesHousingDataset(path)


def test_a_lone_cell_in_the_last_row_is_found_within_little_memory(tmp_path: Path) -> None:
    path = excel(tmp_path / "own.xlsx", cell("A1048576", 1))
    with pytest.raises(InputError, match=r"row 7, column A \(Lot Area\): is empty"):
        AmesHousingDataset(path)


def test_a_note_outside_the_columns_of_houses_is_ignored(tmp_path: Path) -> None:
    assert len(AmesHousingDataset(excel(tmp_path / "own.xlsx", cell("Z20", "checked by hand")))) == 5


@given(data=st.data(), n=st.integers(3, 60), seed=st.integers(0, 2**63 - 1))
def test_every_house_is_in_exactly_one_split(
    dataset: AmesHousingDataset, data: st.DataObject, n: int, seed: int
) -> None:
    validation_size = data.draw(st.integers(1, n - 2))
    test_size = data.draw(st.integers(1, n - validation_size - 1))
    parts = split(dataset[:n], validation_size, test_size, seed)
    assert [len(part) for part in parts] == [n - validation_size - test_size, validation_size, test_size]
    assert sorted(torch.cat(parts).tolist()) == list(range(n))
    assert all(map(torch.equal, parts, split(dataset[:n], validation_size, test_size, seed)))


def test_all_real_houses_are_well_within_the_bounds(dataset: AmesHousingDataset) -> None:
    """Even ten times the maximum of each feature is within them, except for years."""
    most = torch.tensor([most for _, most in BOUNDS.values()])
    others = [column for column in range(len(FEATURES)) if column not in YEARS]
    assert (dataset.features.amax(dim=0) * 10 <= most)[others].all()
    assert dataset.prices.max() * 1000 < PRICES[1]


def test_inputs_and_targets_are_standardised_on_the_training_split(dataset: AmesHousingDataset) -> None:
    parts = split(dataset, 400, 600, 0)
    training, validation, test = standardise(dataset, parts[0], parts)
    scaler = StandardScaler().fit(dataset.features[parts[0]])
    for houses, part in zip((training, validation, test), parts, strict=True):
        np.testing.assert_allclose(houses.inputs(), scaler.transform(dataset.features[part]), atol=1e-12)
        torch.testing.assert_close(houses.dollars(houses.targets()), dataset.prices[part])
    assert training.targets().mean().item() == pytest.approx(0, abs=1e-12)
    assert training.targets().std(correction=0).item() == pytest.approx(1, abs=1e-12)
    assert abs(test.inputs().mean().item()) > 1e-3  # it would be 0 if standardised on the test split


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=40))
def test_logarithms_and_prices_agree_with_numpy(prices: list[float]) -> None:
    found = logarithms(torch.tensor(prices, dtype=torch.float64))
    np.testing.assert_allclose(found, np.log(prices), rtol=1e-15, atol=1e-15)


def test_a_feature_that_does_not_vary_becomes_zero(tmp_path: Path) -> None:
    def same_year(sheet: Worksheet) -> None:
        for row in range(2, 7):
            sheet.cell(row, 4, 1915)

    own = AmesHousingDataset(excel(tmp_path / "own.xlsx", same_year))
    (houses,) = standardise(own, torch.arange(5), [torch.arange(5)])
    assert houses.inputs()[:, 3].tolist() == [0] * 5
    assert houses.inputs().isfinite().all()


def test_a_variation_too_small_for_its_square_counts_as_none(tmp_path: Path) -> None:
    column = FEATURES.index("Garage Area")

    def tiny(sheet: Worksheet) -> None:
        for row in range(2, 7):
            sheet.cell(row, 1 + column, 1e-170 * row)

    own = AmesHousingDataset(excel(tmp_path / "own.xlsx", tiny))
    (houses,) = standardise(own, torch.arange(5), [torch.arange(5)])
    assert houses.std[column] == 1
    assert houses.inputs().isfinite().all()


@pytest.mark.parametrize("value", [92.9, 85.3, 0.1])
@pytest.mark.parametrize("count", [48, 49, 337])
def test_a_rounded_mean_does_not_count_as_variation(value: float, count: int) -> None:
    houses = torch.full((count, len(FEATURES)), value, dtype=torch.float64)
    dataset = AmesHousingDataset.__new__(AmesHousingDataset)
    dataset.features, dataset.prices = houses, houses[:, 0]
    (found,) = standardise(dataset, torch.arange(count), [torch.arange(count)])
    assert (found.mean == value).all()
    assert (found.std == 1).all()


def test_houses_survive_a_round_trip_through_their_file(dataset: AmesHousingDataset, tmp_path: Path) -> None:
    (houses,) = standardise(dataset, torch.arange(50), [torch.arange(50, 70)])
    save(houses, tmp_path / "houses")
    assert all(map(torch.equal, load(tmp_path / "houses"), houses))
