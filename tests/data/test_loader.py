import resource

import numpy as np
import pytest
import torch

from transmodal.data.bring import PrepareSettings
from transmodal.data.loader import Loader
from transmodal.data.motion import Misalignment, misalign
from transmodal.data.prepare import prepare
from transmodal.data.sampling import Sampling
from transmodal.data.task import Task
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError

TASK = Task(sources=("T1w",), targets=("T2w",))
SIZE = Sampling(size=(20, 24))


@pytest.fixture
def small(heads, tmp_path):
    return prepare(heads(3), tmp_path / "out", PrepareSettings(mask="labels"))


def loader(dataset, task=TASK, sampling=SIZE, names=None, **more):
    return Loader(dataset, names or dataset.names, task, sampling, **{"batch_size": 2, **more})


def same(a, b):
    return all(
        torch.equal(getattr(a, key), getattr(b, key)) for key in ("source", "target", "mask", "extent", "present")
    ) and (a.cases, a.step, a.axis) == (b.cases, b.step, b.axis)


def test_a_batch_holds_what_the_files_hold(small):
    batch = loader(small, labels=True).batch(5)
    assert (batch.step, batch.axis, batch.paired) == (5, 2, True)
    for row, name in enumerate(batch.cases):
        case = small.case(name)
        z = round(float(batch.extent[row, 2, 0]) * (case.box[2][1] - 1 - case.box[2][0])) + case.box[2][0]
        assert z in case.slices[2]
        for fit, got in ((case.fits["T1w"], batch.source), (case.fits["T2w"], batch.target)):
            modality = "T1w" if got is batch.source else "T2w"
            start = [(low + high - n) // 2 for (low, high), n in zip(case.box[:2], (20, 24), strict=True)]
            assert start == [0, 0]
            np.testing.assert_allclose(
                got[row, 0], fit.apply(np.asarray(case.values(modality)))[0, :, :, z], atol=1e-6
            )
        np.testing.assert_array_equal(batch.mask[row, 0], case.mask()[:, :, z])
        np.testing.assert_array_equal(batch.labels[row, 0], case.labels()[0, :, :, z])


@pytest.mark.parametrize(("flip", "factor"), [(0.0, 1), (0.5, 2), (1.0, 1)])
def test_images_that_chance_does_not_change_are_counted(small, flip, factor):
    made = loader(small, sampling=Sampling(size=(20, 24), flip=flip))
    seen = {
        sample.numpy().tobytes()
        for step in range(10 * made.items)
        for sample in made.batch(step).source
    }  # fmt: skip
    assert len(seen) == made.images == factor * made.items


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"jitter": 2}, r"sampling\.jitter = 2 makes a new image"),
        ({"rotate": 5.0}, r"sampling\.rotate = 5"),
        ({"gamma": 0.2}, r"sampling\.gamma"),
        ({"size": (12, 24)}, r"smaller than the head of case"),
        ({"view": "patch", "size": (32, 32, 32)}, "laid by chance"),
    ],
)
def test_images_without_end_are_refused_with_the_setting(small, change, words):
    sampling = Sampling(**{"size": (20, 24), **change})
    task = Task(sources=("T1w",), targets=("T2w",), spatial=sampling.spatial)
    with pytest.raises(RecipeError, match=words):
        _ = loader(small, task=task, sampling=sampling).images


def test_a_batch_is_a_pure_function_of_its_step(small):
    sampling = Sampling(size=(12, 14), flip=0.5, jitter=2, rotate=10.0, gamma=0.3)
    one, two = loader(small, sampling=sampling), loader(small, sampling=sampling)
    forward = [one.batch(step) for step in range(40)]
    for step in (39, 0, 17):
        assert same(two.batch(step), forward[step])
    assert not same(loader(small, sampling=sampling, seed=1).batch(0), forward[0])


