"""ONNX Runtime as the engine: an exported method, run without PyTorch."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from transmodal.data.limits import MOST_PARAMETERS, read_whole
from transmodal.data.workers import cores
from transmodal.errors import InputError, RecipeError
from transmodal.inference.arena import bound
from transmodal.inference.engine import Samples
from transmodal.inference.thrift import is_out_of_memory
from transmodal.methods._facts import Facts
from transmodal.schema import make

GRAPH = "model.onnx"
_MOST_BATCH, _MOST_EDGE = 64, 4096
"""Tiles that a graph may insist on, for as many are made up where there are fewer; voxels along its edge."""


@dataclass(frozen=True)
class Graph:
    """What is known of an exported graph: the ``onnx`` table of ``model.json``.

    Attributes:
        sha256: of ``model.onnx``.
        facts: what the method is and needs, as :class:`~transmodal.methods._facts.Facts`.
        players: who was trained; empty for a method that learnt nothing by gradients.
        multiple: every spatial size is a multiple of this.
        axes: the axes that slices may be taken along; empty for patches.
        batch: samples that it takes at once; 0 for any number.
        size: voxels that it takes along its spatial axes; empty for any multiple.
        difference: the largest to PyTorch on whole volumes, as a share of the target's range.
        checked: what those volumes were.
        speed: how many times as fast as PyTorch it was where it was exported.

    Raises:
        RecipeError: facts that are none, or a number that no export writes.
    """

    sha256: str
    facts: Mapping[str, Any]
    players: tuple[str, ...] = ()
    multiple: int = 1
    axes: tuple[int, ...] = ()
    batch: int = 0
    size: tuple[int, ...] = ()
    difference: float = 0.0
    checked: tuple[str, ...] = ()
    speed: float = 1.0

    def __post_init__(self) -> None:
        make(Facts, self.facts, "model.onnx.facts")
        if not 1 <= self.multiple <= _MOST_EDGE:
            raise RecipeError(f"model.onnx.multiple = {self.multiple}: 1 to {_MOST_EDGE} are known")
        if not 0 <= self.batch <= _MOST_BATCH:
            raise RecipeError(f"model.onnx.batch = {self.batch}: 0 to {_MOST_BATCH} are known")
        if not set(self.axes) <= {0, 1, 2}:
            raise RecipeError(f"model.onnx.axes = {list(self.axes)}: a volume has the axes 0, 1 and 2")
        if len(self.size) not in (0, 2, 3) or not all(1 <= n <= _MOST_EDGE for n in self.size):
            raise RecipeError(f"model.onnx.size = {list(self.size)}: give two or three up to {_MOST_EDGE}")


class OnnxMethod:
    """A method's ``translate`` as a graph.

    Args:
        path: of ``model.onnx``.
        graph: what is known of it.

    Raises:
        InputError: not readable, another digest than ``graph`` says, or not a graph.
        RecipeError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, graph: Graph) -> None:
        self.graph = graph
        self.facts = make(Facts, graph.facts, "model.onnx.facts")
        self.multiple = graph.multiple
        self.threads = _threads()
        self._session = _session(path, graph.sha256, self.threads)
        self._given = {one.name for one in self._session.get_inputs()}

    def players(self) -> dict[str, dict[str, Any]]:
        """Who was trained, without networks: nobody can be trained any more."""
        return {player: {} for player in self.graph.players}

    def run(self, samples: Samples) -> Float32[np.ndarray, "B Cout *N"]:
        """The target for these sources, normalised.

        Raises:
            RecipeError: an axis or a size that the graph was not made for.
            InputError: it cannot be computed, or answers with something else than tiles of that size.
        """
        self._check(samples)
        count = len(samples.source)
        batch = self.graph.batch or count
        feeds = {
            name: values
            for name, values in (("source", samples.source), ("present", samples.present),
                                 ("mask", samples.mask), ("extent", samples.extent))
            if name in self._given
        }  # fmt: skip
        answers = []
        for start in range(0, count, batch):
            part = {name: _filled(values[start : start + batch], batch) for name, values in feeds.items()}
            answer = self._answer(part)
            _check_answer(answer, batch, samples.source.shape[2:])
            answers.append(np.broadcast_to(answer, (batch, *answer.shape[1:]))[: count - start])
        return np.concatenate(answers) if len(answers) > 1 else np.ascontiguousarray(answers[0])

    def _answer(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        try:
            (answer,) = self._session.run(None, feeds)
            return np.asarray(answer)
        except (
            Exception
        ) as problem:  # ONNX Runtime raises kinds of its own, and ValueError for what it was not given.
            if is_out_of_memory(problem):
                raise
            raise InputError(f"{GRAPH}: cannot be computed ({str(problem).strip()[:200]})") from problem

    def _check(self, samples: Samples) -> None:
        if samples.axis is not None and samples.axis not in self.graph.axes:
            planes = ("sagittal", "coronal", "axial")
            known = ", ".join(planes[axis] for axis in self.graph.axes)
            raise RecipeError(f"inference.planes: this exported model makes {known} slices; leave planes out")
        size = samples.source.shape[2:]
        if self.graph.size and size != self.graph.size:
            raise RecipeError(f"this exported model takes tiles of {list(self.graph.size)}, not {list(size)}")


def _check_answer(answer: np.ndarray, batch: int, size: tuple[int, ...]) -> None:
    """Refuse what are no tiles; one for all of a batch will do."""
    tiles = answer.ndim == 2 + len(size) and answer.shape[0] in (1, batch) and answer.shape[2:] == size
    if not tiles or answer.dtype != np.float32:
        raise InputError(
            f"{GRAPH}: answers {batch} tiles of {list(size)} by {answer.dtype} of shape {list(answer.shape)}; it "
            "is not the graph of this model, copy the whole model folder"
        )


def _filled(values: np.ndarray, count: int) -> np.ndarray:
    """The last one repeated, where there are fewer than ``count``."""
    short = count - len(values)
    return np.concatenate([values, np.repeat(values[-1:], short, axis=0)]) if short else values


def _threads() -> int:
    """As ``OMP_NUM_THREADS`` says, in which OpenMP takes one number a level of nesting; else a thread a core."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    asked = int(first) if first.isascii() and first.isdigit() and len(first) < 5 else 0
    return asked or cores()


def _session(path: Path, sha256: str, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as problem:
        raise RecipeError(
            f"{path}: is run by ONNX Runtime, which is not installed: pip install 'transmodal[runtime]'"
        ) from problem
    try:
        content = read_whole(path, 8 * MOST_PARAMETERS)
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror}); copy the whole model folder") from problem
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path}: does not match the sha256 in model.json; the file is damaged, copy it again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # What fails is raised as well, and said once.
    bound(options)
    # A graph may name files that hold its weights. Ours do not: none is opened, there is no such folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path / "nowhere"))
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as problem:
        raise InputError(f"{path}: is not a graph that ONNX Runtime can run ({problem})") from problem
