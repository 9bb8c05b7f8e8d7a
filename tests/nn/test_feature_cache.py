import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from transmodal.errors import InputError
from transmodal.nn import encoder as module
from transmodal.nn.encoder import PretrainedEncoder
from transmodal.nn.feature_cache import FeatureCache, _checksum
from transmodal.nn.sam import sam


def image(count=2, seed=0, size=32):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def encoder(keep="float32", size=64, taps="blocks", weights=""):
    made = PretrainedEncoder(sam("sam_tiny", taps), size=size, allow_random=True, keep=keep, weights=str(weights))
    made.load_weights()
    return made


def remembering(folder, **arguments):
    made = encoder(**arguments)
    made.remember(folder)
    return made


def files(folder):
    return sorted(folder.glob("*/*/*.npy"))


def test_cached_is_uncached_bit_for_bit(tmp_path):
    plain, made, x = encoder(keep=None), remembering(tmp_path), image()
    for _ in range(2):
        for one, two in zip(made(x), plain(x), strict=True):
            assert torch.equal(one.values, two.values)
            assert one.stride == two.stride
            assert one.values.stride() == two.values.stride(), "the layout too, or what follows rounds differently"
    assert (made.cache.misses, made.cache.hits) == (2, 2)
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("taps", ["blocks", "neck"])
def test_half_precision_is_close_and_takes_half(tmp_path, taps):
    plain, made, x = encoder(keep=None, taps=taps), remembering(tmp_path, keep="float16", taps=taps), image()
    first, second = made(x), made(x)
    for one, two, exact in zip(first, second, plain(x), strict=True):
        assert torch.equal(one.values, two.values), "the first epoch equals the second"
        wanted = exact.values
        assert not torch.equal(one.values, wanted)
        assert (one.values - wanted).abs().max() <= 2e-3 * wanted.std()
    exact = remembering(tmp_path, taps=taps)
    assert exact.cache.bytes_per_image == 2 * made.cache.bytes_per_image
    assert files(tmp_path)[0].stat().st_size == made.cache.bytes_per_image + 128 + 4


def test_another_process_finds_them(tmp_path):
    x = image()
    first = remembering(tmp_path)(x)
    again = remembering(tmp_path)
    again._look = lambda pixels: pytest.fail("computed again")
    for one, two in zip(first, again(x), strict=True):
        assert torch.equal(one.values, two.values)


def test_whatever_changes_features_is_computed_anew(tmp_path, monkeypatch):
    x = image(1)

    def misses(**arguments):
        made = remembering(tmp_path, **arguments)
        made(arguments.pop("given", x))
        return made.cache.misses

    assert misses() == 1
    assert misses() == 0
    assert misses(size=32) == 1
    assert misses(taps="neck") == 1
    assert misses(keep="float16") == 1
    weights = tmp_path / "mine.safetensors"
    network = sam("sam_tiny", "neck").build(64)
    save_file({f"vision_encoder.{k}": v.contiguous() for k, v in network.state_dict().items()}, weights)
    assert misses(weights=weights) == 1
    assert misses(weights=weights) == 0
    with torch.no_grad():
        network.layers[0].mlp.lin1.bias.add_(1e-3)
    save_file({f"vision_encoder.{k}": v.contiguous() for k, v in network.state_dict().items()}, weights)
    assert misses(weights=weights) == 1, "another digest"
    monkeypatch.setattr(module, "PREPROCESSING", 99)
    assert misses() == 1
    monkeypatch.undo()
    assert misses() == 0
    made = remembering(tmp_path)
    changed = x.clone()
    changed[0, 0, 3, 3] = torch.nextafter(changed[0, 0, 3, 3], torch.tensor(2.0))
    for other in (changed, x.flip(-1), x.expand(-1, 3, -1, -1), x[..., :16, :].contiguous()):
        before = made.cache.misses
        made(other)
        assert made.cache.misses == before + 1


def test_another_draw_of_random_weights_has_a_cache_of_its_own(tmp_path):
    first, other = encoder(), encoder()
    with torch.no_grad():
        other.network.layers[0].mlp.lin1.bias.add_(1e-3)
    assert first.remember(tmp_path).folder != other.remember(tmp_path).folder
    assert encoder().remember(tmp_path).folder == first.cache.folder


