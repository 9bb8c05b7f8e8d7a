"""MRNet: what makes an implementation faithful, as far as no data are needed."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.intensity import IntensityFit
from transmodal.data.task import Task
from transmodal.errors import InputError, RecipeError
from transmodal.inference.model import load_model, save_model
from transmodal.inference.predict import InferenceSettings
from transmodal.losses.mask_terms import feature_discarding, mask_sparsity
from transmodal.nn.encoder import FeatureMap, PretrainedEncoder
from transmodal.nn.sam import sam
from transmodal.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from transmodal.training.loop import make_fabric
from transmodal.training.settings import TrainingSettings
from transmodal.training.turns import play, trained_parameters

TASK = Task(sources=("T1w",), targets=("CT",))
SMALL = {
    "width": 4, "encoder": "sam_tiny", "encoder_size": 64, "allow_random": True, "critic_width": 4,
    "critic_layers": 1, "zero_init": False, "mask_ramp": 0,
}  # fmt: skip


def build(task=TASK, **arguments):
    torch.manual_seed(0)
    return registry.build("mrnet", task, SMALL | arguments)


def batch(seed=0, size=(32, 32), channels=1):
    source = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    mask = torch.zeros(2, 1, *size, dtype=torch.bool)
    mask[..., 8:24, 8:24] = True
    target = -source[:, :1].flip(-1)
    return Batch(source, torch.ones(2, 1, dtype=torch.bool), mask, torch.zeros(2, 3, 2), 2, target=target)


def train(method, steps=1, given=None):
    settings = TrainingSettings(precision="fp32")
    parameters = trained_parameters(method.players())
    optimisers = {p: torch.optim.Adam(own.values(), 1e-3) for p, own in parameters.items()}
    fabric = make_fabric(settings, "cpu")
    for number in range(steps):
        step = replace(given or batch(number), step=number)
        report = play(method, [step], optimisers, parameters, dict.fromkeys(parameters, 0.0), fabric)
    return report, optimisers


def test_the_encoder_is_never_trained():
    method = build()
    before = {k: v.clone() for k, v in method.encoder.network.state_dict().items()}
    method.train()
    _, optimisers = train(method, 2)
    assert not any(module.training for module in method.encoder.modules())
    assert all(p.grad is None for p in method.encoder.parameters())
    assert all(torch.equal(before[k], v) for k, v in method.encoder.network.state_dict().items())
    held = {id(p) for o in optimisers.values() for group in o.param_groups for p in group["params"]}
    assert not held & {id(p) for p in method.encoder.parameters()}
    assert not any(key.startswith("encoder.") for key in method.state_dict())


def test_unfreezing_is_one_flag():
    method = build(encoder_frozen=False)
    before = {k: v.clone() for k, v in method.encoder.network.state_dict().items()}
    assert set(method.players()["generator"]) == {"generator", "encoder"}
    train(method)
    moved = [k for k, v in method.encoder.network.state_dict().items() if not torch.equal(before[k], v)]
    assert len(moved) == len(before)
    assert any(key.startswith("encoder.") for key in method.state_dict())


@pytest.mark.parametrize("change", [{"fuse_stages": ()}, {"fuse_mode": "none"}, {"encoder": "none"}], ids=str)
def test_without_fusion_there_is_no_encoder_and_the_unet_is_untouched(change):
    """Bit for bit the image of the fused network whose fusion is still nothing."""
    plain, fused = build(**change), build(zero_init=True)
    assert plain.encoder is None
    own = plain.generator.state_dict()
    own.update({k: v for k, v in fused.generator.state_dict().items() if k in own})
    plain.generator.load_state_dict(own)
    assert torch.equal(plain.translate(batch()), fused.translate(batch()))


@pytest.mark.parametrize("stage", [0, 1, 2, 3, 4])
def test_every_stage_can_be_ablated(stage):
    stages = tuple(s for s in range(5) if s != stage)
    method = build(fuse_stages=stages)
    features = method.features(batch().source)
    assert torch.isfinite(method.generate(batch().source, features).image).all()
    assert set(method.generator.fusion) == {str(s) for s in stages}


def test_the_encoder_is_used_after_one_step_even_if_it_began_as_nothing():
    method = build(zero_init=True)
    given = batch()
    features = method.features(given.source)
    swapped = [FeatureMap(f.values.flip(0), f.stride) for f in features]
    assert torch.equal(method.generate(given.source, features).image, method.generate(given.source, swapped).image)
    train(method)
    difference = method.generate(given.source, features).image - method.generate(given.source, swapped).image
    assert difference.abs().max() > 0


@pytest.mark.parametrize(("encoder_size", "size"), [(32, (32, 32)), (64, (48, 32)), (128, (32, 64))])
def test_the_size_of_the_encoder_is_free_of_that_of_the_slice(encoder_size, size):
    method = build(encoder_size=encoder_size)
    assert method.translate(batch(size=size)).shape == (2, 1, *size)
    assert method.features(batch(size=size).source)[0].values.shape[-1] == encoder_size // 16


def test_the_critic_sees_pairs():
    with torch.device("meta"):
        method = registry.build("mrnet", TASK, {"encoder": "none"})
        scores = method.critic(torch.zeros(1, 1, 256, 256), torch.zeros(1, 1, 256, 256))
    assert scores.shape == (1, 1, 30, 30)
    assert method.critic.receptive_field == 70
    count = sum(p.numel() for p in method.critic.parameters())
    assert count == 2_763_713, "2.76 M"


def test_turns_leave_the_other_player_alone():
    method, given = build(), batch()
    player, terms = next(iter(method.objectives(given)))
    assert player == "critic"
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None for p in method.generator.parameters())
    assert all(p.grad is not None for p in method.critic.parameters())


@pytest.mark.parametrize("still", ["generator", "critic"])
def test_a_step_of_one_player_moves_nobody_else(still):
    method = build()
    networks = {"generator": method.generator, "critic": method.critic}
    before = {name: [p.detach().clone() for p in network.parameters()] for name, network in networks.items()}
    parameters = trained_parameters(method.players())
    optimisers = {p: torch.optim.SGD(own.values(), 0.0 if p == still else 1e-2) for p, own in parameters.items()}
    play(method, [batch()], optimisers, parameters, dict.fromkeys(parameters, 0.0),
         make_fabric(TrainingSettings(precision="fp32"), "cpu"))  # fmt: skip
    for name, old in before.items():
        moved = [not torch.equal(a, b) for a, b in zip(old, networks[name].parameters(), strict=True)]
        assert any(moved) == (name != still)


@pytest.mark.parametrize("stages", [(1,), (1, 2), (3,)])
def test_what_nobody_looks_at_is_not_computed(stages):
    """The image stays what the whole encoder gives."""
    whole, cut = build(fuse_stages=(1, 2, 3, 4)), build(fuse_stages=stages)
    taps = 1 + max(cut.generator.taps.values())
    assert len(cut.encoder.network.layers) == (2, 4)[taps - 1]
    kept, every = cut.features(batch().source), whole.features(batch().source)
    assert len(kept) == taps == len(cut.encoder.channels)
    for one, other in zip(kept, every, strict=False):
        assert torch.equal(one.values, other.values)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mask_ramp": -5}, "mask_ramp = -5"),
        ({"sparsity_rate": 1.0}, "sparsity_rate = 1"),
    ],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused(wrong, words):
    with pytest.raises(RecipeError, match=words):
        build(**wrong)


def test_the_narrowest_network_has_a_pyramid():
    method = build(width=1, encoder="conv_pyramid")
    assert method.encoder.channels == (1, 2, 4, 8)
    assert method.translate(batch()).shape == (2, 1, 32, 32)


def test_no_weight_at_all_is_said():
    with pytest.raises(RecipeError, match="generator: all of its weights are 0"):
        train(build(l1_weight=0.0, gan_weight=0.0, mask_count=0))


def test_terms_are_the_weighted_sum_that_is_minimised():
    method, given = build(l1_weight=10.0, discarding_weight=2.0, sparsity_weight=0.5, gan_weight=3.0), batch()
    made = method.generate(given.source, method.features(given.source))
    sites = made.sites.values()
    game = dict(method.objectives(given))
    terms = game["generator"]
    torch.testing.assert_close(terms["l1"], 10 * (made.image - given.truth).abs().mean())
    faces = [(s.masks, s.inputs) for s in sites]
    torch.testing.assert_close(terms["discarding"], 2 * feature_discarding(faces))
    torch.testing.assert_close(terms["sparsity"], 0.5 * mask_sparsity([s.masks for s in sites]))
    fake, real = method.critic(given.source, made.image), method.critic(given.source, given.truth)
    torch.testing.assert_close(terms["adversarial"], 3 * (fake - 1).square().mean())
    expected = 0.5 * ((real - 1).square().mean() + fake.square().mean())
    torch.testing.assert_close(game["critic"]["adversarial"], expected)
    assert set(terms) == {"l1", "discarding", "sparsity", "adversarial"}


@pytest.mark.parametrize(
    ("change", "gone"),
    [({"l1_weight": 0.0}, "l1"), ({"gan_weight": 0.0}, "adversarial"), ({"discarding_weight": 0.0}, "discarding"),
     ({"sparsity_weight": 0.0}, "sparsity"), ({"mask_count": 0}, "sparsity"), ({"mask_stages": ()}, "discarding")],
    ids=str,
)  # fmt: skip
def test_a_weight_of_0_takes_the_term_out_of_the_graph(change, gone):
    method = build(**change)
    game = dict(method.objectives(batch()))
    assert gone not in game["generator"]
    assert ("critic" in game) == (change != {"gan_weight": 0.0})
    train(method)


def test_mask_terms_rise():
    terms = {}
    for step in (0, 4, 9, 50):
        method = build(mask_ramp=10)
        terms[step] = dict(method.objectives(replace(batch(), step=step)))["generator"]["sparsity"]
    for step, share in ((0, 0.1), (4, 0.5), (9, 1.0)):
        torch.testing.assert_close(terms[step], share * terms[50])


def test_the_body_can_weigh_more():
    given = batch()
    method = build(l1_weight=1.0, l1_body_weight=3.0)
    made = method.translate(given)
    weight = torch.where(given.mask, 3.0, 1.0)
    expected = (weight * (made - given.truth).abs()).sum() / weight.sum()
    torch.testing.assert_close(dict(method.objectives(given))["generator"]["l1"], expected)
    with pytest.raises(RecipeError, match="1 or more"):
        build(l1_body_weight=0.5)


CHANGES = [
    {"fuse_mode": "add"}, {"fuse_mode": "gate"}, {"fuse_mode": "film"}, {"fuse_mode": "none"},
    {"encoder": "conv_pyramid"}, {"encoder_taps": "neck"}, {"encoder_frozen": False, "encoder_taps": "neck"},
    {"mask_dual": "source"}, {"mask_dual": "site"}, {"mask_dual": "site", "mask_stages": ()},
    {"mask_refine": "none"}, {"mask_refine": "depthwise"}, {"mask_per_channel": True}, {"mask_count": 1},
    {"discarding": "mismatch"}, {"discarding": "raw"}, {"sparsity_rate": 0.5}, {"gan": "hinge"},
    *({"encoder": "conv_pyramid", "fuse_stages": stages} for stages in ((1,), (2,), (3,), (1, 2, 3))),
    *({"encoder_frozen": False, "fuse_stages": stages} for stages in ((1,), (1, 2), (4,))),
    *({"encoder": "conv_pyramid", "stages": n, "fuse_stages": (1, 2), "mask_stages": (0,)} for n in (3, 4)),
    {"fuse_stages": (0, 1, 2, 3, 4)}, {"stages": 3, "fuse_stages": (1, 2), "mask_stages": (2,)},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_ablation_takes_a_step(change):
    method = build(**change)
    before = [p.detach().clone() for p in method.generator.parameters()]
    report, _ = train(method)
    assert all(torch.isfinite(value) for value in report.values())
    moved = [not torch.equal(a, b) for a, b in zip(before, method.generator.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)


def test_readings_tell_of_collapse_saturation_and_equal_masks():
    method = build(width=8)
    train(method)
    fair = {name: value.item() for name, value in method.readings().items()}
    assert fair["mean/stage0"] == pytest.approx(0.85, abs=0.06)
    assert len(fair) == 5 * 6
    for site in ("stage0", "stage4"):
        for head in method.generator.masks[site].heads:
            torch.nn.init.zeros_(head[-1].weight)
            torch.nn.init.constant_(head[-1].bias, {"stage0": -6.0, "stage4": 6.0}[site])
    dict(method.objectives(batch()))
    read = {name: value.item() for name, value in method.readings().items()}
    assert read["closed/stage0"] == read["open/stage4"] == 1
    assert read["effective/stage0"] == read["correlation/stage0"] == 1
    assert read["overlap/stage0"] == pytest.approx(1, abs=1e-5)
    said = method.alarms(read)
    assert any("stage0 pass almost nothing" in sentence for sentence in said)
    assert any("stage4 pass almost everything" in sentence for sentence in said)
    assert any("3 masks of stage0 are nearly the same" in sentence for sentence in said)
    assert not any("stage2 pass" in sentence for sentence in said)


def smooth(count, size, seed):
    rough = torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.tanh(F.interpolate(rough, (size, size), mode="bicubic", align_corners=True))


def overfit(steps):
    method = build(width=8, gan_weight=0.0, l1_weight=1.0, discarding_weight=0.01, sparsity_weight=0.001)
    source, target = smooth(4, 64, 0), smooth(4, 64, 1)
    ones = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    given = Batch(source, torch.ones(4, 1, dtype=torch.bool), ones, torch.zeros(4, 3, 2), 2, target=target)
    features = [FeatureMap(f.values.clone(), f.stride) for f in method.features(source)]
    method.features = lambda _: features
    optimiser = torch.optim.Adam(method.generator.parameters(), 1e-3)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        terms = dict(method.objectives(given))["generator"]
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
        losses.append(terms["l1"].item())
    return losses


def test_it_overfits_four_slices_and_repeats_itself():
    losses = overfit(200)
    assert losses[-1] < 0.2 * losses[0]
    assert overfit(20) == losses[:20]


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    network = sam("sam_tiny", "neck").build(128)
    path = tmp_path / "mine.safetensors"
    save_file({f"vision_encoder.{k}": v.contiguous() for k, v in network.state_dict().items()}, path)
    return path


def test_going_on_demands_the_same_file(file, tmp_path):
    def parts():
        method = build(encoder_weights=str(file), allow_random=False)
        method.encoder.load_weights()
        optimisers = {p: torch.optim.Adam(own.values()) for p, own in trained_parameters(method.players()).items()}
        return method, optimisers, None

    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, *parts(), {}, Progress(step=2), "hash")
    assert not any(key.startswith("method.encoder") for key in load_file(path))
    assert load_checkpoint(path, *parts(), "hash")[0].step == 2
    other = sam("sam_tiny", "neck").build(128)
    save_file({f"vision_encoder.{k}": v.contiguous() for k, v in other.state_dict().items()}, file)
    with pytest.raises(InputError, match="trained with other weights"):
        load_checkpoint(path, *parts(), "hash")


def test_random_weights_can_be_had_where_there_is_a_file(file):
    drawn = build(encoder_weights="random")
    drawn.encoder.load_weights()
    assert "RANDOM" in drawn.encoder.origin
    given = build(encoder_weights=str(file))
    given.encoder.load_weights()
    assert "RANDOM" not in given.encoder.origin
    with pytest.raises(InputError, match="allow_random = true"):
        build(encoder_weights="random", allow_random=False).encoder.load_weights()
    # Somebody meant that file, whatever is allowed.
    with pytest.raises(InputError, match="not there"):
        build(encoder_weights=f"{file}.missing").encoder.load_weights()


def test_a_model_has_no_weights_of_others_and_demands_the_same_file(file, tmp_path, run):
    method = build(encoder_weights=str(file), allow_random=False)
    method.encoder.load_weights()
    train(method)
    model = replace(
        load_model(run), name="mrnet", method=method.eval(), task=TASK, inference=InferenceSettings(),
        arguments=SMALL | {"encoder_weights": str(file), "allow_random": False},
        about={"pretrained": [method.encoder.origin]},
        fits={"CT": IntensityFit("window", 1023.5, 2047.5, -1.0, 1.0)},
    )  # fmt: skip
    save_model(model, tmp_path / "model")
    with torch.no_grad():
        wanted = method.translate(batch())
    again = load_model(tmp_path / "model").method
    torch.testing.assert_close(again.translate(batch()), wanted, rtol=1e-5, atol=1e-6)
    assert all(key.startswith("generator.") for key in load_file(tmp_path / "model" / "weights.safetensors"))
    other = sam("sam_tiny", "neck").build(128)
    save_file({f"vision_encoder.{k}": v.contiguous() for k, v in other.state_dict().items()}, file)
    with pytest.raises(InputError, match="trained with other weights"):
        load_model(tmp_path / "model")
    file.unlink()
    with pytest.raises(InputError, match="copy them to that place"):
        load_model(tmp_path / "model")


def test_a_model_demands_the_random_weights_that_were_drawn(tmp_path, run, monkeypatch):
    """They are in no file: with another way to draw them it would silently be another network."""
    method = build()
    unread = method.encoder.origin
    method.encoder.load_weights()
    model = replace(
        load_model(run), name="mrnet", method=method.eval(), task=TASK, inference=InferenceSettings(),
        arguments=SMALL, about={"pretrained": [method.encoder.origin]},
        fits={"CT": IntensityFit("window", 1023.5, 2047.5, -1.0, 1.0)},
    )  # fmt: skip
    save_model(model, tmp_path / "model")
    save_model(replace(model, about={"pretrained": [unread]}), tmp_path / "old")
    load_model(tmp_path / "model")
    drawn = torch.nn.init.trunc_normal_
    monkeypatch.setattr(torch.nn.init, "normal_", lambda tensor, mean=0.0, std=1.0: drawn(tensor, mean, 1.5 * std))
    load_model(tmp_path / "old")
    with pytest.raises(InputError, match="trained with other weights"):
        load_model(tmp_path / "model")


def test_several_slices_and_contrasts_reach_the_encoder():
    for task, channels in ((Task(neighbours=3), 3), (Task(sources=("T1w", "T2w"), targets=("CT",)), 2)):
        method = build(task)
        seen = []
        method.encoder.network.patch_embed.register_forward_pre_hook(lambda _, given, s=seen: s.append(given[0]))
        method.translate(batch(channels=channels))
        first = seen[0][0] * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        first = (first + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) * 2 - 1
        assert (first[0] - first[1]).abs().max() > 0.1 if channels == 3 else torch.allclose(first[0], first[1])


def test_the_encoder_is_of_one_kind():
    assert isinstance(build().encoder, PretrainedEncoder)
    with pytest.raises(RecipeError, match="sam_vit_b"):
        build(encoder="sam_vit_c")
