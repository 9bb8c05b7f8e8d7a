"""Intervals hold what they promise, on residuals of which everything is known; never more than people allow."""

import json
from dataclasses import replace

import numpy as np
import pytest

from transmodal.errors import InputError, RecipeError, Refused
from transmodal.inference.conformal import Calibration, calibrated

Drawn = tuple[list[np.ndarray], list[np.ndarray]]


def people(rng: np.random.Generator, count: int, voxels: int = 400) -> Drawn:
    """Residuals whose size follows the spread, times a factor of each person's own."""
    residuals, spreads = [], []
    for _ in range(count):
        spread = rng.uniform(0.02, 0.1, (1, voxels)).astype(np.float32)
        own = np.exp(rng.normal(0, 0.3))
        residuals.append((rng.normal(0, 1, (1, voxels)) * own * spread).astype(np.float32))
        spreads.append(spread)
    return residuals, spreads


def held(found: Calibration, drawn: Drawn, share: float) -> list[float]:
    shares = []
    for residual, spread in zip(*drawn, strict=True):
        voxels = spread.reshape(1, -1, 1, 1)
        low, high = found.bounds("CT", np.zeros_like(voxels), voxels, share)
        shares.append(float(np.mean((residual.ravel() >= low.ravel()) & (residual.ravel() <= high.ravel()))))
    return shares


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
def test_the_mean_over_new_people_is_what_was_promised(share: float) -> None:
    rng, count, means = np.random.default_rng(1), 60, []
    for _ in range(12):
        residuals, spreads = people(rng, count)
        means += held(calibrated({"CT": residuals}, {"CT": spreads}), people(rng, 8), share)
    # At least the share, and at most one person's vote more.
    error = 3 * np.std(means) / np.sqrt(len(means))
    assert share - error <= np.mean(means) <= share + 1 / (count + 1) + error
    assert abs(np.mean(means) - share) < 0.03


def test_one_person_has_one_vote_however_many_voxels() -> None:
    large, small = np.full((1, 9000), 3.0), np.full((1, 10), 1.0)
    residuals = [large, *[small] * 3]
    found = calibrated({"CT": residuals}, {"CT": [np.zeros_like(r) for r in residuals]})
    # Three of four people have scores of 1 / floor: with the vote of a fifth, that is enough for 3/5 and no more.
    assert found.reach("CT", 0.6) * found.floor["CT"] == pytest.approx(1.0)
    assert found.reach("CT", 0.61) * found.floor["CT"] == pytest.approx(3.0)


def test_known_quantiles() -> None:
    residuals = [np.arange(1.0, 101.0)[None]] * 9
    found = calibrated({"CT": residuals}, {"CT": [np.zeros((1, 100))] * 9})
    for share in (0.09, 0.45, 0.81, 0.9):
        assert found.reach("CT", share) * found.floor["CT"] == pytest.approx(100 * share * 10 / 9)


def test_a_share_that_so_few_people_cannot_promise_is_refused() -> None:
    residuals, spreads = people(np.random.default_rng(0), 8)
    found = calibrated({"CT": residuals}, {"CT": spreads})
    assert found.reach("CT", 0.88) > 0
    with pytest.raises(Refused, match=r"--interval 0\.9: a calibration on 8 people .* up to 0\.889"):
        found.reach("CT", 0.9)
    with pytest.raises(InputError, match="1 people to calibrate on"):
        calibrated({"CT": residuals[:1]}, {"CT": spreads[:1]})


def test_measured_values_beyond_the_window_are_never_held_and_never_promised() -> None:
    """A tenth of everybody's voxels lies beyond the window, where no interval reaches."""
    rng = np.random.default_rng(5)
    drawn = people(rng, 60)
    for residual in drawn[0]:
        residual[:, ::10] = np.inf
    found = calibrated({"CT": drawn[0]}, {"CT": drawn[1]})
    new = people(rng, 200)
    for residual in new[0]:
        residual[:, ::10] = np.inf
    assert np.mean(held(found, new, 0.8)) == pytest.approx(0.8, abs=0.03)
    with pytest.raises(Refused, match=r"CT lie beyond the model's window that no more than 0\.8"):
        found.reach("CT", 0.9)
    assert [entry.nominal for entry in found.reliability["CT"]] == [0.5, 0.6, 0.7, 0.8]
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict())), "c.json") == found
    with pytest.raises(RecipeError, match="above 0 and below 1"):
        found.reach("CT", 1.5)


def test_reliability_leaves_each_person_out() -> None:
    rng = np.random.default_rng(3)
    residuals, spreads = people(rng, 30)
    found = calibrated({"CT": residuals}, {"CT": spreads})
    entries = {entry.nominal: entry for entry in found.reliability["CT"]}
    assert set(entries) == {0.5, 0.6, 0.7, 0.8, 0.9, 0.95}
    for nominal, entry in entries.items():
        assert nominal - 0.03 <= entry.held <= nominal + 0.07
        assert entry.least < entry.held < entry.most
    rest = calibrated({"CT": residuals[1:]}, {"CT": spreads[1:]})
    first = held(replace(rest, floor=found.floor), (residuals[:1], spreads[:1]), 0.9)[0]
    assert entries[0.9].least - 0.02 <= first <= entries[0.9].most + 0.02


def test_a_calibration_survives_json_and_another_file_is_refused() -> None:
    residuals, spreads = people(np.random.default_rng(0), 5)
    found = replace(calibrated({"CT": residuals}, {"CT": spreads}), sha256="x", inference={"overlap": 0.25})
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict())), "c.json") == found
    with pytest.raises(InputError, match=r"c\.json: is not of format"):
        Calibration.from_dict({"format": "other"}, "c.json")
