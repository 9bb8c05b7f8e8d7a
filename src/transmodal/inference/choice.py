"""Choice: which engine computes for a model's folder. Only the one that is used is loaded."""

import shutil
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal

from transmodal.errors import RecipeError
from transmodal.inference.engine import Exported, Precision, Run, Translator
from transmodal.inference.onnx_engine import Graph

Name = Literal["torch", "onnx"]
Choice = Literal["auto", "torch", "onnx"]
"""Which engine; ``auto`` as :func:`pick` says."""


def runner(method: Translator, precision: Precision) -> Run:
    """How ``method`` is run: its own engine where it brings one, else PyTorch on the method's device."""
    if isinstance(method, Exported):
        return method.run
    from transmodal.inference.torch_engine import torch_runner

    return torch_runner(method, precision)


def engine_of(method: Translator) -> str:
    """What runs it, for people: ``ONNX Runtime 1.31.1``."""
    name, package = ("ONNX Runtime", "onnxruntime") if isinstance(method, Exported) else ("PyTorch", "torch")
    return f"{name} {version(package)}"


def pick(wanted: Choice, weights: bool, graph: Graph | None, device: str, precision: Precision) -> Name:
    """The engine for a model's folder.

    By itself it takes the graph where there is no GPU here and the graph was the faster one when it was exported,
    on the machine that exported it: nothing is timed here. What it answers differs from PyTorch by no more than
    export allowed, whereas bfloat16 is for the user to ask for.

    Args:
        wanted: what the user said.
        weights: whether the folder holds weights.
        graph: what ``model.json`` says of the graph, if there is one.
        device: what the user said: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: of the networks.

    Raises:
        RecipeError: an engine that cannot run this folder so.
    """
    only_torch = "bf16" if precision == "bf16" else f"--device {device}" if device not in ("auto", "cpu") else ""
    if wanted == "torch" or graph is None:
        if wanted == "onnx":
            raise RecipeError("--engine onnx: the model holds no graph; first: transmodal export MODEL --onnx")
        if not weights and graph is not None:
            raise RecipeError("--engine torch: this folder was exported without weights; leave --engine out")
        return "torch"
    if only_torch and (wanted == "onnx" or not weights):
        raise RecipeError(f"{only_torch}: an exported graph runs in fp32 on the processor; use the weights")
    if wanted == "onnx" or not weights or find_spec("torch") is None:
        return "onnx"
    faster = graph.speed > 1 and find_spec("onnxruntime") is not None
    gpu = device == "auto" and shutil.which("nvidia-smi") is not None
    return "onnx" if faster and not only_torch and not gpu else "torch"
