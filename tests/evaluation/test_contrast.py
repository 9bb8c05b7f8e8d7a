"""Numbers of the lesion probe, worked out by hand."""

import math

import pytest

from transmodal.evaluation.contrast import Probe, echo, false, kept


def probe(kind: str, true: int | float, made: int | float, intensity: int | float = 1.0) -> Probe:
    return Probe("a", "m", kind, (0, 0, 0), 8.0, float(intensity), float(true), float(made))


def test_kept_is_a_slope_through_the_origin() -> None:
    """Σ t m / Σ t²: (2·1 + 1·1) / (4 + 1) = 0.6."""
    own = [probe("lesion", 2, 1), probe("lesion", 1, 1, 0.5), probe("sham", 0, 9), probe("plain", 5, 9, 0)]
    assert kept(own) == pytest.approx(0.6)
    assert kept([probe("lesion", -2, 2)]) == -1, "the wrong way round"
    assert math.isnan(kept([probe("sham", 0, 1)]))


def test_echo_and_false_are_in_units_of_the_lesions() -> None:
    own = [probe("lesion", 2, 1), probe("lesion", 1, 1, 0.5), probe("sham", 0, 0.5), probe("plain", 3, 4, 0)]
    assert echo(own) == pytest.approx(0.5 / math.sqrt(2.5))
    assert false(own) == pytest.approx(0.5), "1 too much, of the 2 that a full lesion has"
    assert math.isnan(false(own[:2]))
