"""PyTorch as the engine: a method on its device."""

from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from transmodal.data.batch import Batch
from transmodal.inference.engine import Precision, Run, Samples
from transmodal.methods._method import Method


def torch_runner(method: Any, precision: Precision) -> Run:
    """``method.translate`` as a function of arrays.

    Args:
        method: in evaluation mode; its device is used.
        precision: ``bf16`` computes under autocast.
    """
    assert isinstance(method, Method)
    assert isinstance(method, nn.Module)
    device = next((t.device for t in chain(method.parameters(), method.buffers())), torch.device("cpu"))

    def run(samples: Samples) -> Float32[np.ndarray, "B Cout *N"]:
        batch = as_batch(samples).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            return method.translate(batch).float().cpu().numpy()

    return run


def as_batch(samples: Samples) -> Batch:
    """The same as tensors."""
    return Batch(
        source=torch.from_numpy(samples.source),
        present=torch.from_numpy(samples.present),
        mask=torch.from_numpy(samples.mask),
        extent=torch.from_numpy(samples.extent),
        axis=samples.axis,
        cases=samples.cases,
    )
