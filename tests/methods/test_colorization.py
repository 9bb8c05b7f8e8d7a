"""The acceptance checks of the colouriser that need no data."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn import functional

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.bring import PrepareSettings
from transmodal.data.intensity import IntensityFit
from transmodal.data.loader import Loader
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.prepare import prepare
from transmodal.data.sampling import Sampling, tile_around
from transmodal.data.task import Task
from transmodal.errors import InputError, RecipeError
from transmodal.experiment.train import train
from transmodal.inference.files import synthesize_paths
from transmodal.inference.predict import InferenceSettings, Scan, Translation, predict
from transmodal.losses.structural import ssim, window_ssims
from transmodal.methods.colorization import _grey
from transmodal.metrics.colourfulness import colourfulness
from transmodal.recipe import load_recipe, make_recipe
from transmodal.training.loop import make_fabric
from transmodal.training.settings import TrainingSettings
from transmodal.training.turns import play, trained_parameters

TASK = Task(targets=("cryo",))
ROOT = Path(__file__).parents[2]
LABELS = (0, 1, 2, 3, 4, 5)
SMALL = {
    "width": 8, "blocks": 2, "reduction": 8, "critic_width": 8, "segmenter_width": 4, "labels": LABELS,
    "allow_random": True,
}  # fmt: skip
THIN = {"width": 8, "blocks": 1, "reduction": 8, "critic_width": 4, "critic_layers": 1}
TERMS = {
    "adversarial", "reverse_adversarial", "cycle", "reverse_cycle", "structure", "pseudo_structure", "radiometric",
    "segmentation",
}  # fmt: skip


def small(**arguments):
    torch.manual_seed(0)
    return registry.build("colorization", TASK, SMALL | arguments)


def bodies(count=8, size=64, seed=0):
    """Ellipses of five tissues on black; the MRI shows them on air of 0.15, and lies up to 3 voxels elsewhere."""
    rng = np.random.default_rng(seed)
    grey = np.array([0.15, 0.35, 0.8, 0.55, 0.25, 0.65])
    colour = (
        np.array([[0, 0, 0], [130, 30, 30], [230, 195, 70], [235, 230, 215], [40, 60, 190], [170, 80, 50]]) / 255
    )
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    mri, cryo, labels = [], [], []
    for _ in range(count):
        label = np.where((x / 0.85) ** 2 + (y / rng.uniform(0.6, 0.85)) ** 2 < 1, 2, 0)
        label[(x / 0.7) ** 2 + (y / 0.55) ** 2 < 1] = 1
        for tissue in (3, 4, 5):
            u, v, a, b = *rng.uniform(-0.35, 0.35, 2), *rng.uniform(0.1, 0.25, 2)
            label[((x - u) / a) ** 2 + ((y - v) / b) ** 2 < 1] = tissue
        shift = rng.integers(-3, 4, 2)
        mri.append(grey[np.roll(label, shift, (0, 1))] + 0.02 * rng.standard_normal(label.shape))
        cryo.append(np.moveaxis(colour[label] + 0.01 * rng.standard_normal((*label.shape, 3)), -1, 0))
        labels.append(label)

    def tensor(values):
        return torch.from_numpy(np.stack(values)).float().clamp(0, 1) * 2 - 1

    return Batch(
        source=tensor(mri)[:, None],
        target=tensor(cryo),
        present=torch.ones(count, 1, dtype=torch.bool),
        mask=torch.ones(count, 1, size, size, dtype=torch.bool),
        extent=torch.tensor([[[0.0, 1.0]] * 3] * count),
        axis=2,
        labels=torch.from_numpy(np.stack(labels))[:, None].int(),
    )


def count(module):
    return sum(p.numel() for p in module.parameters())


def learn(method, batch, steps, rate=1e-3):
    players = {p: [w for net in nets.values() for w in net.parameters()] for p, nets in method.players().items()}
    optimisers = {p: torch.optim.Adam(ws, rate) for p, ws in players.items()}
    method.train()
    for _ in range(steps):
        for player, terms in method.objectives(batch):
            optimisers[player].zero_grad()
            torch.stack(list(terms.values())).sum().backward(inputs=players[player])
            optimisers[player].step()
    return method.eval()


def turn(method, batch, player="generator"):
    return next(terms for name, terms in method.objectives(batch) if name == player)


# Networks


@pytest.fixture(scope="module")
def published():
    """The default networks, on no device."""
    with torch.device("meta"):
        return registry.build("colorization", TASK, {})


def test_images_in_the_unit_range_at_all_three_sizes():
    method = small()
    for size in (256, 128, 64):
        with torch.no_grad():
            images = method.colour(torch.rand(1, 1, size, size))
            back = method.reverse(torch.rand(1, 3, size, size))
        assert [image.shape for image in images] == [(1, 3, size, size)] * 2
        assert back.shape == (1, 1, size, size)
        assert all(image.min() >= 0 and image.max() <= 1 for image in (*images, back))
    with pytest.raises(ValueError, match=r"multiples of 4.*pad"):
        method.colour(torch.zeros(1, 1, 66, 64))


def test_the_published_parameter_counts(published):
    assert count(published.encoder) == 2_221_056
    assert count(published.colour_decoder) == count(published.pseudo_decoder) == 1_793_571
    assert sum(map(count, (published.encoder, published.colour_decoder, published.pseudo_decoder))) == 5_808_198
    assert count(published.reverse) == 4_016_929
    assert (count(published.reverse_critic), count(published.critic)) == (658_881, 660_929)
    assert count(published.segmenter) == 31_040_623
    tied = registry.show("colorization", TASK, {"decoders": "tied"})["players"]["generator"]
    assert tied["encoder"] + tied["colour_decoder"] == 4_014_627
    convolved = registry.show("colorization", TASK, {"bottleneck": "gate+conv"})["players"]["generator"]
    assert convolved["colour_decoder"] - count(published.colour_decoder) == 42_476_544


def test_the_published_cost_of_a_slice():
    whole = registry.show("colorization", TASK, {}, 256)["gmac"]
    convolved = registry.show("colorization", TASK, {"bottleneck": "gate+conv"}, 256)["gmac"]
    assert whole == pytest.approx(14.0 + 10.9, abs=0.1)
    assert convolved - whole == pytest.approx(174, abs=1)


def test_every_parameter_of_the_generators_learns():
    method = registry.build("colorization", TASK, {"segmenter_width": 4, "allow_random": True, "critic_width": 8})
    batch = bodies(1, 32)
    named = trained_parameters(method.players())["generator"]
    torch.stack(list(turn(method, batch).values())).sum().backward(inputs=list(named.values()))
    assert [name for name, p in named.items() if p.grad is None] == []
    assert all(
        named[f"{part}.weight"].grad.abs().sum() > 0 for part in ("encoder.at_half.0", "encoder.at_quarter.0")
    )


def test_decoders_are_separate_or_tied():
    image = torch.rand(2, 1, 32, 32)
    separate, tied, single = (small(decoders=how) for how in ("separate", "tied", "single"))
    own = {id(p) for p in separate.colour_decoder.parameters()}
    assert own.isdisjoint(id(p) for p in separate.pseudo_decoder.parameters())
    coloured, pseudo = separate.colour(image)
    assert (coloured - pseudo).abs().max() > 1e-3
    coloured, pseudo = tied.colour(image)
    assert torch.equal(coloured, pseudo)
    assert single.colour(image)[1] is None


# Losses


def test_perfect_images_cost_nothing():
    method, batch = small(), bodies(2, 32)
    c = (batch.target + 1) / 2
    grey = c.mean(dim=1, keepdim=True)
    terms = method._generators(batch, grey, c, c, c, grey)
    for name in ("structure", "pseudo_structure", "radiometric"):
        assert terms[name].item() == pytest.approx(0, abs=1e-5)
    assert method._generators(batch, grey.roll(3, -1), c, c, c.roll(3, -1), grey)["structure"] > 0.1


def test_the_terms_and_their_weights():
    batch = bodies(2, 32)
    weighted, plain = turn(small(), batch), turn(small(cycle_weight=1.0), batch)
    assert set(weighted) == TERMS
    for name in TERMS:
        factor = 10 if "cycle" in name else 1
        assert weighted[name].item() == pytest.approx(factor * plain[name].item(), rel=1e-5)
    # What the authors' code sums: all but the radiometric term.
    code = turn(small(radiometric_weight=0.0), batch)
    assert set(code) == TERMS - {"radiometric"}
    assert all(torch.equal(code[name], weighted[name]) for name in code)


def test_each_term_is_what_the_equations_say():
    method, batch = small(), bodies(2, 32)
    m, c = (batch.source + 1) / 2, (batch.target + 1) / 2
    terms = turn(method, batch)
    coloured, pseudo = method.colour(m)
    radiometric = method.reverse(c)

    def windows(a, b):
        return sum(1 - ssim(a, b, data_range=1.0, window=w, padding="zeros").item() for w in (11, 9, 7, 5, 3))

    expected = {
        "adversarial": (method.critic(coloured).mean((1, 2, 3)) - 1).square().mean(),
        "reverse_adversarial": (method.reverse_critic(radiometric).mean((1, 2, 3)) - 1).square().mean(),
        "cycle": 10 * (method.reverse(coloured) - m).abs().mean(),
        "reverse_cycle": 10 * (method.colour(radiometric)[0] - c).abs().mean(),
        "structure": windows(coloured.mean(1, keepdim=True), m),
        "pseudo_structure": windows(pseudo, c),
        "radiometric": windows(radiometric, c.mean(1, keepdim=True)),
        "segmentation": functional.cross_entropy(method.segmenter.network(pseudo), batch.labels[:, 0].long()),
    }
    assert {name: v.item() for name, v in terms.items()} == pytest.approx(
        {name: v if isinstance(v, float) else v.item() for name, v in expected.items()}, rel=1e-4
    )


def test_the_cycle_of_the_cryosection_takes_the_colour_head():
    method, batch = small(), bodies(2, 32)
    before = turn(method, batch)
    with torch.no_grad():
        for parameter in method.pseudo_decoder.parameters():
            parameter.add_(0.1)
    after = turn(method, batch)
    changed = {name for name in TERMS if not torch.equal(before[name], after[name])}
    assert changed == {"pseudo_structure", "segmentation"}


def test_the_segmenter_teaches_the_pseudo_decoder_and_the_encoder_alone():
    method, batch = small(), bodies(2, 32)
    before = copy.deepcopy(method.segmenter.state_dict())
    turn(method, batch)["segmentation"].backward()

    def reached(module):
        return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())

    names = ("encoder", "colour_decoder", "pseudo_decoder", "reverse", "critic", "reverse_critic", "segmenter")
    assert [name for name in names if reached(getattr(method, name))] == ["encoder", "pseudo_decoder"]
    learn(method, batch, 1)
    assert all(torch.equal(value, before[name]) for name, value in method.segmenter.state_dict().items())


def test_one_hot_and_integer_cross_entropy_are_one():
    method, batch = small(), bodies(2, 32)
    scores = method.segmenter((batch.target + 1) / 2)
    hot = functional.one_hot(batch.labels[:, 0].long(), len(LABELS)).movedim(-1, 1).float()
    loss = method.segmenter.cross_entropy((batch.target + 1) / 2, batch.labels)
    assert loss.item() == pytest.approx(functional.cross_entropy(scores, hot).item(), abs=1e-6)


def test_the_turn_of_the_critics_is_what_the_equation_says():
    """½ ((D(real) - 1)² + D(fake)²), with last layers so strong that real and fake differ."""
    method, batch = small(), bodies(3, 32)
    with torch.no_grad():
        for critic, scale in ((method.critic, 30.0), (method.reverse_critic, 20.0)):
            last = [p for p in critic.parameters() if p.ndim == 4][-1]
            last.mul_(scale)
    terms = turn(method, batch, "critic")
    m, c = (batch.source + 1) / 2, (batch.target + 1) / 2
    pairs = {
        "adversarial": (method.critic, c, method.colour(m)[0]),
        "reverse_adversarial": (method.reverse_critic, m, method.reverse(c)),
    }
    assert set(terms) == set(pairs)
    for name, (critic, real, fake) in pairs.items():
        told, swapped = (
            0.5 * ((critic(one).mean((1, 2, 3)) - 1).square().mean() + critic(two).mean((1, 2, 3)).square().mean())
            for one, two in ((real, fake), (fake, real))
        )
        assert terms[name].item() == pytest.approx(told.item(), rel=1e-4)
        assert abs(told - swapped) > 0.01 * told
        terms[name].backward()
    reached = [name for name, net in method.named_children() for p in net.parameters() if p.grad is not None]
    assert set(reached) == {"critic", "reverse_critic"}


def test_the_critics_play_with_one_score_for_an_image():
    adversaries = small().adversaries
    assert [a.scores for a in adversaries.values()] == ["mean", "mean"]
    assert adversaries["adversarial"].score(torch.rand(3, 3, 32, 32)).shape == (3, 1)


def test_gradients_do_not_pile_up():
    """The authors' newest code never clears those of the critic of MRI."""
    method, batch = small(), bodies(2, 32)
    parameters = trained_parameters(method.players())
    optimizers = {player: torch.optim.SGD(own.values(), lr=0.0) for player, own in parameters.items()}
    fabric = make_fabric(TrainingSettings(precision="fp32"), "cpu")
    seen = []
    for _ in range(2):
        play(method, [batch], optimizers, parameters, dict.fromkeys(parameters, 0.0), fabric)
        seen.append([p.grad.clone() for own in parameters.values() for p in own.values()])
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


