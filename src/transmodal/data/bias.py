"""Bias: the slow change of an MR image's brightness from coil to coil, estimated and divided out.

N4 (Tustison et al. 2010, "N4ITK: improved N3 bias correction"), SimpleITK's, estimated on coarse voxels.
"""

import numpy as np
import SimpleITK

from transmodal.data.volume import Volume
from transmodal.shapes import Mask

_MM = 4.0
"""About the edge of the voxels that it is estimated on."""


def unbias(image: Volume, where: Mask) -> Volume:
    """The image divided by its bias field, whose geometric mean inside ``where`` is 1.

    Args:
        image: of one channel, with no value below 0 that counts.
        where: the head.
    """
    values = np.maximum(image.data[0], 0)
    whole, mask = (SimpleITK.GetImageFromArray(np.ascontiguousarray(v.transpose(2, 1, 0))) for v in
                   (values.astype(np.float32), where.astype(np.uint8)))  # fmt: skip
    for one in (whole, mask):
        one.SetSpacing(image.grid.spacing)
    shrink = [
        max(1, min(round(_MM / s), n // 8)) for s, n in zip(image.grid.spacing, image.grid.shape, strict=True)
    ]
    method = SimpleITK.N4BiasFieldCorrectionImageFilter()
    method.SetNumberOfThreads(1)
    method.SetMaximumNumberOfIterations([30, 30, 20])
    method.Execute(SimpleITK.Shrink(whole, shrink), SimpleITK.Shrink(mask, shrink))
    log = SimpleITK.GetArrayFromImage(method.GetLogBiasFieldAsImage(whole)).transpose(2, 1, 0)
    field = np.exp(log - log[where].mean())
    return Volume((image.data / field).astype(np.float32), image.grid, image.name)
