"""The legend of axis letters, used in every shape annotation of the package.

======  ====================================================================================
``B``   samples of a batch
``C``   channels of a volume (1 for a scan, 3 for colour)
``S``   source modalities;  ``T`` target modalities
``X Y Z``  voxel axes of a volume; after reorientation to RAS+: left→right, posterior→anterior,
        inferior→superior
``*N``  the spatial axes that a network sees: two for slices, three for patches
======  ====================================================================================

Arrays of the data layer are numpy, those of networks, losses and metrics are torch.
"""

import numpy as np
from jaxtyping import Bool, Float, Shaped

Affine = Float[np.ndarray, "4 4"]
"""Voxel index (i, j, k, 1) → scanner position in millimetres (x, y, z, 1), RAS+."""

Voxels = Shaped[np.ndarray, "C X Y Z"]
"""Values of a volume, channels first."""

Mask = Bool[np.ndarray, "X Y Z"]
"""True where a voxel counts."""