# Presets and switches


def test_the_presets():
    paper, first = (load_recipe(ROOT / "recipes" / f"colorization-{name}.toml") for name in ("paper", "first"))
    for recipe in (paper, first):
        assert (recipe.training.batch_size, recipe.sampling.size) == (28, (256, 256))
        assert recipe.training.steps == 150 * math.ceil(1702 / 28)
        for player in ("generator", "critic", "segmenter"):
            own = recipe.training.optimizer_of(player)
            assert (own.name, own.betas, own.schedule, own.weight_decay) == ("adam", (0.9, 0.999), "constant", 0.0)
    rates = {
        name: [recipe.training.optimizer_of(p).lr for p in ("generator", "critic", "segmenter")]
        for name, recipe in (("paper", paper), ("first", first))
    }
    assert rates == {"paper": [1e-4] * 3, "first": [1e-3, 1e-6, 1e-4]}
    assert registry.show("colorization", TASK, dict(paper.arguments))["frozen"] == {"segmenter": 31_040_623}
    method = small(**{k: v for k, v in first.arguments.items() if k not in SMALL})
    moves = [player for player, _ in method.objectives(bodies(2, 32))]
    assert moves == ["generator", "generator", "segmenter", "critic"]


def test_a_segmenter_that_is_trained_along():
    method, batch = small(train_segmenter=True), bodies(4, 32)
    before = copy.deepcopy(method.segmenter.state_dict())
    game = method.objectives(batch)
    next(game)
    assert all(torch.equal(value, before[name]) for name, value in method.segmenter.state_dict().items())
    player, terms = next(game)
    assert (player, list(terms)) == ("segmenter", ["cross_entropy"])
    assert any(not torch.equal(v, before[n]) for n, v in method.segmenter.state_dict().items() if "running" in n)


