"""Reads the Ames house prices from an Excel file, splits and standardises them."""

import math
import statistics
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from operator import index, itemgetter
from pathlib import Path
from typing import Any, NamedTuple, overload
from xml.etree.ElementTree import iterparse

import openpyxl
import torch
from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.cell_range import CellRange
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.utils.data import Dataset

from mlp.errors import InputError, reading, require_file, shortened
from mlp.exact import exp, log
from mlp.examples import Examples
from mlp.house_features import BOUNDS, FEATURES, PRICE, PRICES
from mlp.on_numpy import OnNumpy

EMPTY = (None,) * (len(FEATURES) + 1)  # an empty row
LARGE = 4000  # square feet of living area; De Cock (2011) recommends excluding houses above it
MAX_ROWS = 2**20  # Excel's own limit
MAX_COLUMNS = 500  # only these are searched for FEATURES and PRICE
MAX_BYTES = 20_000_000  # of an unpacked Excel file; the project's own has 1,681,505
MAX_TAGS = 1_000_000  # in its XML: even the shortest tag takes memory; the project's own file has 200,000


class AmesHousingDataset(Dataset[tuple[Tensor, Tensor]]):
    """The houses of an Excel file, a sequence of (features, price in dollars): float64 [16] and float64 [].

    Reads the named sheet, or the first. Its first row names the columns; those of FEATURES and PRICE may be in any
    order, with other columns among them. A slice is an AmesHousingDataset too.

    Raises InputError, one line with file, sheet, row and column, if the content of the file is invalid, and OSError if
    the file cannot be read.
    """

    def __init__(self, path: str | Path, sheet: str | None = None) -> None:
        table = torch.tensor(_read(Path(path), sheet), dtype=torch.float64)
        self.features, self.prices = table[:, :-1], table[:, -1]

    def __len__(self) -> int:
        return len(self.prices)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.features, self.prices, strict=True)

    @overload
    def __getitem__(self, key: int) -> tuple[Tensor, Tensor]: ...
    @overload
    def __getitem__(self, key: slice) -> "AmesHousingDataset": ...
    def __getitem__(self, key: int | slice) -> "tuple[Tensor, Tensor] | AmesHousingDataset":
        if isinstance(key, slice):
            part = object.__new__(AmesHousingDataset)
            chosen = list(range(len(self)))[key]  # tensors do not support negative steps
            part.features, part.prices = self.features[chosen], self.prices[chosen]
            return part
        return self.features[index(key)], self.prices[index(key)]


class Houses(NamedTuple):
    """A split of the houses, with the statistics of the training split, by which it is standardised."""

    features: Tensor  # float64 [n, 16]
    prices: Tensor  # float64 [n], dollars
    mean: Tensor  # float64 [16], of the training split's features
    std: Tensor  # float64 [16], of the same; 1 for a constant feature
    log_mean: Tensor  # float64 [], of the natural logarithm of the training split's prices
    log_std: Tensor  # float64 [], of the same

    def inputs(self) -> Tensor:
        """Returns features with mean 0 and standard deviation 1 on the training split, float64 [n, 16]."""
        return (self.features - self.mean) / self.std

    def targets(self) -> Tensor:
        """Returns the logarithms of the prices, standardised in the same way, float64 [n]."""
        return (logarithms(self.prices) - self.log_mean) / self.log_std

    def median_price(self) -> float:
        return float(statistics.median(self.prices.tolist()))

    def examples(self) -> Examples:
        """Returns inputs and targets for regression."""
        return Examples(self.inputs(), self.targets())

    def dollars(self, outputs: Tensor) -> Tensor:
        """Converts a model's outputs to prices in dollars: the inverse of `targets`."""
        return torch.from_numpy(exp(OnNumpy(), (outputs * self.log_std + self.log_mean).numpy()))


def save(houses: Houses, path: Path) -> None:
    path.write_bytes(to_bytes({name: tensor.contiguous() for name, tensor in houses._asdict().items()}))


def load(path: Path) -> Houses:
    """Reads a split. Raises InputError if the file is missing, damaged or not a split of houses."""
    with reading(path):
        houses = Houses(**load_file(path))
        n = len(houses.features)
        if [each.shape for each in houses] != [(n, len(FEATURES)), (n,), *[(len(FEATURES),)] * 2, (), ()]:
            raise ValueError(f"tensors of shape {[list(each.shape) for each in houses]}")
        least, most = torch.tensor([*BOUNDS.values(), PRICES], dtype=torch.float64).T
        table = torch.cat([houses.features, houses.prices[:, None]], dim=1)
        if n < 2 or table.dtype != torch.float64 or not ((least <= table) & (table <= most)).all():
            raise ValueError("numbers out of range")
        if not all(each.isfinite().all() for each in (*houses, houses.inputs(), houses.targets())):
            raise ValueError("means or deviations that give numbers that are not finite")
        return houses


