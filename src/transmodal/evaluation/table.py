"""The tidy table: one row per case, method, region and metric. What every number of the package is read from."""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from transmodal.data.files import write_text
from transmodal.data.limits import MOST_TEXT, check_size
from transmodal.errors import InputError


@dataclass(frozen=True)
class Row:
    """One number.

    Attributes:
        case: the subject (or the session of one).
        method: what made the prediction.
        region: where it was measured: ``mask``, ``volume``, or the name of a structure.
        metric: name as in :data:`transmodal.metrics.METRICS`.
        convention: how it was computed, such as ``3d masked range=4095``; only equal conventions compare.
        value: may be ``inf`` (PSNR of identical volumes) or ``nan`` (undefined).
        unit: ``HU``, ``a.u.``, ``dB``, or ``1`` for a pure number.
        n: how many voxels counted, or slices where the metric or the convention averages over slices.
    """

    case: str
    method: str
    region: str
    metric: str
    convention: str
    value: float
    unit: str
    n: int


COLUMNS = tuple(column.name for column in fields(Row))
"""``case,method,region,metric,convention,value,unit,n``; scripts rely on it."""


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a CSV table, whole or not at all; :func:`read_rows` gives back exactly these values.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        cells = dict(zip(COLUMNS, astuple(row), strict=True))
        table.writerow((cells | {"value": repr(float(row.value)), "n": int(row.n)}).values())
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Read a table that :func:`write_rows` wrote.

    Raises:
        InputError: missing, not such a table, or a number that is none; names the line.
    """
    try:
        check_size(path, MOST_TEXT)
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            if tuple(header) != COLUMNS:
                raise InputError(
                    f"{path}: its columns are {','.join(header)[:120] or 'none'}, not {','.join(COLUMNS)}; "
                    "give an evaluation.csv"
                )
            return [_row(cells, f"{path}, line {lines.line_num}") for cells in lines if cells]
    except FileNotFoundError as problem:
        raise InputError(f"{path}: there is no such table; run `transmodal evaluate` first") from problem
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(
            f"{path}: cannot be read as a CSV table ({problem}); it was changed or damaged"
        ) from problem


def _row(cells: list[str], where: str) -> Row:
    if len(cells) != len(COLUMNS):
        raise InputError(f"{where}: has {len(cells)} cells where {len(COLUMNS)} are needed; write the table again")
    case, method, region, metric, convention, value, unit, n = cells
    try:
        if int(n) < 0:
            raise ValueError(n)
        return Row(case, method, region, metric, convention, float(value), unit, int(n))
    except ValueError as problem:
        raise InputError(
            f"{where}: value {value!r} or n {n!r} is not a number; write the table again"
        ) from problem
