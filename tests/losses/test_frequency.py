import pytest
import torch

from transmodal.losses.frequency import frequency_targets


def test_high_and_low_sum_to_the_image():
    image = torch.rand(2, 1, 40, 48) * 2 - 1
    high, low = frequency_targets(image)
    torch.testing.assert_close(high + low, image)
    assert low.std() < image.std()


def test_an_empty_image_has_no_frame_unless_zeros_are_padded():
    empty = torch.full((1, 1, 40, 40), -1.0)
    high, low = frequency_targets(empty)
    torch.testing.assert_close(low, empty)
    torch.testing.assert_close(high, torch.zeros_like(high), atol=1e-6, rtol=0)
    _, framed = frequency_targets(empty, edges="zeros")
    # Half of a Gaussian, with its middle tap, along the edge; its square in the corner.
    assert framed[0, 0, 0, 20].item() == pytest.approx(-0.56, abs=0.005)
    assert framed[0, 0, 0, 0].item() == pytest.approx(-0.31, abs=0.005)


def test_high_of_a_colour_image_is_grey():
    image = torch.rand(1, 3, 32, 32)
    high, low = frequency_targets(image)
    assert torch.equal(high[:, 0], high[:, 2])
    luma = 0.299 * image[:, :1] + 0.587 * image[:, 1:2] + 0.114 * image[:, 2:]
    torch.testing.assert_close(high[:, :1], frequency_targets(luma)[0])
    torch.testing.assert_close(low[:, :1], frequency_targets(image[:, :1].clone())[1])
