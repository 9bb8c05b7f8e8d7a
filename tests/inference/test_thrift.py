"""Where memory is short, fewer tiles and then smaller ones are computed, the answer stays, and it is said."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from transmodal.data.intensity import IntensityFit
from transmodal.data.sampling import Sampling
from transmodal.data.task import Task
from transmodal.errors import InputError
from transmodal.inference.engine import Samples
from transmodal.inference.predict import InferenceSettings, Scan, Translation, predict
from transmodal.inference.thrift import Portion, is_out_of_memory
from transmodal.methods._facts import Facts

CPU = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: not enough memory"
IMAGE = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 40, 36, 6)).astype(np.float32)
SETTINGS = InferenceSettings(batch_size=4)


class Small:
    """A method that doubles, in a memory that holds so many voxels."""

    multiple = 4
    facts = Facts("doubles", "baseline")

    def __init__(self, room: float, problem: Exception):
        self.room, self.problem = room, problem
        self.sizes: list[tuple[int, ...]] = []

    def run(self, samples: Samples) -> np.ndarray:
        self.sizes.append(samples.source.shape)
        if samples.source.size > self.room:
            raise self.problem
        return samples.source * np.float32(2)


def made(method: Small) -> np.ndarray:
    fit = IntensityFit("window", 0.0, 1.0, -1.0, 1.0)
    task, inside = Task(("T1w",), ("T2w",)), np.ones(IMAGE.shape[1:], dtype=bool)
    how = Translation(method, task, Sampling(size=(32, 32)), SETTINGS)
    return predict(how, Scan({"T1w": IMAGE}, {"T1w": fit}, inside, "me"))


@pytest.mark.parametrize("problem", [torch.OutOfMemoryError("CUDA"), RuntimeError(CPU), MemoryError()])
@pytest.mark.parametrize(
    ("room", "last", "warnings"), [(4096, 4, 0), (2500, 2, 1), (1024, 1, 2), (300, 1, 3), (256, 1, 3)]
)
def test_less_at_once_until_it_fits(
    problem: Exception, room: int, last: int, warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("transmodal.inference.thrift.warn", said.append)
    method = Small(room, problem)
    np.testing.assert_allclose(made(method), 2 * IMAGE, rtol=1e-6)
    assert max(size[0] for size in method.sizes if np.prod(size) <= room) == last
    assert len(said) == warnings
    assert all("me: the memory does not hold" in sentence for sentence in said)
    assert ("small differences" in " ".join(said)) == (room < 1024)


def test_nothing_fits() -> None:
    with pytest.raises(InputError, match=r"me: the memory does not hold even 1 tile of 16×16×1 at once"):
        made(Small(0, MemoryError()))


def test_other_problems_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        made(Small(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_real_allocator_is_understood() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float32)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("multiple", [1, 4, 24, 32])
def test_every_portion_is_smaller_and_a_multiple(multiple: int) -> None:
    portion: Portion | None = Portion(5, (96, 96, 1))
    while portion is not None:
        less = portion.smaller(multiple)
        assert less is None or less.batch * np.prod(less.size) < portion.batch * np.prod(portion.size)
        assert all(n % multiple == 0 for n in portion.size[:2])
        assert portion.size[2] == 1
        portion = less
    assert replace(Portion(1, (16, 16, 16))).smaller(4) is None