def test_an_epoch_shows_every_slice_once_to_all_ranks_together(small):
    ranks = [loader(small, batch_size=1, rank=rank, world=2) for rank in range(2)]
    total = sum(len(small.case(name).slices[2]) for name in small.names)
    assert ranks[0].items == total
    seen = []
    for step in range((total + 1) // 2):
        for rank in ranks:
            batch = rank.batch(step)
            seen.append((batch.cases[0], round(float(batch.extent[0, 2, 0]), 4)))
    assert len(set(seen[:total])) == total
    again = loader(small, batch_size=1)
    first = [again.batch(step).cases[0] for step in range(total)]
    second = [again.batch(step).cases[0] for step in range(total, 2 * total)]
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.parametrize("paired", [True, False])
def test_two_ranks_are_one_large_batch(small, paired):
    sampling = Sampling(size=(12, 14), flip=0.5, jitter=2, rotate=10.0, gamma=0.3)
    for step in (0, 3, 40):
        whole = loader(small, sampling=sampling, batch_size=4, paired=paired).batch(step)
        halves = [
            loader(small, sampling=sampling, batch_size=2, rank=rank, world=2, paired=paired).batch(step)
            for rank in range(2)
        ]
        for part in ("source", "target", "mask", "extent"):
            assert torch.equal(torch.cat([getattr(half, part) for half in halves]), getattr(whole, part))
        assert halves[0].cases + halves[1].cases == whole.cases


def test_planes_take_turns(small):
    batches = [loader(small, sampling=Sampling(view="planes", size=(16, 16))).batch(step) for step in range(6)]
    assert [batch.axis for batch in batches] == [0, 1, 2, 0, 1, 2]
    for batch in batches:
        assert batch.source.shape == (2, 1, 16, 16)
        assert batch.mask.flatten(1).any(dim=1).all()
        assert torch.equal(batch.extent[:, batch.axis, 0], batch.extent[:, batch.axis, 1])


def test_patches(small):
    task = Task(sources=("T1w",), targets=("T2w",), spatial=3)
    batch = loader(small, task, Sampling(view="patch", size=(8, 9, 10))).batch(0)
    assert batch.source.shape == (2, 1, 8, 9, 10)
    assert batch.axis is None
    inside = batch.mask & (batch.source.abs() < 0.9) & (batch.target.abs() < 0.9)
    paired = np.corrcoef(batch.source[inside], batch.target[inside])[0, 1]
    assert paired < -0.99


def test_neighbours(small):
    task = Task(sources=("T1w",), targets=("T2w",), neighbours=3)
    three = loader(small, task, Sampling(size=(20, 24), neighbours=3)).batch(4)
    one = loader(small).batch(4)
    assert torch.equal(three.source[:, 1:2], one.source)
    assert torch.equal(three.target, one.target)
    assert not torch.equal(three.source[:, 0], three.source[:, 1])


def test_unpaired_targets_come_from_another_person(small):
    batch = loader(small, batch_size=8, paired=False).batch(0)
    assert not batch.paired
    for row, name in enumerate(batch.cases):
        own = small.case(name)
        z = round(float(batch.extent[row, 2, 0]) * (own.box[2][1] - 1 - own.box[2][0])) + own.box[2][0]
        mine = own.fits["T2w"].apply(np.asarray(own.values("T2w")))[0, :, :, z]
        assert not np.allclose(batch.target[row, 0], mine, atol=1e-3)
        others = [small.case(other) for other in small.names if other != name]
        slices = [c.fits["T2w"].apply(np.asarray(c.values("T2w")))[0, :, :, k] for c in others for k in range(16)]
        assert min(np.abs(s - batch.target[row, 0].numpy()).max() for s in slices) < 1e-5


def test_unpaired_cases_need_only_one_side(heads, tmp_path):
    dataset = prepare(heads(3, gone={"sub-01": "T2w", "sub-02": "T1w"}), tmp_path / "out")
    made = loader(dataset, paired=False, names=("sub-01", "sub-02"))
    assert {name for step in range(20) for name in made.batch(step).cases} == {"sub-01"}
    with pytest.raises(InputError, match="case sub-01: has no T2w"):
        loader(dataset)
    with pytest.raises(RecipeError, match="case sub-03: unpaired training takes the target from another person"):
        loader(dataset, paired=False, names=("sub-03",))


def test_missing_sources_are_flagged(heads, tmp_path):
    dataset = prepare(heads(3, gone={"sub-02": "T2w"}), tmp_path / "out")
    task = Task(sources=("T1w", "T2w"), targets=("T1w",))
    with pytest.raises(InputError, match="case sub-02: has no T2w; add it, or exclude the case"):
        loader(dataset, task)
    batch = loader(dataset, task, batch_size=24, handles_missing=True).batch(0)
    gone = torch.tensor([name == "sub-02" for name in batch.cases])
    assert gone.any()
    assert torch.equal(batch.present[:, 1], ~gone)
    assert batch.present[:, 0].all()
    assert not batch.source[gone, 1].any()
    assert batch.source[~gone, 1].any()


def test_sources_are_moved_and_the_target_is_not(small):
    """A sample with a moved source is the slice of the moved volume; everything else is as without."""
    task = Task(sources=("T1w", "T2w"), targets=("T1w",))
    still = loader(small, task, batch_size=12).batch(0)
    settings = Misalignment("subvoxel", 2.0)
    moved = loader(small, task, Sampling(size=(20, 24), misalign=settings), batch_size=12).batch(0)
    assert moved.cases == still.cases
    for key in ("target", "mask", "extent", "present"):
        assert torch.equal(getattr(moved, key), getattr(still, key))
    assert torch.equal(moved.source[:, 0], still.source[:, 0])
    for place, name in enumerate(moved.cases):
        case = small.case(name)
        z = round(float(moved.extent[place, 2, 0]) * (case.box[2][1] - 1 - case.box[2][0])) + case.box[2][0]
        rng = np.random.default_rng([0, 0, 0, place])
        for (low, high), size in zip(case.box[:2], (20, 24), strict=True):
            assert size >= high - low
            rng.integers(0, 1)  # the jitter
        motion = settings.draw(rng, case.grid, 2)
        whole = misalign(Volume(np.array(case.values("T2w")), case.grid), motion).data[0, :, :, z]
        np.testing.assert_allclose(
            moved.source[place, 1], case.fits["T2w"].apply(whole[None].copy())[0], atol=1e-6
        )
    assert not torch.equal(moved.source[:, 1], still.source[:, 1])


def test_sources_are_dropped_and_one_is_always_left(small):
    task = Task(sources=("T1w", "T2w"), targets=("T1w",))
    batch = loader(small, task, Sampling(size=(20, 24), drop=0.5), batch_size=200, handles_missing=True).batch(0)
    seen = [tuple(row) for row in batch.present.tolist()]
    share = {kind: seen.count(kind) / len(seen) for kind in set(seen)}
    assert set(share) == {(True, True), (True, False), (False, True)}
    assert share[True, True] == pytest.approx(0.5, abs=0.1)
    assert share[True, False] == pytest.approx(0.25, abs=0.1)
    assert torch.equal(batch.source.abs().amax(dim=(2, 3)) > 0, batch.present)
    turned = Sampling(size=(20, 24), drop=0.5, rotate=30.0)
    batch = loader(small, task, turned, batch_size=50, handles_missing=True).batch(0)
    assert torch.equal(batch.source.abs().amax(dim=(2, 3)) > 0, batch.present), "zeros in the corners, too"
    with pytest.raises(RecipeError, match=r"sampling.drop = 0.5: this method needs all its sources"):
        loader(small, task, Sampling(size=(20, 24), drop=0.5))


def test_labels_that_are_needed(heads, tmp_path):
    dataset = prepare(heads(2, gone={"sub-02": "labels"}), tmp_path / "out")
    with pytest.raises(InputError, match="case sub-02: has no label map"):
        loader(dataset, labels=True)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"batch_size": 0}, r"training\.batch_size = 0"),
        ({"rank": 2, "world": 2}, "rank = 2 of world = 2"),
        ({"sampling": Sampling(view="patch", size=(8, 8, 8))}, r"sampling\.view = 'patch'.*spatial = 2"),
        ({"sampling": Sampling(neighbours=3)}, r"sampling\.neighbours = 3.*neighbours = 1"),
    ],
)
def test_bad_arguments(small, more, words):
    with pytest.raises(RecipeError, match=words):
        loader(small, **more)


def test_memory_and_files_do_not_grow(small):
    made = loader(small, sampling=Sampling(size=(12, 14), flip=0.5, rotate=5.0))
    for step in range(20):
        made.batch(step)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for step in range(20, 320):
        made.batch(step)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
