"""Spread: how much an answer changes when the question is asked a little otherwise.

The case is translated again from sources that were moved against the tiles, mirrored (if training did that), and
made a little flatter and steeper. The spread of a voxel is the root mean square of the changes. By itself it means
nothing; :mod:`.conformal` says how far it must be stretched to hold the truth.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from transmodal.data.sampling import Sampling
from transmodal.inference.predict import Scan, Translation, predict


@dataclass(frozen=True)
class Variant:
    """One other way to ask.

    Attributes:
        shift: voxels that are added before the first along X, Y, Z.
        mirror: left for right.
        steeper: factor on the sources' contrast.
    """

    shift: tuple[int, int, int] = (0, 0, 0)
    mirror: bool = False
    steeper: float = 1.0


def variants(sampling: Sampling) -> list[Variant]:
    """The other ways, four or five of them."""
    ways = [Variant(shift=(1, 2, 0)), Variant(shift=(3, 1, 2)), Variant(steeper=1.05), Variant(steeper=0.95)]
    return [*ways, Variant(mirror=True)] if sampling.flip > 0 else ways


def spread(
    answer: Float32[np.ndarray, "Cout X Y Z"], how: Translation, scan: Scan
) -> Float32[np.ndarray, "Cout X Y Z"]:
    """Root mean square of how other ways to ask change ``answer``, which is ``predict(how, scan)``."""
    total = np.zeros_like(answer)
    ways = variants(how.sampling)
    for way in ways:
        total += (_undone(predict(how, _asked(scan, way)), way) - answer) ** 2 / len(ways)
    return np.sqrt(total)


def _asked(scan: Scan, way: Variant) -> Scan:
    return Scan(
        {name: _moved(np.asarray(values), way, "edge") for name, values in scan.images.items()},
        {name: replace(fit, scale=fit.scale / way.steeper) for name, fit in scan.fits.items()},
        _moved(scan.mask[None], way, "constant")[0],
        scan.case,
    )


def _moved(values: np.ndarray, way: Variant, beyond: str) -> np.ndarray:
    mirrored = values[:, ::-1] if way.mirror else values
    return np.pad(mirrored, [(0, 0), *((n, 0) for n in way.shift)], mode=beyond)  # type: ignore[call-overload]


def _undone(values: np.ndarray, way: Variant) -> np.ndarray:
    x, y, z = way.shift
    back = values[:, x:, y:, z:]
    return back[:, ::-1] if way.mirror else back
