import math

import pytest
import torch

from transmodal.nn.spectrum import log_amplitude, low_frequency_ratio

N = 64
GRID = torch.arange(N).float()


def wave(cycles, axis=0):
    line = torch.sin(2 * math.pi * cycles * GRID / N)
    return (line[:, None] if axis == 0 else line[None, :]).expand(N, N).clone()


def test_a_slow_wave_a_checkerboard_and_noise():
    assert low_frequency_ratio(wave(1)[None]) > 0.99
    checkers = (-1.0) ** (GRID[:, None] + GRID[None, :])
    assert low_frequency_ratio(checkers[None]) < 0.01
    noise = torch.randn(64, N, N, generator=torch.Generator().manual_seed(0))
    for radius in (0.25, 0.5):
        assert low_frequency_ratio(noise, radius).item() == pytest.approx(math.pi * radius**2 / 4, rel=0.05)


def test_channels_are_weighed_by_their_energy_and_means_do_not_count():
    slow, fast = wave(1), wave(24, axis=1)
    mixed = torch.stack([2 * slow + 100, fast - 7])
    assert low_frequency_ratio(mixed).item() == pytest.approx(4 / 5, abs=1e-6)


@pytest.mark.parametrize(("cycles", "low"), [(8, True), (9, False)])
def test_the_radius_is_a_share_of_nyquist(cycles, low):
    assert (low_frequency_ratio(wave(cycles)[None], 0.25) > 0.5) == low


def test_the_curve_of_noise_is_flat_and_that_of_a_falling_spectrum_falls():
    noise = torch.randn(128, N, N, generator=torch.Generator().manual_seed(0))
    curve = log_amplitude(noise)
    assert curve[0] == 0
    assert curve.abs().max() < 0.05
    frequency = torch.hypot(torch.fft.fftfreq(N)[:, None], torch.fft.fftfreq(N)[None, :]).clamp(min=1 / N)
    pink = torch.fft.ifft2(torch.fft.fft2(noise) / frequency).real
    # Rings are two cycles wide: the innermost holds 1, √2 and 2 cycles, the last about 31.
    assert log_amplitude(pink)[-1].item() == pytest.approx(-math.log(31 / math.sqrt(2)), abs=0.05)
    assert (log_amplitude(pink).diff() < 0).all()