ABLATIONS = {
    "no segmentation": ({"segmentation_weight": 0.0}, {"segmentation"}, {"segmenter"}),
    "no pseudo decoder": (
        {"decoders": "single"}, {"segmentation", "pseudo_structure"}, {"segmenter", "pseudo_decoder"},
    ),
    "no gates": ({"bottleneck": "none"}, set(), set()),
    "convolutions": ({"bottleneck": "conv"}, set(), set()),
    "no multiscale": ({"multiscale": False}, set(), set()),
    "no structure": ({"structure_weight": 0.0}, {"structure"}, set()),
    "no pseudo structure": ({"pseudo_weight": 0.0}, {"pseudo_structure"}, set()),
    "no radiometric": ({"radiometric_weight": 0.0}, {"radiometric"}, set()),
    "no cycle": ({"cycle_weight": 0.0}, {"cycle", "reverse_cycle"}, set()),
    "no critics": (
        {"gan_weight": 0.0}, {"adversarial", "reverse_adversarial"}, {"critic", "reverse_critic"},
    ),
    "no reverse": (
        {"gan_weight": 0.0, "cycle_weight": 0.0, "radiometric_weight": 0.0},
        {"adversarial", "reverse_adversarial", "cycle", "reverse_cycle", "radiometric"},
        {"critic", "reverse_critic", "reverse"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_a_switch_changes_only_its_own_part(name):
    arguments, terms, parts = ABLATIONS[name]
    whole, cut = small(), small(**arguments)
    assert set(turn(cut, bodies(2, 32))) == TERMS - terms
    assert {n for n, m in whole.named_children() if getattr(cut, n) is None} == parts
    sizes = {n: (count(m), count(getattr(cut, n))) for n, m in whole.named_children() if n not in parts}
    changed = {n for n, (before, after) in sizes.items() if before != after}
    generators = (
        {"encoder", "reverse"} if "multiscale" in name else {"colour_decoder", "pseudo_decoder", "reverse"}
    )
    assert changed == (generators if name in ("no gates", "convolutions", "no multiscale") else set())
    learn(cut, bodies(2, 32), 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"windows": [11, 4]}, r"windows = \[11, 4\], .* odd, from 3 on"),
        ({"windows": [1]}, r"windows = \[1\], .* odd, from 3 on"),
        ({"windows": []}, "at least one of each"),
        (
            {"decoders": "single", "train_segmenter": True},
            "'single' makes no c′, .* leave out segmenter and train",
        ),
        ({"decoders": "single", "segmenter": "RUN"}, "'single' makes no c′"),
    ],
)
def test_what_contradicts_itself_is_not_even_shown(arguments, words):
    with pytest.raises(RecipeError, match=words):
        registry.show("colorization", TASK, arguments)


