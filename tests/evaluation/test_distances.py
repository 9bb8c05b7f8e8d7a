"""Deep scores in the passport: from weights in a file, on declared slices; absent without one."""

import math

import pytest
import torch
from safetensors.torch import save_file

from transmodal.data.modality import modality
from transmodal.errors import InputError
from transmodal.evaluation import Comparison, passport_table, take_passport
from transmodal.evaluation.features import SLICES, TAPS, load_extractor, look
from transmodal.evaluation.passport import cohort
from transmodal.metrics.deep import kid, lpips
from transmodal.nn.features import _PLACES, LAYERS, VGG19


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in torchvision's layout; what is in it does not matter here."""
    network = VGG19(taps=TAPS, allow_random=True)
    prefix, places = _PLACES["torchvision"]
    named = dict(zip(LAYERS, places, strict=True))
    state = {f"{prefix}{named[n[-3:]]}.{n[:-3]}": p.data for n, p in network.named_parameters()}
    path = tmp_path_factory.mktemp("weights") / "vgg.safetensors"
    save_file(state, path)
    return path


def pair(depth=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand((1, 32, 32, depth), generator=generator, dtype=torch.float64)
    mask = torch.zeros(32, 32, depth, dtype=torch.bool)
    mask[4:28, 4:28, 2:-1] = True
    noise = torch.randn(reference.shape, generator=generator, dtype=torch.float64)
    return Comparison(reference + 0.2 * noise, reference, mask, None, modality("FA"))


def test_lpips_is_that_of_the_slices_in_the_window(weights):
    network, c = load_extractor(weights), pair(depth=9)  # 6 slices in the mask: all are taken
    seen = look(c, network)
    assert seen.score.n == 6
    images = [torch.where(c.mask, v.clamp(0, 1) * 2 - 1, -1.0)[..., 2:8].movedim(3, 0) for v in
              (c.prediction, c.reference)]  # fmt: skip
    expected = lpips(network(images[0]), network(images[1])).mean().item()
    assert seen.score.value == pytest.approx(expected, rel=1e-5)
    assert "extractor=VGG-19/relu1_2+" in seen.score.convention
    assert seen.origin.startswith("VGG-19 (torchvision): vgg.safetensors, sha256 ")


def test_fid_and_kid_are_over_all_cases(weights):
    network = load_extractor(weights)
    passports = [
        take_passport(pair(seed=seed), case=str(seed), conventions=[*_features()], extractor=network)
        for seed in (0, 1)
    ]
    rows = {row.metric: row for row in cohort(passports)}
    assert rows["KID"].n == 2 * SLICES
    assert rows["KID"].case == "(all)"
    stacked = [torch.cat([getattr(p.seen, side) for p in passports]) for side in ("prediction", "reference")]
    assert rows["KID"].value == kid(*stacked)
    assert math.isnan(rows["FID"].value), "32 slices do not determine 512 features"
    text = passport_table(passports)
    assert "| features | FID | nan |" in text
    assert "needs more slices than its 512 features" in text
    assert "Features: VGG-19 (torchvision): vgg.safetensors, sha256 " in text


def _features():
    from transmodal.evaluation import CONVENTIONS

    return (CONVENTIONS["features"], CONVENTIONS["fa"])


def test_without_a_network_they_are_absent_and_never_random(tmp_path):
    passport = take_passport(pair())
    assert "no network is named" in passport.absent["features"]
    assert cohort([passport]) == []
    with pytest.raises(InputError, match=r"gone\.pth: the weights 'vgg19' are not there"):
        load_extractor(tmp_path / "gone.pth")
