"""A checkpoint says by a digest whether it is what was written; where it is not, the one before it counts."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from transmodal import progress
from transmodal.errors import InputError
from transmodal.training.checkpoint import (
    PREVIOUS,
    Progress,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from transmodal.training.ema import Average


class Net(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 2), value))
        self.register_buffer("low", torch.full((5,), value, dtype=torch.bfloat16))
        self.register_buffer("flag", torch.tensor(value > 1))
        self.register_buffer("none", torch.zeros(0))


def parts(value: float) -> tuple[Net, dict[str, Any], Average]:
    net = Net(value)
    adam = torch.optim.Adam(net.parameters(), lr=0.1)
    net.weight.grad = torch.ones_like(net.weight)
    adam.step()
    return net, {"one": adam}, Average({"weight": net.weight}, 0.9)


def save(path: Path, step: int) -> Net:
    net, optimizers, average = parts(float(step))
    save_checkpoint(path, net, optimizers, average, {"one/l1": torch.ones(())}, Progress(step=step), "hash")
    return net


def load(path: Path) -> tuple[Net, int]:
    net, optimizers, average = parts(-1.0)
    progress_, sums = load_checkpoint(path, net, optimizers, average, "hash")
    assert torch.equal(sums["one/l1"], torch.ones(()))
    assert torch.equal(average.values["weight"], net.weight)
    return net, progress_.step


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sentences: list[str] = []
    monkeypatch.setattr(progress, "_speak", lambda level, message: sentences.append(message))
    return sentences


def test_the_last_one_is_read_and_the_one_before_is_kept(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "last" / "checkpoint.safetensors"
    assert not has_checkpoint(path)
    for step in (1, 2, 3):
        saved = save(path, step)
    net, step = load(path)
    assert step == 3
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in saved.state_dict().items())
    os.replace(path.with_name(PREVIOUS), path)
    assert load(path)[1] == 2
    assert sorted(os.listdir(path.parent)) == ["checkpoint.safetensors"]
    assert said == []


@pytest.mark.parametrize("seed", range(12))
def test_one_changed_bit_anywhere_is_noticed(tmp_path: Path, said: list[str], seed: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path, 1)
    save(path, 2)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    assert load(path)[1] == 1
    assert "is damaged" in said[0]
    assert "going on from the checkpoint before it" in said[0]
    path.with_name(PREVIOUS).unlink()
    with pytest.raises(InputError, match="is damaged"):
        load(path)


def test_missing_cut_and_both_damaged(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        load(path)
    save(path, 1)
    save(path, 2)
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert load(path)[1] == 1
    path.unlink()
    assert has_checkpoint(path)
    assert load(path)[1] == 1
    path.with_name(PREVIOUS).write_bytes(b"")
    with pytest.raises(InputError, match=PREVIOUS):
        load(path)


def test_a_full_disk_leaves_both_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path, 1)
    save(path, 2)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        save(path, 3)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.safetensors", PREVIOUS]
    assert load(path)[1] == 2