# Data


def test_grey_is_the_plain_mean(golden):
    image = torch.from_numpy(golden["RGB1"])[None]
    assert _grey(image)[0, 0, 10, 20].item() == pytest.approx(0.371659, abs=1e-6)
    assert (window_ssims(image, image, data_range=1.0) == 1).all()


@pytest.fixture(scope="module")
def bodies_on_disk(tmp_path_factory):
    """Two heads as a user has them, prepared."""
    folder = tmp_path_factory.mktemp("cryo")
    settings = PhantomSettings(subjects=3, size=(24, 28, 24), spacing=8.0, contrasts=("T1w", "cryo"), mask="head")
    write_cohort(folder / "raw", settings, workers=1)
    return folder / "raw", prepare(folder / "raw", folder / "prepared", PrepareSettings())


def test_slices_of_all_three_volumes_have_one_index(bodies_on_disk):
    _, dataset = bodies_on_disk
    sampling = Sampling(size=(24, 28))
    loader = Loader(dataset, dataset.names, TASK, sampling, batch_size=4, labels=True)
    batch = loader.batch(3)
    for place, name in enumerate(batch.cases):
        case = dataset.case(name)
        tiles = [
            tile_around(sampling, case.box, 2, k, np.random.default_rng(0)) for k in range(case.grid.shape[2])
        ]
        mine = batch.labels[place].numpy()
        found = [tile for tile in tiles if np.array_equal(tile.cut(case.labels())[..., 0], mine)]
        assert len(found) == 1
        colours = found[0].cut(case.values("cryo"))[..., 0] / 127.5 - 1
        assert np.abs(colours - batch.target[place].numpy()).max() < 1e-5
        grey = case.fits["T1w"].apply(found[0].cut(case.values("T1w"))[..., 0])
        assert np.abs(grey - batch.source[place].numpy()).max() < 1e-5


