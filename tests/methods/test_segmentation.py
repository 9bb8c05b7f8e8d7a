"""segmentation as a graph: probabilities times means are smooth, however sure, whatever was counted."""

import numpy as np
import onnxruntime
import pytest
import torch

from transmodal import registry
from transmodal.data.task import Task
from transmodal.inference.graph import INPUTS, Translate, Written, _agrees, made_up, write_graph
from transmodal.methods.segmentation import Segmentation

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter warns about itself
TASK = Task()


def build() -> Segmentation:
    torch.manual_seed(0)
    method = registry.build("segmentation", TASK, {"labels": (0, 1, 2, 3), "width": 2, "depth": 1})
    assert isinstance(method, Segmentation)
    return method.eval().requires_grad_(False)


def apart(written: Written, method: Segmentation) -> float:
    """The largest difference between graph and networks, on a wider slice than the one that was traced."""
    tensors = made_up(TASK, 3, (16, 20), seed=7)
    session = onnxruntime.InferenceSession(written.content, providers=["CPUExecutionProvider"])
    feeds = {name: t.numpy() for name, t in zip(INPUTS, tensors, strict=True) if name in written.inputs}
    (made,) = session.run(None, feeds)
    return float(np.abs(made - Translate(method, 2)(*tensors).numpy()).max())


def test_a_network_that_is_sure_of_every_voxel_is_exported() -> None:
    """Shares of 0 and 1 nearly everywhere, as after long training, and jumps of the whole range between them."""
    method = build()
    method.totals.copy_(torch.tensor([[-4.0, -1, 1, 4], [4, 4, 4, 4]]))
    method.network.head.weight.mul_(1000)
    tensors = made_up(TASK, 3, (16, 20), seed=7)
    sure = method.network((tensors[0] + 1) / 2).softmax(dim=1).amax(dim=1)
    assert (sure > 0.999).float().mean() > 0.8
    written = write_graph(method, TASK, 2, (16, 16))
    assert (written.batch, written.size) == (0, ())
    assert apart(written, method) < 2e-3


def test_a_method_that_has_counted_nothing_is_exported_and_no_other_answer_passes_for_its_own() -> None:
    """It paints -1 everywhere, rounded by the sum of its shares: there is no range to measure a difference by."""
    method = build()
    written = write_graph(method, TASK, 2, (16, 16))
    assert (written.batch, written.size) == (0, ())
    assert apart(written, method) < 1e-6
    method.totals.copy_(torch.tensor([[-0.99999] * 4, [1] * 4]))
    assert not _agrees(written.content, written.inputs, Translate(method, 2), TASK, (16, 16), "batch and size")
