import json
import math

import numpy as np
import pytest
import torch

from transmodal.errors import InputError
from transmodal.evaluation.statistics import interval_of_mean
from transmodal.evaluation.summary import Summary, summarise, write_summary
from transmodal.evaluation.table import Row


def rows(values, metric="MAE", method="pix2pix", convention="3d masked", unit="HU"):
    return [
        Row(f"sub-{i:02d}", method, "mask", metric, convention, float(value), unit, 10)
        for i, value in enumerate(values)
    ]


def test_golden_values():
    # mean 5, squared deviations 9 1 1 9: sd = sqrt(20 / 3); t(0.975, 3) = 3.182446.
    (summary,) = summarise(rows([2, 4, 6, 8]))
    sd = math.sqrt(20 / 3)
    half = 3.182446305284263 * sd / 2
    assert (summary.n, summary.mean, summary.median) == (4, 5.0, 5.0)
    assert summary.sd == pytest.approx(sd, abs=1e-12)
    assert (summary.low, summary.high) == pytest.approx((5 - half, 5 + half), abs=1e-9)
    assert (summary.infinite, summary.undefined) == (0, 0)


def test_the_interval_is_that_of_the_statistics():
    values = np.random.default_rng(0).normal(30, 4, 17)
    (summary,) = summarise(rows(values))
    expected = interval_of_mean(values)
    assert (summary.low, summary.high, summary.interval) == (expected.low, expected.high, expected.how)
    assert "BCa" in summary.interval
    assert summary.sd == pytest.approx(values.std(ddof=1), rel=1e-12)


def test_infinite_and_undefined_values_are_counted_and_left_out():
    (summary,) = summarise(rows([30, math.inf, 32, math.nan, -math.inf, 34], metric="PSNR", unit="dB"))
    assert (summary.n, summary.mean, summary.median) == (3, 32.0, 32.0)
    assert (summary.infinite, summary.undefined) == (2, 1)


@pytest.mark.parametrize(("values", "n", "mean"), [([7.0], 1, 7.0), ([math.nan, math.inf], 0, None)])
def test_too_few_subjects_have_no_interval(values, n, mean):
    (summary,) = summarise(rows(values))
    assert (summary.n, summary.mean, summary.median) == (n, mean, mean)
    assert summary.sd is summary.low is summary.high is None


def test_groups_are_never_mixed():
    table = (
        rows([1, 3]) + rows([10, 30], method="mean") + rows([5], convention="3d whole") + rows([9], unit="a.u.")
    )
    assert [(s.method, s.convention, s.unit, s.n, s.mean) for s in summarise(table)] == [
        ("pix2pix", "3d masked", "HU", 2, 2.0),
        ("mean", "3d masked", "HU", 2, 20.0),
        ("pix2pix", "3d whole", "HU", 1, 5.0),
        ("pix2pix", "3d masked", "a.u.", 1, 9.0),
    ]
    assert summarise([]) == []


def test_a_subject_must_not_count_twice():
    with pytest.raises(InputError, match=r"sub-00.*two values of MAE"):
        summarise(rows([1, 2]) + rows([3]))


def test_json_is_strict(tmp_path):
    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    summaries = summarise(rows([math.inf, math.nan], metric="PSNR") + rows([1.0, 2.0]))
    write_summary(tmp_path / "evaluation.json", summaries, {"target": "CT"})
    content = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=refuse)
    assert [Summary(**entry) for entry in content["summary"]] == summaries
    assert content["summary"][0]["mean"] is None
    assert content["summary"][0]["infinite"] == content["summary"][0]["undefined"] == 1
    assert content["settings"] == {"target": "CT"}
    assert content["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