def test_slices_of_other_places_are_refused():
    batch = bodies(2, 32)
    with pytest.raises(RecipeError, match="one place"):
        next(small().objectives(replace(batch, paired=False)))
    with pytest.raises(InputError, match="holds 9"):
        next(small().objectives(replace(batch, labels=torch.full_like(batch.labels, 9))))


def tiny(dataset, method, **words):
    table = {
        "data": {"path": str(dataset.path), "sources": ["T1w"], "targets": ["cryo"], "folds": 3},
        "sampling": {"size": [24, 28]},
        "method": method,
        "training": {"steps": 2, "batch_size": 2, "precision": "fp32", "validate_every": 0},
        "evaluation": {"metrics": ["MAE"]},
    }
    return make_recipe({**table, **words}, "tiny")


def test_a_segmenter_keeps_its_table_where_it_is_the_default(bodies_on_disk, tmp_path):
    _, dataset = bodies_on_disk
    data = {"path": str(dataset.path), "sources": ["cryo"], "targets": ["T1w"], "folds": 3}
    judge = {"name": "segmentation", "width": 2}
    train(tiny(dataset, judge, data=data, sampling={"size": [32, 32]}), tmp_path / "judge", device="cpu")
    record = tmp_path / "judge" / "model" / "model.json"
    assert json.loads(record.read_text())["arguments"] == {"labels": list(range(47)), "width": 2}
    own = {"name": "colorization", "segmenter": str(tmp_path / "judge"), "labels": list(range(47))[::-1]}
    with pytest.raises(InputError, match="make them the same"):
        train(tiny(dataset, {**own, "segmenter_width": 2, **THIN}), tmp_path / "other", device="cpu")


