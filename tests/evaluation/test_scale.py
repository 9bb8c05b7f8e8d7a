"""The judged values of a prediction are those of the file that synthesis would write."""

import numpy as np
import pytest

from transmodal.data.intensity import IntensityFit
from transmodal.evaluation.scale import scale_of

NORMALISED = np.array([-1.7, -1.0, 0.0, 0.5, 1.4], dtype=np.float32).reshape(1, 5, 1, 1)

WINDOW = IntensityFit("window", 988.0, 2012.0, -1.0, 1.0)
PERCENTILE = IntensityFit("percentile", 300.0, 200.0, -1.0, 1.0)
ZSCORE = IntensityFit("zscore", 300.0, 200.0)

CASES = {
    "HU, in its own unit": ("CT", WINDOW, [-1024, -1024, 988, 1994, 3000]),
    "arbitrary units, in the window": ("FLAIR", PERCENTILE, [0, 0, 0.5, 0.75, 1]),
    "z-scores, unbounded": ("FLAIR", ZSCORE, [-1.7, -1, 0, 0.5, 1.4]),
}


@pytest.mark.parametrize(("target", "fit", "judged"), CASES.values(), ids=CASES)
def test_known_values(target, fit, judged):
    scale = scale_of(target, fit)
    np.testing.assert_allclose(scale.of_prediction(NORMALISED).ravel(), judged, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("target", "fit", "judged"), CASES.values(), ids=CASES)
def test_a_written_prediction_read_as_a_reference_is_the_same(target, fit, judged):
    scale = scale_of(target, fit)
    np.testing.assert_array_equal(scale.of_prediction(NORMALISED), scale.of_reference(fit.invert(NORMALISED)))


def test_a_reference_is_never_clipped():
    stored = np.array([0.0, 700.0], dtype=np.float32).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(scale_of("FLAIR", PERCENTILE).of_reference(stored).ravel(), [-0.25, 1.5])
