import pytest
import torch

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.errors import RecipeError


def make(axis, size, extent):
    return Batch(
        source=torch.zeros(1, 1, *size),
        present=torch.ones(1, 1, dtype=torch.bool),
        mask=torch.ones(1, 1, *size, dtype=torch.bool),
        extent=torch.tensor([extent], dtype=torch.float32),
        axis=axis,
    )


def test_channels_count_neighbours_and_colours():
    task = Task(sources=("T1w", "cryo"), targets=("CT", "cryo"), neighbours=3)
    assert task.source_channels == (3, 9)
    assert (task.in_channels, task.out_channels) == (12, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spatial": 1}, "spatial = 1"),
        ({"neighbours": 2}, "neighbours = 2"),
        ({"neighbours": -1}, "neighbours = -1"),
        ({"neighbours": 3, "spatial": 3}, "only slices have neighbours"),
    ],
)
def test_impossible_tasks(arguments, words):
    with pytest.raises(RecipeError, match=words):
        Task(**arguments)


def test_coordinates_of_an_axial_slice():
    place = make(2, (3, 2), [[0.0, 1.0], [0.2, 0.6], [0.7, 0.7]]).coordinates()[0]
    assert torch.equal(place[0, :, 0], torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(place[1, 0], torch.tensor([0.2, 0.6]))
    assert torch.equal(place[2], torch.full((3, 2), 0.7))
    assert torch.equal(place[0, :, 0], place[0, :, 1])


def test_coordinates_of_a_sagittal_slice_skip_x():
    place = make(0, (2, 3), [[0.4, 0.4], [0.0, 1.0], [-0.5, 1.5]]).coordinates()[0]
    assert torch.equal(place[0], torch.full((2, 3), 0.4))
    assert torch.equal(place[1, :, 0], torch.tensor([0.0, 1.0]))
    assert torch.equal(place[2, 0], torch.tensor([-0.5, 0.5, 1.5]))


def test_coordinates_of_a_patch_with_one_voxel_along_an_axis():
    place = make(None, (2, 1, 3), [[0.0, 1.0], [0.3, 0.3], [0.0, 0.5]]).coordinates()[0]
    assert place.shape == (3, 2, 1, 3)
    assert torch.equal(place[1], torch.full((2, 1, 3), 0.3))
    assert torch.equal(place[2, 0, 0], torch.tensor([0.0, 0.25, 0.5]))


def test_truth_must_be_there():
    with pytest.raises(ValueError, match="no target"):
        _ = make(2, (2, 2), [[0.0, 1.0]] * 3).truth
