import math

import numpy as np
import pytest

from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.score import DEFAULT_METRICS, score
from transmodal.metrics import METRICS

GENERATOR = np.random.default_rng(0)
REFERENCE = GENERATOR.uniform(-500, 1500, (1, 24, 23, 22)).astype(np.float32)
PREDICTION = REFERENCE + GENERATOR.normal(0, 100, REFERENCE.shape).astype(np.float32)
MASK = np.zeros(REFERENCE.shape[1:], dtype=bool)
MASK[6:18, 6:18, 6:18] = True


def run(prediction=PREDICTION, reference=REFERENCE, mask=MASK, **options):
    chosen = {"case": "sub-07", "method": "pix2pix", "data_range": 4095.0, "unit": "HU"} | options
    return score(prediction, reference, mask, **chosen)


def test_rows_say_what_was_done():
    rows = run()
    assert [row.metric for row in rows] == list(DEFAULT_METRICS) == ["MAE", "NMSE", "PSNR", "SSIM", "MS-SSIM"]
    assert {(row.case, row.method, row.region, row.n) for row in rows} == {("sub-07", "pix2pix", "mask", 12**3)}
    assert [row.unit for row in rows] == ["HU", "1", "dB", "1", "1"]
    assert [row.convention for row in rows] == [
        "3d masked",
        "3d masked",
        "3d masked range=4095",
        "3d masked range=4095",
        "3d masked range=4095 scales=2",
    ]


def test_values_are_those_of_numpy():
    values = {row.metric: row.value for row in run()}
    difference = (PREDICTION[:, MASK] - REFERENCE[:, MASK]).astype(np.float64)
    assert values["MAE"] == pytest.approx(np.abs(difference).mean(), rel=1e-6)
    assert values["NMSE"] == pytest.approx((difference**2).sum() / (REFERENCE[:, MASK] ** 2.0).sum(), rel=1e-6)
    assert values["PSNR"] == pytest.approx(10 * math.log10(4095**2 / (difference**2).mean()), abs=1e-6)


def test_a_metric_names_what_it_compares_with():
    """Against the target, what is called SSIM-input would be another number, and the other way round."""
    with pytest.raises(
        RecipeError, match=r"SSIM-input compares with the scan that was shown.*sub-07 is the target"
    ):
        run(metrics=["MAE", "SSIM-input"])
    with pytest.raises(RecipeError, match=r"MAE compares with the measured target.*sub-07 is the input"):
        run(metrics=["SSIM-input", "MAE"], against="input")
    (shown,) = run(metrics=["SSIM-input"], against="input")
    (target,) = run(metrics=["SSIM"])
    assert (shown.metric, shown.value) == ("SSIM-input", target.value)


def test_without_a_range_the_reference_in_the_mask_decides():
    spiked = REFERENCE.copy()
    spiked[0, 0, 0, 0] = 1e5  # outside the mask: must not widen the range
    own = {row.metric: row for row in run(reference=spiked, data_range=None)}
    inside = REFERENCE[:, MASK]
    width = float(inside.max()) - float(inside.min())
    given = {row.metric: row for row in run(data_range=width)}
    assert own["PSNR"].value == given["PSNR"].value
    assert own["SSIM"].value == given["SSIM"].value
    assert own["PSNR"].convention == "3d masked range=reference"
    assert given["PSNR"].convention == f"3d masked range={width:.10g}"


def test_without_a_mask_the_volume_counts_and_the_rows_say_so():
    rows = run(mask=None, metrics=["PSNR", "SliceConsistency"])
    assert [(row.region, row.convention, row.n) for row in rows] == [
        ("volume", "3d whole range=4095", REFERENCE.size),
        ("volume", "2d slices whole axis=2", REFERENCE.shape[-1]),
    ]
    assert run(region="lesion")[0].region == "lesion"
    assert run(prediction=PREDICTION[..., :1], reference=REFERENCE[..., :1], mask=None)[0].convention == "2d whole"


def test_colour_counts_voxels_not_channels():
    prediction, reference = np.repeat(PREDICTION, 3, axis=0), np.repeat(REFERENCE, 3, axis=0)
    colour, grey = run(prediction=prediction, reference=reference), run()
    assert [row.n for row in colour] == [row.n for row in grey]
    assert [row.value for row in colour] == pytest.approx([row.value for row in grey], rel=1e-12)


def test_inputs_are_left_alone_and_may_be_read_only_or_turned():
    prediction, reference = PREDICTION[:, ::-1].astype(">f4"), REFERENCE[:, ::-1].copy()
    reference.setflags(write=False)
    copies = prediction.copy(), reference.copy()
    turned = run(prediction=prediction, reference=reference, mask=MASK[::-1])
    assert [row.value for row in turned[:4]] == pytest.approx([row.value for row in run()[:4]], rel=1e-9)
    np.testing.assert_array_equal(prediction, copies[0])
    np.testing.assert_array_equal(reference, copies[1])


def test_identical_volumes():
    best = {name: metric.best for name, metric in METRICS.items() if not metric.colour}
    values = {}
    for against in ("target", "input"):
        own = [name for name in best if METRICS[name].against_input == (against == "input")]
        values |= {row.metric: row.value for row in run(prediction=REFERENCE, metrics=own, against=against)}
    assert values == best


def test_a_prediction_with_nan_is_undefined_not_an_error():
    broken = PREDICTION.copy()
    broken[0, 12, 12, 12] = np.nan
    assert all(math.isnan(row.value) for row in run(prediction=broken))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.zeros_like(MASK)}, "its mask has no voxel"),
        ({"mask": MASK[1:]}, "mask has shape"),
        ({"mask": MASK.astype(np.uint8)}, "holds uint8"),
        ({"prediction": PREDICTION[:, 1:]}, "the prediction has shape"),
        ({"prediction": PREDICTION[0], "reference": REFERENCE[0]}, "channels, X, Y, Z"),
        ({"reference": np.where(MASK, np.nan, 0)[None].astype(np.float32)}, "NaN"),
        ({"reference": np.ones_like(REFERENCE), "data_range": None}, "no range of its own"),
    ],
)
def test_bad_inputs_name_the_case(change, message):
    with pytest.raises(InputError, match=message) as problem:
        run(**change)
    assert "'sub-07'" in str(problem.value)


def test_bad_settings():
    with pytest.raises(RecipeError, match="did you mean 'PSNR'"):
        run(metrics=["PSRN"])
    with pytest.raises(RecipeError, match="data_range"):
        run(data_range=0.0)