@pytest.fixture
def said(monkeypatch):
    """Warnings of the cache."""
    found = []
    monkeypatch.setattr("transmodal.nn.feature_cache.warn", found.append)
    return found


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "payload", "header"])
def test_a_damaged_file_is_computed_anew(tmp_path, said, damage):
    made, x = remembering(tmp_path), image(1)
    wanted = made(x)[0].values
    (path,) = files(tmp_path)
    content = path.read_bytes()
    made = remembering(tmp_path)
    if damage == "other":
        np.save(path, np.zeros(3, np.float32))
    elif damage in ("payload", "header"):
        start = 1000 if damage == "payload" else 20
        path.write_bytes(content[:start] + bytes(300) + content[start + 300 :])
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    for _ in range(2):
        assert torch.equal(made(x)[0].values, wanted)
    assert path.read_bytes() == content
    assert (made.cache.misses, made.cache.hits) == (1, 1)
    assert len(said) == 1
    assert f"{path}: is damaged" in said[0]


def test_a_file_is_verified_once_in_a_process(tmp_path, monkeypatch):
    made, x = remembering(tmp_path), image(1)
    made(x)
    again, sums = remembering(tmp_path), []
    monkeypatch.setattr(f"{FeatureCache.__module__}._checksum", lambda c, own=_checksum: sums.append(1) or own(c))
    for _ in range(5):
        again(x)
    assert (again.cache.hits, len(sums)) == (5, 1)


def test_what_half_precision_costs_is_said_once(tmp_path, said):
    """It rounds to a share of each value: one loud channel is off by more than the deviation allows."""
    values = torch.randn(1, 768, 4, 4, generator=torch.Generator().manual_seed(0)).clamp(-4, 4)
    cache = FeatureCache(tmp_path, {"encoder": "x"}, [(768, 4, 4)], "float16")
    cache.recall(torch.zeros(1, 1, 2, 2), lambda x: [values])
    assert said == []
    values[:, 5] *= 60
    for seed in range(2):
        cache.recall(image(1, seed), lambda x: [values])
    (sentence,) = said
    assert "up to 0.0" in sentence
    assert "encoder_cache = 'float32'" in sentence
    exact = FeatureCache(tmp_path, {"encoder": "x"}, [(768, 4, 4)], "float32")
    exact.recall(image(1), lambda x: [values])
    assert len(said) == 1


def test_files_are_whole_or_not_at_all(tmp_path, monkeypatch):
    made, x = remembering(tmp_path), image(1)
    monkeypatch.setattr("os.replace", lambda a, b: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left"):
        made(x)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".json"]


def test_what_it_is_stands_beside_it(tmp_path):
    made = remembering(tmp_path, keep="float16")
    facts = json.loads((made.cache.folder / "about.json").read_text())
    assert facts["encoder"] == "sam_tiny"
    assert facts["weights"].startswith("random; drawn, sha256 ")
    assert facts["shapes"] == [[48, 4, 4], [48, 4, 4]]
    assert facts["precision"] == "float16"
    assert facts["device"] == f"cpu: {torch.backends.cpu.get_cpu_capability()}"
    assert {"size", "taps", "preprocessing", "versions"} <= set(facts)


def test_the_need_is_told_before(tmp_path, monkeypatch):
    made = remembering(tmp_path)
    assert made.cache.bytes_per_image == 2 * 48 * 16 * 4
    said = made.cache.demand(1000)
    assert "up to 1000 images need 6.1 MB" in said
    assert "0.0 MB are there already" in said
    made(image())
    assert "0.0 MB" in made.cache.demand(1000)
    with pytest.raises(InputError, match="make room"):
        made.cache.demand(10**14)


def test_values_that_half_precision_cannot_hold_are_refused(tmp_path):
    cache = FeatureCache(tmp_path, {"encoder": "x"}, [(1, 2, 2)], "float16")
    with pytest.raises(InputError, match=r"reach 7e\+04, which half precision cannot hold"):
        cache.recall(torch.zeros(1, 1, 2, 2), lambda x: [x + 7e4])


def test_one_that_learns_keeps_nothing():
    with pytest.raises(ValueError, match="cannot be kept"):
        PretrainedEncoder(sam("sam_tiny"), allow_random=True, frozen=False, keep="float32")


def test_without_the_wish_nothing_is_kept(tmp_path):
    assert encoder(keep=None).remember(tmp_path) is None
    assert not list(tmp_path.iterdir())
