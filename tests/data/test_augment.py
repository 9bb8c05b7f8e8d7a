from dataclasses import replace

import numpy as np
import pytest

from transmodal.data.augment import Sample, augment
from transmodal.data.sampling import Sampling


class Chance:
    """A generator whose numbers are known."""

    def __init__(self, first, *others):
        self.first, self.others = first, list(others)

    def random(self):
        return self.first

    def uniform(self, low, high):
        return low + (high - low) * self.others.pop(0)


def sample(shape=(9, 11), seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (1, *shape)).astype(np.int16)
    return Sample(
        source=rng.uniform(-1, 1, (2, *shape)).astype(np.float32),
        target=rng.uniform(-1, 1, (1, *shape)).astype(np.float32),
        mask=labels > 1,
        labels=labels,
        extent=np.array([[0.2, 0.6], [0.0, 1.0], [0.5, 0.5]], dtype=np.float32),
        background=(-1.0, -1.0, -1.0),
        contrast=(True, True),
        spacing=(1.0,) * len(shape),
    )


def run(before, sampling, chance, axis=2):
    import unittest.mock

    rng = unittest.mock.create_autospec(np.random.Generator, instance=True)
    rng.random.side_effect = chance.random
    rng.uniform.side_effect = chance.uniform
    return augment(before, sampling, axis, rng)


def test_nothing_is_done_by_default():
    before = sample()
    assert augment(before, Sampling(), 2, np.random.default_rng(0)) is before


def test_a_flip_mirrors_everything_and_the_place_in_the_head():
    before = sample()
    after = run(before, Sampling(flip=0.5), Chance(0.4, 0.5, 0.5))
    for key in ("source", "target", "mask", "labels"):
        np.testing.assert_array_equal(getattr(after, key), getattr(before, key)[:, ::-1])
    np.testing.assert_allclose(after.extent, [[0.4, 0.8], [0, 1], [0.5, 0.5]], atol=1e-6)
    assert run(before, Sampling(flip=0.5), Chance(0.6, 0.5, 0.5)) is before
    assert run(before, Sampling(view="sagittal", flip=1.0), Chance(0.4, 0.5, 0.5), axis=0) is before


def test_a_patch_is_flipped_along_x():
    before = sample((5, 6, 7))
    after = run(before, Sampling(view="patch", size=(5, 6, 7), flip=1.0), Chance(0.4, 0.5, 0.5), axis=None)
    np.testing.assert_array_equal(after.source, before.source[:, ::-1])


def test_a_quarter_turn_is_exact():
    before = sample((9, 9))
    after = run(before, Sampling(rotate=90.0), Chance(1.0, 1.0, 0.5))
    turned = np.rot90(before.source, axes=(1, 2))
    other = np.rot90(before.source, -1, axes=(1, 2))
    assert min(np.abs(after.source - turned).max(), np.abs(after.source - other).max()) < 1e-4
    inner = (slice(None), slice(1, -1), slice(1, -1))
    way = 1 if np.abs(after.source - turned).max() < 1e-4 else -1
    np.testing.assert_array_equal(after.labels[inner], np.rot90(before.labels, way, axes=(1, 2))[inner])
    np.testing.assert_array_equal(after.mask[inner], np.rot90(before.mask, way, axes=(1, 2))[inner])


def test_a_disc_stays_a_disc_in_millimetres():
    """On voxels of 1 × 3 mm a turned disc keeps its shape only if it is turned in millimetres."""
    x, y = np.meshgrid((np.arange(61) - 30) * 1.0, (np.arange(21) - 10) * 3.0, indexing="ij")
    disc = np.clip(20 - np.hypot(x, y), -1, 1).astype(np.float32)[None]
    before = replace(
        sample((61, 21)),
        source=np.concatenate([disc, disc]),
        target=disc,
        mask=disc > 0,
        labels=None,
        spacing=(1.0, 3.0),
    )
    after = run(before, Sampling(rotate=30.0), Chance(1.0, 1.0, 0.5))
    assert np.abs(after.source - before.source).mean() < 0.03
    wrong = run(replace(before, spacing=(1.0, 1.0)), Sampling(rotate=30.0), Chance(1.0, 1.0, 0.5))
    assert np.abs(wrong.source - before.source).mean() > 0.1


def test_turned_in_corners_are_background():
    before = replace(sample((9, 9)), background=(-1.0, 0.25, -3.0))
    after = run(before, Sampling(rotate=45.0), Chance(1.0, 1.0, 0.5))
    corners = [after.source[0, 0, 0], after.source[1, 0, 0], after.target[0, 0, 0]]
    np.testing.assert_allclose(corners, [-1, 0.25, -3])
    assert not after.mask[0, 0, 0]
    assert after.labels[0, 0, 0] == 0


@pytest.mark.parametrize(("draw", "power"), [(1.0, 1.5), (0.0, 1 / 1.5), (0.5, 1.0)])
def test_gamma_changes_sources_only(draw, power):
    before = sample()
    after = run(before, Sampling(gamma=0.5), Chance(1.0, 0.5, draw))
    np.testing.assert_allclose(after.source, 2 * ((before.source + 1) / 2) ** power - 1, atol=1e-5)
    assert after.target is before.target


def test_gamma_leaves_missing_and_unbounded_sources_alone():
    before = sample()
    before = replace(
        before, source=before.source * np.array([[[0.0]], [[1.0]]], np.float32), contrast=(False, True)
    )
    after = run(before, Sampling(gamma=0.5), Chance(1.0, 0.5, 1.0))
    assert not after.source[0].any()
    assert np.abs(after.source[1] - before.source[1]).max() > 0.05
