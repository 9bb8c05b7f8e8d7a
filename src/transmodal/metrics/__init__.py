"""One function per metric: formula, range, explicit ``data_range`` and mask.

``METRICS`` maps a name as shown in tables to the metric and its facts. A metric is one file, one line here.
"""

from transmodal.metrics.artefact import ARTEFACT_ENERGY
from transmodal.metrics.bias import BIAS
from transmodal.metrics.ciede2000 import CIEDE2000
from transmodal.metrics.colourfulness import CF_BIAS, DELTA_CF
from transmodal.metrics.mae import MAE
from transmodal.metrics.metric import Metric, against_input
from transmodal.metrics.ms_ssim import MS_SSIM
from transmodal.metrics.nmi import NMI
from transmodal.metrics.nmse import NMSE
from transmodal.metrics.pcc import PCC
from transmodal.metrics.psnr import PSNR
from transmodal.metrics.sharpness import SHARPNESS
from transmodal.metrics.shifted import SHIFT_PSNR, SHIFT_SSIM
from transmodal.metrics.slice_consistency import SLICE_CONSISTENCY
from transmodal.metrics.ssim import SSIM
from transmodal.metrics.ssim_windows import SSIM_WINDOWS
from transmodal.metrics.stsim import STSIM_1, STSIM_2
from transmodal.metrics.tissues import BONE_DICE, MAE_AIR, MAE_BONE, MAE_SOFT

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        MAE,
        NMSE,
        PSNR,
        SSIM,
        MS_SSIM,
        NMI,
        PCC,
        SHARPNESS,
        SHIFT_PSNR,
        SHIFT_SSIM,
        SLICE_CONSISTENCY,
        ARTEFACT_ENERGY,
        SSIM_WINDOWS,
        STSIM_1,
        STSIM_2,
        DELTA_CF,
        CF_BIAS,
        CIEDE2000,
        BIAS,
        MAE_AIR,
        MAE_SOFT,
        MAE_BONE,
        BONE_DICE,
        *(against_input(metric) for metric in (SSIM, MS_SSIM, SSIM_WINDOWS, STSIM_1, STSIM_2)),
    )
}

__all__ = ["METRICS", "Metric"]
