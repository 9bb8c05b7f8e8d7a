"""Spectrum: which frequencies features hold.

That features of Segment Anything are rich in low frequencies is claimed by MRNet (https://arxiv.org/abs/2412.03039)
and not shown there; these two functions measure it for any features, on a common grid.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def low_frequency_ratio(
    features: Float[Tensor, "C X Y"], radius: float = 0.25, band: float = 1.0
) -> Float[Tensor, ""]:
    """The share of energy at frequencies up to ``radius`` times Nyquist, summed over channels; 0 to 1.

    The mean of each channel is taken off. White noise gives about the share of the disc, π radius² / 4.

    Args:
        features: on their own grid.
        radius: of the disc, as a share of the band.
        band: what counts of the features' own frequencies, as a share of Nyquist along each axis. A map whose
            voxels are four times as close as another's is compared with it at a band of 1/4: what the coarser grid
            could hold, without resampling.
    """
    power, place, inside = _power(features, band)
    return power[place <= radius].sum() / power[inside].sum().clamp(min=1e-24)


def log_amplitude(features: Float[Tensor, "C X Y"], bins: int = 16, band: float = 1.0) -> Float[Tensor, " bins"]:
    """Δ log A: the mean logarithm of the amplitude in rings up to Nyquist, less that of the innermost ring.

    ``band`` as in :func:`low_frequency_ratio`: rings then go up to that share of Nyquist. A ring that no frequency
    of a small grid falls into is NaN.
    """
    power, place, _ = _power(features, band)
    # Frequencies that are computed from both ends may differ in the last bit and must fall into one ring.
    ring = (place * bins - 1e-9).ceil().long().clamp(min=1) - 1
    inside = (place <= 1) & (place > 0)
    amplitude = power.clamp(min=1e-24).log() / 2
    total = torch.zeros(bins, dtype=power.dtype).index_add_(0, ring[inside], amplitude[inside])
    count = torch.zeros(bins, dtype=power.dtype).index_add_(0, ring[inside], torch.ones_like(amplitude[inside]))
    curve = total / count
    return curve - curve[count > 0][0]


def _power(features: Tensor, band: float) -> tuple[Tensor, Tensor, Tensor]:
    """Power by frequency, summed over channels, each frequency's distance from 0, and whether it is in the band.

    Distances are shares of the band's edge.
    """
    values = features.double().cpu()
    values = values - values.mean(dim=(1, 2), keepdim=True)
    power = torch.fft.fft2(values).abs().square().sum(dim=0)
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64) * 2 / band for n in values.shape[1:])
    inside = (rows.abs()[:, None] <= 1) & (columns.abs()[None, :] <= 1)
    return power, torch.hypot(rows[:, None], columns[None, :]), inside
