"""One function per metric: formula, range, explicit ``data_range`` and mask.

``METRICS`` maps a name as shown in tables to the metric and its facts. A metric is one file, one line here.
"""

from transmodal.metrics.mae import MAE
from transmodal.metrics.metric import Metric
from transmodal.metrics.ms_ssim import MS_SSIM
from transmodal.metrics.nmse import NMSE
from transmodal.metrics.psnr import PSNR
from transmodal.metrics.slice_consistency import SLICE_CONSISTENCY
from transmodal.metrics.ssim import SSIM

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (MAE, NMSE, PSNR, SSIM, MS_SSIM, SLICE_CONSISTENCY)
}

__all__ = ["METRICS", "Metric"]