def test_from_a_segmenter_to_a_coloured_volume_on_the_same_grid(bodies_on_disk, tmp_path):
    """The table of labels is kept; a Model holds the encoder and one decoder; RGB comes out in any plane."""
    raw, dataset = bodies_on_disk
    labels = list(range(13))
    judge = {"name": "segmentation", "labels": labels, "width": 4}
    data = {"path": str(dataset.path), "sources": ["cryo"], "targets": ["T1w"], "folds": 3}
    sampling = {"size": [32, 32]}
    train(tiny(dataset, judge, data=data, sampling=sampling), tmp_path / "judge", device="cpu")
    own = {"name": "colorization", "segmenter_width": 4, **THIN}
    with pytest.raises(InputError, match="'segmentation'"):
        train(tiny(dataset, {**own, "labels": labels}), tmp_path / "none", device="cpu")
    other = {**own, "labels": [*labels, 13], "segmenter": str(tmp_path / "judge")}
    with pytest.raises(InputError, match="make them the same"):
        train(tiny(dataset, other), tmp_path / "other", device="cpu")
    chosen = {**own, "labels": labels, "segmenter": str(tmp_path / "judge")}
    train(tiny(dataset, chosen), tmp_path / "run", device="cpu")
    with safe_open(tmp_path / "run" / "model" / "weights.safetensors", framework="pt") as weights:
        assert {key.split(".")[0] for key in weights.keys()} == {"encoder", "colour_decoder"}  # noqa: SIM118
    page = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "segmenter of 13 classes, sha256" in page
    for words in (
        "Not reproduced: the Visible Korean Human, on which the paper trains, is not public",
        "SSIM 0.863, MS-SSIM 0.866, STSIM 0.901) were not verified",
        "nor were its baselines measured again",
    ):
        assert words in page
    scan = raw / "sub-001" / "T1w.nii.gz"
    out = tmp_path / "coloured.nii.gz"
    for plane in ("axial", "coronal", "sagittal"):
        words = [f'planes=["{plane}"]']
        synthesize_paths(tmp_path / "run", [str(scan)], out, settings=words, device="cpu", force=True)
        made, given = nib.load(out), nib.load(scan)
        assert int(made.header["datatype"]) == 128
        assert made.shape == given.shape
        assert np.array_equal(made.affine, given.affine)
        assert made.header["descrip"].tobytes().startswith(b"SYNTHETIC cryo")
    assert '"Units": "RGB"' in (tmp_path / "coloured.json").read_text()


def test_without_a_segmentation_weight_no_labels_are_needed(bodies_on_disk, tmp_path):
    """As with a body that nobody has labelled."""
    raw, _ = bodies_on_disk
    bare = tmp_path / "raw"
    for person in ("sub-001", "sub-002", "sub-003"):
        (bare / person).mkdir(parents=True)
        for name in ("T1w", "cryo", "mask"):
            (bare / person / f"{name}.nii.gz").write_bytes((raw / person / f"{name}.nii.gz").read_bytes())
    dataset = prepare(bare, tmp_path / "prepared", PrepareSettings())
    own = {"name": "colorization", "allow_random": True, "segmenter_width": 4, **THIN}
    with pytest.raises(InputError, match="label"):
        train(tiny(dataset, own), tmp_path / "labelled", device="cpu")
    train(tiny(dataset, {**own, "segmentation_weight": 0.0}), tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "evaluation.csv").is_file()


