import csv
import io

import pytest

from transmodal.evaluation.summary import Summary, summarise
from transmodal.evaluation.table import Row
from transmodal.reporting.tables import (
    conventions,
    counts,
    csv_table,
    decimals,
    headings,
    latex_table,
    lay_out,
    markdown_table,
    verdicts,
)  # fmt: skip


def rows(
    method: str, metric: str, values: list[float], unit: str = "HU", convention: str = "3d masked"
) -> list[Row]:
    return [
        Row(f"sub-{i}", method, "mask", metric, convention, value, unit, 100) for i, value in enumerate(values)
    ]


def three(metric: str, **values: list[float]) -> list[Summary]:
    return summarise([row for method, v in values.items() for row in rows(method, metric, v)])


def test_markdown_holds_the_numbers_computed_by_hand() -> None:
    # mean 2, sd 1, t(0.975, 2) = 4.302653, half width 4.302653 / √3 = 2.484138
    lines = markdown_table(three("MAE", pix2pix=[1.0, 2.0, 3.0], mean=[4.0, 5.0, 6.0])).splitlines()
    assert lines[0] == "| method | n | MAE (HU) ↓ |"
    assert lines[2] == "| mean (floor) | 3 | 5.00 ± 1.00 [2.52, 7.48] |"
    assert lines[3] == "| pix2pix | 3 | **2.00** ± 1.00 [-0.48, 4.48] |"
    assert lines[5] == "Mean ± sd over n cases [95 % interval of the mean: Student t]. MAE: 3d masked."


def test_floors_stand_first_and_the_rest_keeps_its_order() -> None:
    table = lay_out(three("MAE", zebra=[1.0], mean=[2.0], ape=[3.0], identity=[4.0]))
    assert table.methods == ("identity", "mean", "zebra", "ape")


@pytest.mark.parametrize(("metric", "best"), [("MAE", {"mean"}), ("PSNR", {"a", "b"}), ("made-up", set())])
def test_best_follows_the_better_side_and_ties_are_shared(metric: str, best: set[str]) -> None:
    table = lay_out(three(metric, mean=[1.0, 1.0], a=[2.0, 2.0], b=[2.0, 2.0]))
    assert table.best(table.metrics[0]) == best


def test_nothing_is_best_alone_and_undefined_means_do_not_compete() -> None:
    table = lay_out(three("PSNR", a=[3.0], b=[float("nan")]))
    assert table.best(table.metrics[0]) == frozenset()
    assert "| b | 0 | – |" in markdown_table(three("PSNR", a=[3.0], b=[float("nan")]))
    assert "| b | 0 | ∞ |" in markdown_table(three("PSNR", a=[3.0], b=[float("inf")]))


def test_a_method_that_does_not_beat_both_floors_is_named() -> None:
    table = lay_out(three("MAE", identity=[3.0, 3.0], mean=[1.0, 1.0], pix2pix=[2.0, 2.0]))
    assert verdicts(table) == ["pix2pix does not beat mean (1.00) on MAE: its mean is 2.00."]
    table = lay_out(three("SSIM", identity=[3.0, 3.0], mean=[1.0, 1.0], pix2pix=[1.0, 1.0]))
    assert verdicts(table) == ["pix2pix does not beat identity (3.00) and mean (1.00) on SSIM: its mean is 1.00."]


def test_a_method_that_beats_both_floors_is_not() -> None:
    assert verdicts(lay_out(three("MAE", identity=[3.0], mean=[2.0], pix2pix=[1.9]))) == []
    assert verdicts(lay_out(three("SSIM", identity=[0.3], mean=[0.2], pix2pix=[0.31]))) == []
    assert verdicts(lay_out(three("MAE", pix2pix=[1.9]))) == []


def test_conventions_get_columns_of_their_own() -> None:
    mixed = rows("a", "PSNR", [20.0], "dB", "range=1") + rows("a", "PSNR", [30.0], "dB", "range=4095")
    table = lay_out(summarise(mixed))
    assert headings(table) == ["PSNR (dB) ↑ (range=1)", "PSNR (dB) ↑ (range=4095)"]
    assert conventions(table) == "PSNR: range=1. PSNR: range=4095."


def test_counts_say_where_n_differs() -> None:
    assert counts(lay_out(three("MAE", a=[1.0, 2.0], b=[1.0]))) == "1–2"
    assert counts(lay_out(three("MAE", a=[1.0, 2.0], b=[1.0, 3.0]))) == "2"


@pytest.mark.parametrize(
    ("values", "digits"),
    [([0.0312, 0.2], 4), ([24.1, 19.9], 2), ([134.2], 1), ([0.812], 3), ([1500.0], 0), ([0.0], 2), ([], 2)],
)
def test_decimals(values: list[float], digits: int) -> None:
    assert decimals(values) == digits


def test_a_bar_in_a_name_does_not_end_a_markdown_cell() -> None:
    assert "| a\\|b |" in markdown_table(three("MAE", **{"a|b": [1.0]}))


def test_latex_escapes_names_and_marks_the_best() -> None:
    text = latex_table(three("MAE", **{"my_net 50%": [1.0, 3.0], "mean": [5.0, 5.0]}))
    assert r"my\_net 50\% & 2 & \textbf{2.00} $\pm$ 1.41 [-10.71, 14.71] \\" in text
    assert text.count("&") == 2 * 3
    assert r"MAE (HU) $\downarrow$" in text


def test_csv_keeps_full_precision_and_empty_cells() -> None:
    found = list(csv.DictReader(io.StringIO(csv_table(three("MAE", a=[1 / 3])))))
    assert float(found[0]["mean"]) == 1 / 3
    assert (found[0]["sd"], found[0]["low"], found[0]["n"]) == ("", "", "1")
