import pytest
import torch
from torch import nn

from transmodal.errors import InputError
from transmodal.losses.perceptual import perceptual
from transmodal.nn.features import VGG19
from transmodal.nn.pretrained import Pretrained, frozen_networks, origins

CONFIG = [64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512]
"""VGG-19 up to the first convolution of the fourth block, as torchvision and others write it."""


def torchvision_layout():
    """``vgg19().features`` up to relu4_1, with small random weights."""
    layers, cin = [], 3
    for entry in CONFIG:
        if entry == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(cin, entry, 3, padding=1), nn.ReLU()]
            cin = entry
    return nn.Sequential(*layers)


def normalised_layout():
    """The network of vgg_normalised.pth up to relu4_1: reflection, and pooling that rounds up."""
    layers, cin = [nn.Conv2d(3, 3, 1)], 3
    for entry in CONFIG:
        if entry == "M":
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        else:
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(cin, entry, 3), nn.ReLU()]
            cin = entry
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def torchvision_file(tmp_path_factory):
    torch.manual_seed(0)
    network = torchvision_layout()
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save({f"features.{k}": v for k, v in network.state_dict().items()}, path)
    return network, path


@pytest.fixture(scope="module")
def normalised_file(tmp_path_factory):
    torch.manual_seed(1)
    network = normalised_layout()
    path = tmp_path_factory.mktemp("weights") / "vgg_normalised.pth"
    torch.save(network.state_dict(), path)
    return network, path


def sha(path):
    from transmodal.nn.pretrained import digest

    return digest(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_torchvisions_network(torchvision_file, channels):
    network, path = torchvision_file
    vgg = VGG19(taps=("relu1_1", "conv2_1", "relu4_1"), weights=str(path), sha256=sha(path))
    vgg.load_weights()
    image = torch.rand(2, channels, 36, 41) * 2 - 1
    x = ((image + 1) / 2).expand(-1, 3, -1, -1)
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean.view(3, 1, 1)) / sd.view(3, 1, 1)
    expected = [network[:2](x), network[:6](x), network(x)]
    for made, wanted in zip(vgg(image), expected, strict=True):
        torch.testing.assert_close(made, wanted)


def test_equals_the_normalised_network(normalised_file):
    network, path = normalised_file
    taps = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "relu4_1")
    vgg = VGG19(variant="normalised", taps=taps, given="raw", weights=str(path))
    vgg.load_weights()
    image = torch.rand(1, 3, 37, 40) * 2 - 1
    made = vgg(image)
    places = [i for i, layer in enumerate(network) if isinstance(layer, nn.Conv2d)][1:]
    for tap, place in zip(made, [places[0], places[2], places[4], places[8], None], strict=True):
        torch.testing.assert_close(tap, network(image) if place is None else network[: place + 1](image))
    assert sha(path) in vgg.origin


def test_weights_of_another_layout_are_refused(normalised_file, torchvision_file):
    vgg = VGG19(weights=str(normalised_file[1]), sha256=sha(normalised_file[1]))
    with pytest.raises(InputError, match=r"features\.0\.weight should be \[64, 3, 3, 3\], but is missing"):
        vgg.load_weights()
    deeper = VGG19(taps=("relu5_1",), weights=str(torchvision_file[1]), sha256=sha(torchvision_file[1]))
    with pytest.raises(InputError, match=r"features\.21\.weight should be .* missing"):
        deeper.load_weights()


def test_the_published_digest_is_demanded_of_a_torch_file(torchvision_file):
    with pytest.raises(InputError, match="dcbb9e9d… is expected"):
        VGG19(weights=str(torchvision_file[1])).load_weights()


def test_without_weights_nothing_runs_unless_random_ones_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSMODAL_CACHE", str(tmp_path))
    missing = str(tmp_path / "none.pth")
    vgg = VGG19(taps=("relu1_1",), weights=missing)
    with pytest.raises(InputError, match=r"none\.pth: the weights 'vgg19' are not there"):
        vgg.find_weights()
    with pytest.raises(InputError, match="no weights yet"):
        vgg(torch.zeros(1, 1, 8, 8))
    # A file that somebody named is meant, whatever is allowed.
    with pytest.raises(InputError, match="are not there"):
        VGG19(taps=("relu1_1",), weights=missing, allow_random=True).load_weights()
    random = VGG19(taps=("relu1_1",), allow_random=True)
    random.load_weights()
    assert "RANDOM" in random.origin
    again = VGG19(taps=("relu1_1",), allow_random=True)
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(random(image)[0], again(image)[0]), "the same random numbers always"


def test_it_is_frozen_and_in_no_checkpoint():
    vgg = VGG19(taps=("relu1_1",), allow_random=True)
    holder = nn.Sequential(nn.Conv2d(1, 1, 1), vgg)
    holder.train()
    assert not vgg.training
    assert isinstance(vgg, Pretrained)
    assert frozen_networks(holder) == [vgg]
    assert "RANDOM" in origins(holder)[0]
    assert all(not p.requires_grad for p in vgg.parameters())
    assert set(holder.state_dict()) == {"0.weight", "0.bias"}
    holder.load_state_dict(holder.state_dict())


@pytest.mark.parametrize("tap", ["relu6_1", "pool1", "conv3_9", ""])
def test_taps_have_names(tap):
    with pytest.raises(ValueError, match="name layers such as"):
        VGG19(taps=(tap,), allow_random=True)


def test_perceptual_is_the_sum_of_squared_differences():
    vgg = VGG19(taps=("relu1_1", "relu2_1"), allow_random=True)
    truth = torch.rand(2, 1, 16, 16)
    made = torch.rand(2, 1, 16, 16, requires_grad=True)
    assert perceptual(vgg, truth, truth) == 0
    value = perceptual(vgg, made, truth)
    expected = sum(((a - b) ** 2).mean() for a, b in zip(vgg(made), vgg(truth), strict=True))
    torch.testing.assert_close(value, expected)
    value.backward()
    assert (made.grad != 0).any()


def test_features_are_float32_under_mixed_precision():
    vgg = VGG19(taps=("relu2_1",), allow_random=True)
    image = torch.rand(1, 1, 16, 16)
    exact = vgg(image)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(vgg(image)[0], exact)