def test_z_scores_are_refused(bodies_on_disk, tmp_path):
    raw, _ = bodies_on_disk
    dataset = prepare(raw, tmp_path / "prepared", PrepareSettings(intensity={"T1w": "zscore"}))
    own = {"name": "colorization", "segmentation_weight": 0.0, **THIN}
    words = r"T1w is normalised by z-score; set data\.prepare\.intensity\.T1w = 'percentile'"
    with pytest.raises(RecipeError, match=words):
        train(tiny(dataset, own), tmp_path / "run", device="cpu")


@pytest.mark.parametrize("shape", [(22, 27, 3), (25, 30, 2)])
def test_a_size_that_is_no_multiple_of_four_is_padded_and_cut_back(shape):
    """A slice that fills no whole tile: what is asked of the networks is it with black around it, and no more."""
    method = small().eval()
    rng = np.random.default_rng(0)
    mri = rng.uniform(0, 900, (1, *shape)).astype(np.float32)
    fits = {"T1w": IntensityFit("percentile", 450.0, 450.0, -1.0, 1.0)}
    whole = tuple(-(-n // 4) * 4 for n in shape[:2])
    seen = []
    colour = method.encoder.forward
    method.encoder.forward = lambda image: seen.append(image.shape[2:]) or colour(image)
    how = Translation(method, TASK, Sampling(size=shape[:2]), InferenceSettings(), -1.0)
    made = predict(how, Scan({"T1w": mri}, fits, np.ones(shape, dtype=bool), "a"))
    assert made.shape == (3, *shape)
    assert set(seen) == {whole}
    rows, columns = ((n - own) // 2 for n, own in zip(whole, shape[:2], strict=True))
    for z in range(shape[2]):
        padded = np.zeros((1, 1, *whole), np.float32)
        padded[0, 0, rows : rows + shape[0], columns : columns + shape[1]] = mri[0, ..., z] / 900
        with torch.no_grad():
            told = 2 * method.colour(torch.from_numpy(padded))[0] - 1
        told = told[0, :, rows : rows + shape[0], columns : columns + shape[1]].numpy()
        assert np.abs(made[..., z] - told).max() < 1e-4


# Learning


@pytest.fixture(scope="module")
def judged():
    """A segmenter that has learnt eight cryosections, as the pre-training leaves it."""
    batch = bodies()
    torch.manual_seed(0)
    arguments = {"labels": LABELS, "width": 16}
    teacher = registry.build("segmentation", Task(sources=("cryo",), targets=("T1w",)), arguments)
    learn(teacher, replace(batch, source=batch.target, target=batch.source), 80, rate=3e-3)
    return teacher


@pytest.mark.slow
def test_it_learns_structure_colour_and_background(judged):
    """Eight slices of 64 × 64 in 35 steps, all terms on."""
    batch = bodies()
    c = (batch.target + 1) / 2
    ids = batch.labels[:, 0].long()
    torch.manual_seed(0)
    arguments = {"width": 32, "labels": LABELS, "segmenter_width": 16, "allow_random": True, "critic_width": 16}
    method = registry.build("colorization", TASK, arguments)
    method.segmenter.network.load_state_dict(judged.network.state_dict())
    assert (method.segmenter(c).argmax(1) == ids).float().mean() > 0.95

    @torch.no_grad()
    def look():
        coloured, pseudo = method.eval().colour((batch.source + 1) / 2)
        likeness = ssim(coloured.mean(1, keepdim=True), (batch.source + 1) / 2, data_range=1.0, padding="valid")
        pairs = zip(coloured, c, strict=True)
        colour = np.mean(
            [abs(colourfulness(one[..., None]) - colourfulness(two[..., None])) for one, two in pairs]
        )
        right = (method.segmenter(pseudo).argmax(1) == ids).float().mean()
        air = coloured[(ids == 0)[:, None].expand_as(coloured)].mean()
        return likeness.item(), float(colour), right.item(), air.item()

    before = look()
    learn(method, batch, 35)
    after = look()
    majority = max((ids == k).float().mean().item() for k in LABELS)
    assert after[0] > before[0] + 0.2
    assert after[1] < 0.5 * before[1]
    assert after[2] > majority + 0.15
    assert after[3] < 0.15


def test_the_page_says_what_is_not_reproduced():
    page = (ROOT / "docs" / "methods" / "colorization.md").read_text()
    for word in ("not public", "0.863", "0.866", "0.901", "not re-measured"):
        assert word in page
