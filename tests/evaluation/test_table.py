import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.errors import InputError
from transmodal.evaluation.table import COLUMNS, Row, read_rows, write_rows

text = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=True)
rows = st.builds(Row, text, text, text, text, text, numbers, text, st.integers(0, 10**12))


def one(value=1.5, case="sub-01"):
    return Row(case, "pix2pix", "mask", "MAE", "3d masked", value, "HU", 12)


@settings(max_examples=50, deadline=None)
@given(table=st.lists(rows, max_size=5))
def test_every_bit_comes_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("t") / "evaluation.csv"
    write_rows(path, table)
    assert read_rows(path) == table


def test_the_file_is_what_scripts_expect(tmp_path):
    path = tmp_path / "new" / "evaluation.csv"
    write_rows(path, [one(0.1), one(math.inf), one(math.nan), one(np.float64(-math.inf)), one(np.float64(1 / 3))])
    lines = path.read_text().splitlines()
    assert lines[0] == "case,method,region,metric,convention,value,unit,n" == ",".join(COLUMNS)
    assert lines[1] == "sub-01,pix2pix,mask,MAE,3d masked,0.1,HU,12"
    assert [line.split(",")[5] for line in lines[2:]] == ["inf", "nan", "-inf", "0.3333333333333333"]
    assert math.isnan(read_rows(path)[2].value)
    assert [entry.name for entry in path.parent.iterdir()] == ["evaluation.csv"]


def test_spreadsheets_may_add_a_byte_order_mark_and_blank_lines(tmp_path):
    path = tmp_path / "evaluation.csv"
    write_rows(path, [one()])
    path.write_text("\ufeff" + path.read_text().replace("\n", "\r\n") + "\r\n", newline="")
    assert read_rows(path) == [one()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "columns are none"),
        (b"case,value\na,1\n", "columns are case,value"),
        (b"case,method,region,metric,convention,value,unit,n\na,b,c\n", "line 2: has 3 cells"),
        (b"case,method,region,metric,convention,value,unit,n\na,b,c,d,e,much,g,1\n", "line 2: value 'much'"),
        (b"case,method,region,metric,convention,value,unit,n\na,b,c,d,e,1.0,g,1.5\n", "n '1.5'"),
        (b"\xff\xfe\x00\x01", "cannot be read"),
    ],
)
def test_a_damaged_table_is_refused_with_its_place(tmp_path, content, message):
    path = tmp_path / "evaluation.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as problem:
        read_rows(path)
    assert str(path) in str(problem.value)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such table"):
        read_rows(tmp_path / "none.csv")
