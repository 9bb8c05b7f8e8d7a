"""Traits: what they must not see (scale, offset, how a file stores its axes), and what they must."""

from typing import Literal

import numpy as np
import pytest

from transmodal.data.grid import Grid
from transmodal.data.intensity import IntensityFit, fit, spec_for
from transmodal.data.phantom.cohort import PhantomSettings, subject
from transmodal.data.traits import GROUPS, traits
from transmodal.data.volume import Volume
from transmodal.shapes import Mask

Head = tuple[Volume, Mask]


@pytest.fixture(scope="module")
def head() -> Head:
    """T1w of a phantom head and where the head is."""
    volumes = subject(0, PhantomSettings(size=(32, 32, 32), spacing=6.5, contrasts=("T1w",), mask="head"))
    return volumes["T1w"].canonical(), volumes["mask"].canonical().data[0] > 0


def of(image: Volume, where: Mask, name: str = "T1w") -> dict[str, np.ndarray]:
    found = traits(image, where, fit(spec_for(name), image.at(where), name))
    return {group: np.array(found[group]) for group in GROUPS}


def test_scale_and_offset_are_not_seen(head: Head) -> None:
    image, where = head
    before, after = of(image, where), of(Volume(image.data * np.float32(7.5) - 31, image.grid), where)
    for group in GROUPS:
        np.testing.assert_allclose(after[group], before[group], atol=2e-3, err_msg=group)


def test_levels_of_a_physical_quantity_are_its_quantiles_in_the_window(head: Head) -> None:
    image, where = head
    hounsfield = Volume(image.data / image.data.max() * 1000 - 500, image.grid)
    found = traits(hounsfield, where, IntensityFit("window", 0.0, 1000.0, -1.0, 1.0))
    expected = np.percentile(hounsfield.data[0][where], (5, 10, 25, 50, 75, 90, 95)) / 1000
    np.testing.assert_allclose(found["levels"], expected, atol=1e-3)
    assert found["window"] is True


@pytest.mark.parametrize("memory", ["C", "F"])
def test_numbers_of_a_box(memory: Literal["C", "F"]) -> None:
    where = np.zeros((40, 40, 40), dtype=bool)
    where[4:34, 6:24, 8:32] = True
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32)[:, None, None], where.shape)
    image = Volume(np.array(ramp[None], order=memory), Grid((40, 40, 40), np.diag([3.0, 3, 3, 1])))
    found = traits(image, np.array(where, order=memory), IntensityFit("zscore", 0.0, 1.0))
    assert found["litres"] == pytest.approx(30 * 18 * 24 * 27 / 1e6)
    np.testing.assert_allclose(np.exp(found["size"]), [90, 54, 72], rtol=1e-3)
    np.testing.assert_allclose(found["outline"], 1.0)
    profile = np.reshape(found["profile"], (3, 6))
    np.testing.assert_allclose(profile[0], (np.arange(6) * 5 + 2.5) / 30, atol=0.02)
    np.testing.assert_allclose(profile[1:], 0.5, atol=0.02)
    # A step of 1 along x, none along y and z; the values inside go from 4 to 33.
    spread = np.std(np.clip(np.arange(4, 34), *np.percentile(np.arange(4, 34), (0.5, 99.5))))
    np.testing.assert_allclose(np.exp(found["detail"]), [1 / spread + 1e-3, 1e-3, 1e-3], rtol=0.01)


def test_a_turned_head_gives_turned_rows(head: Head) -> None:
    image, where = head
    before = of(image, where)
    data = np.ascontiguousarray(np.flip(np.swapaxes(image.data, 2, 3), 2))
    turned = Volume(data, Grid(image.grid.shape, image.grid.affine))
    after = of(turned, np.ascontiguousarray(np.flip(np.swapaxes(where, 1, 2), 1)))
    for group in ("outline", "profile"):
        rows, was = after[group].reshape(3, 6), before[group].reshape(3, 6)
        np.testing.assert_allclose(rows, [was[0], was[2][::-1], was[1]], atol=0.02, err_msg=group)
    for group in ("core", "levels", "depths"):
        np.testing.assert_allclose(after[group], before[group], atol=0.02, err_msg=group)


@pytest.mark.parametrize("shape", [(1, 9, 9), (2, 2, 2), (40, 3, 1)])
def test_an_image_that_is_hardly_a_volume_has_finite_traits(shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    found = of(Volume(values, Grid(shape, np.diag([1.0, 1, 1, 1]))), np.ones(shape, dtype=bool))
    assert all(np.isfinite(numbers).all() for numbers in found.values())
