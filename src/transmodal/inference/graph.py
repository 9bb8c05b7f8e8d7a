"""A method's translate as an ONNX graph: written, and checked against the method. Needs torch and onnx."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transmodal import progress
from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.errors import RecipeError, TransmodalError
from transmodal.methods._method import Method

INPUTS = ("source", "present", "mask", "extent")
_TOLERANCE = 1e-3
_ROUNDING = 16 * float(np.finfo(np.float32).eps)
"""Of an answer's size. One that is the same everywhere has no range to compare with, and is rounded too."""


@dataclass(frozen=True)
class Written:
    """A graph as bytes.

    Attributes:
        content: of ``model.onnx``.
        batch: samples that it takes; 0 for any number.
        size: voxels that it takes along each axis; empty for any multiple of the method's own.
        inputs: what it looks at.
    """

    content: bytes
    batch: int
    size: tuple[int, ...]
    inputs: tuple[str, ...]


class Translate(nn.Module):
    """A method as a function of tensors.

    Args:
        method: in evaluation mode.
        axis: the axis that slices are taken along, None for patches.
    """

    def __init__(self, method: Method, axis: int | None) -> None:
        super().__init__()
        self.method = method
        self.axis = axis

    def forward(self, source: Tensor, present: Tensor, mask: Tensor, extent: Tensor) -> Tensor:
        """The target."""
        return self.method.translate(Batch(source, present, mask, extent, self.axis))


def made_up(task: Task, count: int, size: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The tensors of a batch, for a method to be traced with."""
    chance = torch.Generator().manual_seed(seed)
    source = torch.rand(count, task.in_channels, *size, generator=chance) * 2 - 1
    present = torch.ones(count, len(task.sources), dtype=torch.bool)
    extent = torch.tensor([[[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]]).repeat(count, 1, 1)
    return source, present, torch.ones(count, 1, *size, dtype=torch.bool), extent


def write_graph(method: Method, task: Task, axis: int | None, size: tuple[int, ...]) -> Written:
    """The graph with as much freedom as the method allows: any batch and any size, one of them, or none.

    Args:
        method: on the processor, in evaluation mode, its weights not trained any more.
        task: what it was built for.
        axis: the axis that slices are taken along.
        size: voxels of a tile along its axes.

    Raises:
        TransmodalError: the method cannot be exported at all.
        RecipeError: the exporter is not installed.
    """
    if find_spec("onnxscript") is None:
        raise RecipeError("export needs onnxscript: pip install 'transmodal[export]'")
    module = Translate(method, axis).eval()
    problem: Exception | None = None
    for free in ("batch and size", "batch", "size", "nothing"):
        try:
            content, inputs = _exported(module, task, size, free)
            if _agrees(content, inputs, module, task, size, free):
                return Written(content, 0 if "batch" in free else 1, () if "size" in free else size, inputs)
            problem = TransmodalError("the graph answers otherwise than the method")
        except Exception as error:  # the exporter raises whatever its passes raise
            problem = error
        progress.event("export", free=free, problem=str(problem))
    reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    raise TransmodalError(f"the method cannot be written as an ONNX graph ({reason})") from problem


def _exported(module: Translate, task: Task, size: tuple[int, ...], free: str) -> tuple[bytes, tuple[str, ...]]:
    """The graph, and the inputs that it looks at."""
    tensors = made_up(task, 2 if "batch" in free else 1, size)
    freedom = _freedom(module.method.multiple, len(size), free)
    with _quiet():
        # Captured here and not by the exporter, which on failure would try one way after another for minutes.
        captured = torch.export.export(module, tensors, dynamic_shapes=freedom, strict=False)
        program: Any = torch.onnx.export(
            captured, dynamo=True, verbose=False, input_names=list(INPUTS), output_names=["target"]
        )
    # An input that nothing reads would still have to be given, and of the size that it was traced with.
    for unused in [value for value in program.model.graph.inputs if not value.uses()]:
        program.model.graph.inputs.remove(unused)
    inputs = tuple(str(value.name) for value in program.model.graph.inputs)
    return bytes(program.model_proto.SerializeToString()), inputs


def _freedom(multiple: int, spatial: int, free: str) -> tuple[dict[int, Any], ...]:
    """What may vary of each input."""
    batch = {0: torch.export.Dim("batch", min=1, max=4096)} if "batch" in free else {}
    sizes: dict[int, Any] = {}
    if "size" in free:
        for along in range(spatial):
            steps = torch.export.Dim(f"steps{along}", min=2, max=max(4096 // multiple, 3))
            sizes[2 + along] = multiple * steps if multiple > 1 else steps
    return {**batch, **sizes}, batch, {**batch, **sizes}, batch


def _agrees(
    content: bytes, inputs: tuple[str, ...], module: Translate, task: Task, size: tuple[int, ...], free: str
) -> bool:
    """Whether the graph answers as the method does, at the traced shape and at others that it should take."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    counts = (1, 2, 3) if "batch" in free else (1,)
    wider = tuple(n + module.method.multiple * (1 + along) for along, n in enumerate(size))
    shapes = [(count, size) for count in counts] + ([(counts[-1], wider)] if "size" in free else [])
    for count, shape in shapes:
        tensors = made_up(task, count, shape, seed=count)
        with torch.no_grad():
            wanted = module(*tensors).numpy()
        feeds = {name: value.numpy() for name, value in zip(INPUTS, tensors, strict=True) if name in inputs}
        (answer,) = session.run(None, feeds)
        allowed = max(_TOLERANCE * float(np.ptp(wanted)), _ROUNDING * float(np.abs(wanted).max()))
        if not np.abs(np.broadcast_to(answer, wanted.shape) - wanted).max() <= allowed:
            return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own remarks are no user's business."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
