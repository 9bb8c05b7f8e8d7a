"""Embedding: the blue block that a body was frozen in, told from the body."""

import numpy as np
from jaxtyping import Bool, Shaped
from scipy import ndimage

_DARK = 30
"""Below this in all channels a pixel is nothing: the camera's frame, or a background made black."""
_BLUER = 8
"""Blue above red by this, and not below green, is gelatine."""


def body(section: Shaped[np.ndarray, "3 X Y"]) -> Bool[np.ndarray, "X Y"]:
    """Where a photographed section shows body.

    Gelatine and darkness count as background only where they reach the frame, so that blue in an airway stays;
    specks of the rest are left out. Red, green, blue from 0 to 255.
    """
    red, green, blue = section.astype(np.int16)
    gelatine = (blue > red + _BLUER) & (blue >= green)
    pieces, _ = ndimage.label(gelatine | (section.max(axis=0) < _DARK))
    edge = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    outside = np.isin(pieces, np.unique(edge[edge > 0]))
    return np.asarray(ndimage.binary_opening(~outside, np.ones((3, 3))))
