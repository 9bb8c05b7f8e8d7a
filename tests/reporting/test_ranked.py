"""The table of a comparison: what has no better side is shown, and decides nothing."""

from transmodal.evaluation.contest import contest
from transmodal.evaluation.measure import measure_of
from transmodal.evaluation.table import Row
from transmodal.reporting.ranking import Ranking, ranking_markdown

MAE = {"one": (30.0, 32.0, 31.0), "two": (40.0, 41.0, 45.0)}
BIAS = {"one": (-5.0, -7.0, -6.0), "two": (1.0, 2.0, 3.0)}


def rows(scores, metric):
    return [
        Row(f"sub-{n}", method, "mask", metric, "3d masked", value, "HU", 100)
        for method, values in scores.items()
        for n, value in enumerate(values)
    ]


def ranking(*measured):
    return Ranking([contest(measured, measure_of(measured[0]))], measured, {}, None)


def test_a_bias_stands_beside_what_is_ranked():
    table = ranking(*rows(MAE, "MAE"), *rows(BIAS, "Bias")).table
    assert [measure.name for measure in table.metrics] == ["MAE", "Bias"]
    mae, bias = table.metrics
    assert (table.cells["one", mae].mean, table.cells["one", bias].mean) == (31.0, -6.0)
    assert table.methods == ("one", "two")
    # Digits by the deviations, which are 1.0 HU: a mean near 0 does not ask for more.
    assert table.decimals(bias) == 2
    assert "**-6" not in ranking_markdown(ranking(*rows(MAE, "MAE"), *rows(BIAS, "Bias")))


def test_what_one_method_lacks_is_left_out():
    only = rows({"one": BIAS["one"]}, "Bias")
    assert [measure.name for measure in ranking(*rows(MAE, "MAE"), *only).table.metrics] == ["MAE"]
