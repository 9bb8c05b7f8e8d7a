"""The segmenter and its table of labels; and the method that trains it."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.errors import InputError
from transmodal.nn.segmenter import Classes, LabelUNet, Segmenter

LABELS = (0, 7, 3, 255)


def test_codes_become_classes_in_the_order_of_the_table():
    classes = Classes(LABELS)
    given = torch.tensor([[255, 0, 3], [7, 7, 0]], dtype=torch.int16)[None, None]
    assert classes(given).tolist() == [[[3, 0, 2], [1, 1, 0]]]
    with pytest.raises(InputError, match="holds 4, 300"):
        classes(torch.tensor([[0, 300, 4, 4]])[None, None])
    with pytest.raises(ValueError, match="each once"):
        Classes((0, 1, 1))


def test_the_published_count_and_sizes_that_cannot_be_halved():
    with torch.device("meta"):
        assert sum(p.numel() for p in LabelUNet(3, 47).parameters()) == 31_040_623
    network = LabelUNet(3, 5, width=4).eval()
    for size in ((32, 32), (36, 52), (20, 28)):
        assert network(torch.rand(1, 3, *size)).shape == (1, 5, *size)


def model(folder, network, labels=LABELS, method="segmentation"):
    import hashlib

    folder.mkdir(parents=True)
    state = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    facts = {"method": method, "arguments": {"labels": list(labels)}, "sha256": digest}
    (folder / "model.json").write_text(json.dumps(facts))


def test_it_reads_a_model_and_nothing_else(tmp_path):
    torch.manual_seed(0)
    taught = LabelUNet(3, 4, width=4).eval()
    model(tmp_path / "run" / "model", taught)
    judge = Segmenter(3, LABELS, 4, str(tmp_path / "run"))
    image = torch.rand(2, 3, 16, 16)
    with pytest.raises(InputError, match="no weights yet"):
        judge(image)
    judge.load_weights()
    judge.train()
    assert torch.equal(judge(image), taught(image))
    assert not any(p.requires_grad for p in judge.parameters())
    assert "4 classes, sha256" in judge.origin

    for number, (words, other, arguments) in enumerate(
        [
            ("make them the same", taught, {"labels": (0, 3, 7, 255)}),
            ("does not fit", LabelUNet(3, 4, width=8), {}),
            ("not a Model of the method", taught, {"method": "regression"}),
        ]
    ):
        model(tmp_path / str(number), other, **arguments)
        with pytest.raises(InputError, match=words):
            Segmenter(3, LABELS, 4, str(tmp_path / str(number))).load_weights()
    (tmp_path / "0" / "weights.safetensors").write_bytes(b"damaged")
    (tmp_path / "0" / "model.json").write_text(
        json.dumps({"method": "segmentation", "arguments": {"labels": list(LABELS)}, "sha256": "no"})
    )
    with pytest.raises(InputError, match="do not match the sha256"):
        Segmenter(3, LABELS, 4, str(tmp_path / "0")).load_weights()
    with pytest.raises(InputError, match=r"no model\.json"):
        Segmenter(3, LABELS, 4, str(tmp_path)).find_weights()
    with pytest.raises(InputError, match="segmentation_weight = 0"):
        Segmenter(3, LABELS, 4).find_weights()
    assert "RANDOM" in Segmenter(3, LABELS, 4, allow_random=True).origin


def test_a_model_without_a_table_has_the_default_one(tmp_path):
    """As those that older versions wrote: 47 other codes, or the same in another order, are refused."""
    run = tmp_path / "run"
    model(run, LabelUNet(3, 47, width=2))
    record = run / "model.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "arguments": {}}))
    default = tuple(range(47))
    for other in ((*default[:46], 99), default[::-1]):
        with pytest.raises(InputError, match=r"was trained on labels = \[0, 1, 2.*make them the same"):
            Segmenter(3, other, 2, str(run)).load_weights()
    Segmenter(3, default, 2, str(run)).load_weights()


def stripes(seed=0):
    """Four classes in columns; the colour of each says which it is, the MRI has one value for each."""
    rng = torch.Generator().manual_seed(seed)
    place = torch.randint(0, 4, (4, 1, 1, 8), generator=rng).repeat_interleave(4, dim=3).expand(4, 1, 32, 32)
    codes = torch.tensor(LABELS)[place]
    colours = torch.tensor([[-1, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).float()
    mri = torch.tensor([-1.0, 0.5, 0.0, -0.5])[place]
    return Batch(
        source=colours[place[:, 0]].movedim(-1, 1) + 0.1 * torch.randn(4, 3, 32, 32, generator=rng),
        target=mri + 0.1 * torch.randn(4, 1, 32, 32, generator=rng),
        present=torch.ones(4, 1, dtype=torch.bool),
        mask=torch.ones(4, 1, 32, 32, dtype=torch.bool),
        extent=torch.tensor([[[0.0, 1.0]] * 3] * 4),
        axis=2,
        labels=codes.int(),
    )


def test_the_method_learns_tissues_and_paints_their_means():
    torch.manual_seed(0)
    task = Task(sources=("cryo",), targets=("T1w",))
    method = registry.build("segmentation", task, {"labels": LABELS, "width": 8, "depth": 2})
    optimiser = torch.optim.Adam(method.network.parameters(), 1e-2)
    assert (method.means() == -1).all()
    for step in range(60):
        for _, terms in method.objectives(stripes(step)):
            optimiser.zero_grad()
            terms["cross_entropy"].backward()
            optimiser.step()
    batch = stripes(99)
    means = method.means()[0]
    assert means.tolist() == pytest.approx([-1.0, 0.5, 0.0, -0.5], abs=0.01)
    method.eval()
    with torch.no_grad():
        scores = method.network((batch.source + 1) / 2)
        made = method.translate(batch)
    classes = method.classes(batch.labels)
    assert (scores.argmax(1) == classes).float().mean() > 0.97
    assert (made[:, 0] - means[classes]).abs().mean() < 0.05
    told = functional.cross_entropy(scores, classes)
    assert next(method.objectives(batch))[1]["cross_entropy"].item() == pytest.approx(told.item(), rel=1e-4)
