import pytest
import torch
from scipy import ndimage

from transmodal.errors import RecipeError
from transmodal.nn.gaussian import gaussian_filter

SCIPY = {"symmetric": "reflect", "replicate": "nearest", "zeros": "constant"}


@pytest.mark.parametrize("edges", SCIPY)
@pytest.mark.parametrize("size", [(30, 25), (24, 23, 26)])
def test_equals_scipy(edges, size):
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    made = gaussian_filter(image, 21, 3.5, edges)
    # truncate puts scipy's radius at 10 voxels as well.
    axes = tuple(range(2, image.ndim))
    theirs = ndimage.gaussian_filter(image.numpy(), 3.5, mode=SCIPY[edges], truncate=10 / 3.5, axes=axes)
    torch.testing.assert_close(made, torch.from_numpy(theirs), rtol=0, atol=1e-12)


def test_valid_is_the_inner_part():
    image = torch.randn(1, 1, 20, 24, dtype=torch.float64)
    inner = gaussian_filter(image, 11, 1.5, "symmetric")[..., 5:-5, 5:-5]
    torch.testing.assert_close(gaussian_filter(image, 11, 1.5, "valid"), inner)


def test_keeps_constants_and_is_its_own_transpose():
    ones = torch.ones(1, 1, 9, 14, dtype=torch.float64)
    torch.testing.assert_close(gaussian_filter(ones, 11, 1.5, "symmetric"), ones)
    torch.testing.assert_close(gaussian_filter(ones, 11, 1.5, "replicate"), ones)
    assert gaussian_filter(ones, 11, 1.5, "zeros")[0, 0, 0, 0] < 0.5
    a, b = torch.randn(2, 1, 1, 9, 14, dtype=torch.float64)
    left = (gaussian_filter(a, 11, 1.5, "symmetric") * b).sum()
    right = (a * gaussian_filter(b, 11, 1.5, "symmetric")).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-12)


def test_wrong_windows_are_refused():
    with pytest.raises(RecipeError, match="odd number"):
        gaussian_filter(torch.zeros(1, 1, 9, 9), 4, 1.0, "zeros")
    with pytest.raises(RecipeError, match="does not fit"):
        gaussian_filter(torch.zeros(1, 1, 9, 9), 11, 1.0, "valid")
