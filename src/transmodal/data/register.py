"""Register: bring an image onto another of the same person by moving its header. Its voxels are not touched.

Mutual information (Mattes et al. 2003, "PET-CT image registration in the chest using free-form deformations") of
SimpleITK, from coarse to fine, by one thread and a fixed seed, so that equal images give equal transforms. The
result is a matrix in millimetres; an image resampled through its moved header is interpolated once.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import SimpleITK
from scipy import ndimage

from transmodal.data.foreground import foreground
from transmodal.data.geometry import inside, resample
from transmodal.data.grid import Grid
from transmodal.data.volume import Volume
from transmodal.errors import InputError
from transmodal.shapes import Affine

Kind = Literal["none", "rigid", "affine"]

_MM = 2.0
"""Edge of the voxels that are compared."""
_LEVELS = (4, 2, 1)
_SHARE = (0.5, 0.2, 0.1)
"""Of the voxels at each level, drawn with a fixed seed."""
_MARGIN_MM = 10.0
"""Around the head of the fixed image, so that its edge counts."""
_BINS = 48
_GAIN = 1e-3
"""A registration that fits no better than this is not worth an interpolation."""
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Moved:
    """How an image was moved.

    Attributes:
        matrix: its millimetres → those of the reference, 4 × 4, RAS+.
        translation_mm: how far the middle of its head went.
        rotation_deg: by how much it was turned.
        coarse: negative mutual information after the coarsest level, in nats; tells how well images fit at all.
        similarity: before and after, as :func:`similarities` has it, or None where nobody asked.
    """

    matrix: Affine
    translation_mm: float
    rotation_deg: float
    coarse: float = 0.0
    similarity: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "matrix": self.matrix.tolist(),
            "inverse": self.inverse().tolist(),
            "translation_mm": round(self.translation_mm, 3),
            "rotation_deg": round(self.rotation_deg, 3),
            "similarity": None if self.similarity is None else [round(s, 5) for s in self.similarity],
        }

    def apply(self, image: Volume) -> Volume:
        """The image with its header moved."""
        return Volume(image.data, Grid(image.grid.shape, self.matrix @ image.affine), image.name)

    def inverse(self) -> Affine:
        """Millimetres of the reference → those of the image as it came."""
        return np.linalg.inv(self.matrix)


def register(moving: Volume, fixed: Volume, kind: Kind = "rigid", *, levels: int = len(_LEVELS)) -> Moved:
    """How ``moving`` has to be moved to lie on ``fixed``.

    Two starts are tried, the headers as they are and the middles of both heads on each other; the better one after
    the coarsest level goes on.

    Args:
        moving: an image; the mean of its channels counts.
        fixed: an image of the same person.
        kind: ``rigid`` (six parameters) or ``affine`` (twelve, from the rigid result).
        levels: from the coarsest on; fewer are faster, and right to a few millimetres only.

    Raises:
        InputError: an image without a head in it, axes that are not at right angles, or no overlap.
    """
    still, other = _coarse(fixed), _coarse(moving)
    where = _head(still)
    middle, own = _middle(still, where), _middle(other, _head(other))
    fixed_image, moving_image = _to_itk(still), _to_itk(other)
    mask = _to_itk(Volume(where[None].astype(np.float32), still.grid, still.name))
    mask = SimpleITK.Cast(mask, SimpleITK.sitkUInt8)
    starts = []
    for shift in (np.zeros(3), own - middle):
        start = SimpleITK.Euler3DTransform()
        start.SetCenter((_LPS[:3, :3] @ middle).tolist())
        start.SetTranslation((_LPS[:3, :3] @ shift).tolist())
        starts.append(start)
    try:
        with _one_thread():
            transform, coarse = _best(fixed_image, moving_image, mask, starts, kind, levels)
    except RuntimeError as problem:
        reason = str(problem).strip().rsplit("\n", 1)[-1][:160]
        raise InputError(
            f"{moving.name}: could not be registered to {fixed.name} ({reason}); look at both, or register them "
            "by hand and set data.prepare.register = 'none'"
        ) from problem
    # The transform leads from points of the fixed image to points of the moving one.
    matrix = np.linalg.inv(_LPS @ _matrix(transform) @ _LPS)
    went = matrix[:3, :3] @ own + matrix[:3, 3] - own
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    cosine = (np.trace(u @ vt) - 1) / 2
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return Moved(matrix, float(np.linalg.norm(went)), angle, coarse)


def aligned(moving: Volume, fixed: Volume, kind: Kind = "rigid") -> Moved:
    """As :func:`register`, but where the headers fit as well as the result does, the headers are believed.

    Interpolation between the voxels of thick slices smooths noise and thereby raises mutual information, which can
    turn images that lay on each other by half a degree.
    """
    found = register(moving, fixed, kind)
    before, after = similarities(moving, fixed, found)
    if after > before + _GAIN:
        return replace(found, similarity=(before, after))
    return Moved(np.eye(4), 0.0, 0.0, found.coarse, (before, before))


def similarities(moving: Volume, fixed: Volume, moved: Moved) -> tuple[float, float]:
    """Normalised mutual information (Studholme et al. 1999), 1 to 2, before and after ``moved``.

    Over the head of ``fixed`` on cubes of 2 mm, as far as both poses of ``moving`` see it; 1 before where the
    headers let it see less than half.
    """
    still = _coarse(fixed)
    poses = [_coarse(moving), moved.apply(_coarse(moving))]
    head = foreground(still)
    seen = [head & inside(still.grid, pose.grid) for pose in poses]
    values = [resample(pose, still.grid).data[0] for pose in poses]
    if seen[0].sum() < seen[1].sum() / 2:
        return 1.0, _information(still.data[0], values[1], seen[1])
    both = seen[0] & seen[1]
    return _information(still.data[0], values[0], both), _information(still.data[0], values[1], both)


def _information(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    joint = np.histogram2d(a[where], b[where], bins=_BINS)[0]
    joint /= joint.sum()

    def entropy(p: np.ndarray) -> float:
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())

    return (entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))) / max(entropy(joint), 1e-12)


def _best(fixed: Any, moving: Any, mask: Any, starts: list[Any], kind: Kind, levels: int) -> tuple[Any, float]:
    """The transform from the better start, and how well it fitted after the coarsest level."""
    found = [pair for start in starts if (pair := _tried(fixed, moving, mask, start))]
    if not found:
        raise RuntimeError("they do not overlap, neither by their headers nor with their heads in one place")
    coarse, transform = min(found, key=lambda pair: pair[0])
    for level in range(1, levels):
        transform = _level(fixed, moving, mask, transform, level)[1]
    if kind == "affine":
        affine = SimpleITK.AffineTransform(3)
        affine.SetCenter(transform.GetCenter())
        affine.SetMatrix(transform.GetMatrix())
        affine.SetTranslation(transform.GetTranslation())
        for level in range(1, levels):
            affine = _level(fixed, moving, mask, affine, level)[1]
        transform = affine
    return transform, coarse


@contextmanager
def _one_thread() -> Iterator[None]:
    """The metric of ITK sums over its threads in any order, and takes their number from the process."""
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _tried(fixed: Any, moving: Any, mask: Any, start: Any) -> tuple[float, Any] | None:
    """The coarsest level, or None where the images do not overlap from that start."""
    with suppress(RuntimeError):
        return _level(fixed, moving, mask, start, 0)
    return None


def _level(fixed: Any, moving: Any, mask: Any, start: Any, level: int) -> tuple[float, Any]:
    """The metric (smaller is better) and the transform after one level."""
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=40)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SHARE[level], seed=1)
    method.SetMetricFixedMask(mask)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=float(_LEVELS[level]), minStep=1e-3, numberOfIterations=120, relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
    )  # fmt: skip
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([_LEVELS[level]])
    method.SetSmoothingSigmasPerLevel([float(_LEVELS[level]) / 2 * _MM * (_LEVELS[level] > 1)])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    transform = type(start)(start)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return float(method.GetMetricValue()), transform


def _coarse(image: Volume) -> Volume:
    """One channel on cubes of ``_MM``, with axes as they are."""
    one = Volume(image.grey()[None], image.grid, image.name)
    return resample(one, image.grid.with_spacing((_MM, _MM, _MM)))


def _head(image: Volume) -> np.ndarray:
    """The head with a margin."""
    margin = round(_MARGIN_MM / _MM)
    return np.asarray(ndimage.binary_dilation(foreground(image), iterations=margin))


def _middle(image: Volume, where: np.ndarray) -> np.ndarray:
    """Of a head, in millimetres."""
    index = np.array(ndimage.center_of_mass(where))
    return np.asarray(image.affine[:3, :3] @ index + image.affine[:3, 3])


def _to_itk(image: Volume) -> Any:
    axes = image.affine[:3, :3] / image.grid.spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise InputError(f"{image.name}: its axes are not at right angles; resample it to a plain grid first")
    u, _, vt = np.linalg.svd(axes)
    made = SimpleITK.GetImageFromArray(np.ascontiguousarray(image.data[0].transpose(2, 1, 0)))
    made.SetSpacing(image.grid.spacing)
    made.SetOrigin((_LPS[:3, :3] @ image.affine[:3, 3]).tolist())
    made.SetDirection((_LPS[:3, :3] @ (u @ vt)).ravel().tolist())
    return made


def _matrix(transform: Any) -> np.ndarray:
    """Of an ITK transform with a centre: x → A (x - c) + t + c."""
    linear, centre = np.array(transform.GetMatrix()).reshape(3, 3), np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - linear @ centre
    return matrix
