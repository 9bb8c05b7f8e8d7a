"""Spectrum: which frequencies features hold.

That features of Segment Anything are rich in low frequencies is claimed by MRNet (https://arxiv.org/abs/2412.03039)
and not shown there; these two functions measure it for any features, on a common grid.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Grid = tuple[int, int]


def low_frequency_ratio(
    features: Float[Tensor, "C X Y"], radius: float = 0.25, grid: Grid | None = None
) -> Float[Tensor, ""]:
    """The share of energy at frequencies up to ``radius`` times Nyquist, summed over channels; 0 to 1.

    The mean of each channel is taken off. White noise gives about the share of the disc, π radius² / 4.

    Args:
        features: on their own grid.
        radius: of the disc, as a share of Nyquist.
        grid: voxels along each axis of a coarser map of the same field of view. Only the frequencies that such
            a map can hold are counted, as many as it has voxels, and Nyquist is its own: so both are compared
            without resampling.
    """
    power, place, inside = _power(features, grid)
    return power[inside & (place <= radius)].sum() / power[inside].sum().clamp(min=1e-24)


def log_amplitude(
    features: Float[Tensor, "C X Y"], bins: int = 16, grid: Grid | None = None
) -> Float[Tensor, " bins"]:
    """Δ log A: the mean logarithm of the amplitude in rings up to Nyquist, less that of the innermost ring.

    ``grid`` as in :func:`low_frequency_ratio`. A ring that no frequency of a small grid falls into is NaN.
    """
    power, place, inside = _power(features, grid)
    # Frequencies that are computed from both ends may differ in the last bit and must fall into one ring.
    ring = (place * bins - 1e-9).ceil().long().clamp(min=1) - 1
    inside &= (place <= 1) & (place > 0)
    amplitude = power.clamp(min=1e-24).log() / 2
    total = torch.zeros(bins, dtype=power.dtype).index_add_(0, ring[inside], amplitude[inside])
    count = torch.zeros(bins, dtype=power.dtype).index_add_(0, ring[inside], torch.ones_like(amplitude[inside]))
    curve = total / count
    return curve - curve[count > 0][0]


def _power(features: Tensor, grid: Grid | None) -> tuple[Tensor, Tensor, Tensor]:
    """Power by frequency, summed over channels, each frequency's distance from 0, and whether the grid holds it.

    Distances are shares of the grid's Nyquist frequency.
    """
    values = features.double().cpu()
    values = values - values.mean(dim=(1, 2), keepdim=True)
    power = torch.fft.fft2(values).abs().square().sum(dim=0)
    places, held = [], []
    for own, wanted in zip(values.shape[1:], grid or values.shape[1:], strict=True):
        count = min(own, wanted)
        cycles = torch.fft.fftfreq(own, 1 / own, dtype=torch.float64).round()
        places.append(cycles / (count / 2))
        # An even grid has one of the two frequencies at ±Nyquist, which are alike in a real image, and not both.
        held.append((-count / 2 <= cycles) & (cycles < count / 2))
    return power, torch.hypot(places[0][:, None], places[1][None, :]), held[0][:, None] & held[1][None, :]
