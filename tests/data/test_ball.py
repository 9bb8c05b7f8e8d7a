"""Growing by a ball: against ITK's distances, a ball by hand, and at the faces."""

import numpy as np
import pytest
import SimpleITK

from transmodal.data.ball import dilated


def within(mask, spacing, radius):
    """The same by ITK's distance map."""
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    away = SimpleITK.GetArrayFromImage(SimpleITK.SignedMaurerDistanceMap(image, False, False, True))
    return away <= radius + 1e-5  # its distances are rounded to 32 bits


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 2.9), (3.0, 0.9, 0.45), (0.8, 0.8, 9.0)])
@pytest.mark.parametrize("shape", [(21, 18, 64), (13, 30, 65), (9, 9, 130), (40, 7, 5)])
@pytest.mark.parametrize("share", [0.002, 0.3])
def test_equals_distances_of_itk(shape, spacing, share):
    chance = np.random.default_rng(sum(shape))
    mask = chance.random(shape) < share
    mask[tuple(chance.integers(n) for n in shape)] = True
    found = dilated(mask, spacing, 8.0)
    assert (found.dtype, found.shape) == (bool, shape)
    assert np.array_equal(found, within(mask, spacing, 8.0))
    assert np.array_equal(dilated(np.asfortranarray(mask), spacing, 8.0), found), (
        "whatever lies together in memory"
    )


def test_one_voxel_becomes_a_ball_with_its_border():
    mask = np.zeros((13, 13, 80), dtype=bool)
    mask[6, 6, 63] = True
    found = dilated(mask, (1.0, 1.0, 1.0), 5.0)
    x, y, z = np.indices(mask.shape)
    assert np.array_equal(found, (x - 6) ** 2 + (y - 6) ** 2 + (z - 63) ** 2 <= 25)
    assert found[6, 6, 68], "exactly at the radius"
    assert found[6, 10, 66], "3² + 4² = 5², along a diagonal"


def test_a_spacing_that_does_not_divide_evenly_in_binary():
    mask = np.zeros((1, 1, 25), dtype=bool)
    mask[0, 0, 12] = True
    assert dilated(mask, (1.0, 1.0, 0.1), 0.3).sum() == 7


def test_nothing_enters_from_the_other_face_and_nothing_grows_from_nothing():
    mask = np.zeros((6, 6, 6), dtype=bool)
    assert not dilated(mask, (1.0, 1.0, 1.0), 3.0).any()
    mask[0, 0, 0] = True
    found = dilated(mask, (1.0, 1.0, 1.0), 2.0)
    assert found.sum() == sum(x * x + y * y + z * z <= 4 for x in range(6) for y in range(6) for z in range(6))
    assert dilated(mask, (1.0, 1.0, 1.0), 100.0).all(), "further than the image is wide"