def split(dataset: AmesHousingDataset, validation_size: int, test_size: int, seed: int) -> list[Tensor]:
    """Returns the indices of random training, validation and test splits, each ascending, int64."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    sizes = [len(dataset) - validation_size - test_size, validation_size, test_size]
    return [indices.sort().values for indices in torch.split(order, sizes)]


def standardise(dataset: AmesHousingDataset, training: Tensor, splits: list[Tensor]) -> list[Houses]:
    """Returns the splits with the given indices, all with the statistics of the split `training`."""
    columns = [*dataset.features[training].T, logarithms(dataset.prices[training])]
    means, stds = zip(*(_mean_and_std(column.tolist()) for column in columns), strict=True)
    scales = [torch.tensor(each, dtype=torch.float64) for each in (means[:-1], stds[:-1], means[-1], stds[-1])]
    return [Houses(dataset.features[chosen], dataset.prices[chosen], *scales) for chosen in splits]


def logarithms(prices: Tensor) -> Tensor:
    """Returns natural logarithms, with the same bits on every machine."""
    return torch.from_numpy(log(OnNumpy(), prices.numpy()))


def _mean_and_std(numbers: list[float]) -> tuple[float, float]:
    """Uses sums that are rounded once, so their order does not matter. Constant numbers get standard deviation 1."""
    if min(numbers) == max(numbers):  # the mean below might be off in the last place
        return numbers[0], 1.0
    mean = math.fsum(numbers) / len(numbers)
    variance = math.fsum((each - mean) * (each - mean) for each in numbers) / len(numbers)
    return mean, math.sqrt(variance) or 1.0  # the squares of tiny numbers are 0


def _read(path: Path, sheet: str | None) -> list[list[float]]:
    """Returns a row for each house: its features in the order of FEATURES, then its price."""
    with _opened(path, data_only=True) as book:
        sheets = [each.title for each in book.worksheets]
        if not sheets:
            raise InputError(f"{path}: no sheet with cells; needed: one with a row for each house")
        sheet = sheets[0] if sheet is None else sheet
        if sheet not in sheets:
            there = shortened(", ".join(sheets))
            raise InputError(f"{path}: sheet {shortened(repr(sheet))} is missing; available: {there}")
        place = f"{path}, sheet {shortened(sheet)}"
        book[sheet].reset_dimensions()  # those stored in the file may be wrong
        header = next(book[sheet].iter_rows(max_row=1, max_col=MAX_COLUMNS, values_only=True), ())
        columns = _columns(path, sheet, place, header)
        cells = book[sheet].iter_rows(2, MAX_ROWS, max_col=1 + max(columns.values()), values_only=True)
        chosen = map(itemgetter(*columns.values()), cells)
        rows = {row: values for row, values in enumerate(chosen, start=2) if values != EMPTY}
    if not rows:
        raise InputError(f"{place}: no houses; needed: at least one row below the names of the columns")

    def number(row: int, name: str, value: object) -> float:
        least, most = PRICES if name == PRICE else BOUNDS[name]
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        column = columns[name] + 1
        fault = _reason_for_empty(path, sheet, row, column) if value is None else f"is {shortened(repr(value))}"
        cell = f"row {row}, column {get_column_letter(column)} ({name})"
        raise InputError(f"{place}, {cell}: {fault}; allowed: a number from {least} to {most}")

    return [
        [number(row, name, value) for name, value in zip(columns, rows.get(row, EMPTY), strict=True)]
        for row in range(2, max(rows) + 1)
    ]


@contextmanager
def _opened(path: Path, data_only: bool = False) -> Iterator[Workbook]:
    """Opens a workbook that reads cells lazily: formulas, or with `data_only` their stored values."""
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_BYTES:  # zipfile never unpacks more than the declared size
                raise InputError(f"{path}: unpacks to {size:,} bytes; allowed: at most {MAX_BYTES:,}")
            tags = sum(archive.read(member).count(b"<") for member in archive.infolist())
            if tags > MAX_TAGS:
                raise InputError(f"{path}: unpacks to {tags:,} XML tags; allowed: at most {MAX_TAGS:,}")
        with closing(openpyxl.load_workbook(path, read_only=True, data_only=data_only)) as book:
            yield book
    except InputError:
        raise
    except Exception as error:  # openpyxl passes on any exception of its parsers
        reason = shortened(str(error)) or type(error).__name__
        raise InputError(f"{path}: not an Excel file that can be read ({reason}); allowed: an .xlsx file") from error


def _columns(path: Path, sheet: str, place: str, header: tuple[Any, ...]) -> dict[str, int]:
    """Returns the index, from 0, of each column of FEATURES and PRICE."""
    columns = {}
    for name in [*FEATURES, PRICE]:
        found = [index for index, cell in enumerate(header) if cell == name]
        if len(found) != 1:
            letters = shortened(" and ".join(get_column_letter(index + 1) for index in found))
            fault = f"appears in {letters}" if found else f"is missing{_merged(path, sheet, row=1)}"
            raise InputError(f"{place}, row 1: column {name!r} {fault}; it must appear exactly once")
        columns[name] = found[0]
    return columns


def _reason_for_empty(path: Path, sheet: str, row: int, column: int) -> str:
    with _opened(path) as book:
        is_formula = book[sheet].cell(row, column).data_type == "f"
    if is_formula:
        return "is a formula without a stored value"
    return f"is empty{_merged(path, sheet, row, column)}"


def _merged(path: Path, sheet: str, row: int, column: int | None = None) -> str:
    """Returns a remark with the merged cells that cover a cell or row, empty if there are none.

    Reads the XML, because openpyxl finds them only by loading the whole sheet, with every cell that they cover.
    """
    with _opened(path) as book, book[sheet]._get_source() as xml:  # type: ignore[attr-defined]
        merged = [CellRange(each.attrib["ref"]) for _, each in iterparse(xml) if each.tag.endswith("}mergeCell")]
    ranges = [
        cells.coord
        for cells in merged
        if cells.min_row <= row <= cells.max_row and (column is None or cells.min_col <= column <= cells.max_col)
    ]
    return f" (merged cells {shortened(', '.join(sorted(ranges)))})" if ranges else ""
