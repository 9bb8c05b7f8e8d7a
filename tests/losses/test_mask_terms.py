import math

import pytest
import torch

from transmodal.losses.mask_terms import (
    effective_masks,
    feature_discarding,
    mask_correlation,
    mask_sparsity,
    soft_iou,
)


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


SITES = [[draw(2, 1, 8, 8, seed=k) for k in range(3)], [draw(2, 1, 4, 4, seed=9 + k) for k in range(3)]]
FEATURES = [[torch.randn(2, 5, *m.shape[2:], generator=torch.Generator().manual_seed(k)) for k, m in enumerate(s)]
            for s in SITES]  # fmt: skip


def same(value):
    return [[torch.full_like(m, value) for m in site] for site in SITES]


def test_sparsity_is_the_mean_over_sites_and_masks():
    expected = sum(m.mean() for site in SITES for m in site) / 6
    torch.testing.assert_close(mask_sparsity(SITES), expected)
    assert mask_sparsity(same(0.0)) == 0
    assert mask_sparsity(same(1.0)) == 1


def test_sparsity_is_linear_and_grows_with_each_mask():
    halved = [[m / 2 for m in site] for site in SITES]
    torch.testing.assert_close(mask_sparsity(halved), mask_sparsity(SITES) / 2)
    for site in range(2):
        for k in range(3):
            more = [list(s) for s in SITES]
            more[site][k] = more[site][k] + 0.1
            torch.testing.assert_close(mask_sparsity(more) - mask_sparsity(SITES), torch.tensor(0.1 / 6))


def test_a_rate_is_met_where_the_divergence_is_0():
    assert mask_sparsity(same(0.3), rate=0.3).abs() < 1e-6
    expected = 0.3 * math.log(0.3 / 0.6) + 0.7 * math.log(0.7 / 0.4)
    torch.testing.assert_close(mask_sparsity(same(0.6), rate=0.3), torch.tensor(expected), rtol=1e-5, atol=1e-7)


def energy(masks, features):
    """The formula in numpy, one number after another."""
    total = []
    for site, inputs in zip(masks, features, strict=True):
        for mask, x in zip(site, inputs, strict=True):
            values = []
            for m, sample in zip(mask.numpy(), abs(x.numpy()), strict=True):
                strength = (sample / (sample.mean() + 1e-6)).mean(axis=0)
                values.append((strength * (1 - m[0])).mean())
            total.append(sum(values) / len(values))
    return sum(total) / len(total)


def test_discarded_energy_is_the_formula():
    faces = list(zip(SITES, FEATURES, strict=True))
    assert feature_discarding(faces).item() == pytest.approx(energy(SITES, FEATURES), rel=1e-5)


def test_nothing_is_discarded_iff_masks_are_open_where_features_are():
    mask, features = torch.ones(1, 1, 4, 4), torch.randn(1, 3, 4, 4)
    features[..., 1, 2] = 0
    mask[..., 1, 2] = 0
    assert feature_discarding([([mask], [features])]) == 0
    mask[..., 0, 0] = 0.5
    assert feature_discarding([([mask], [features])]) > 0


@pytest.mark.parametrize("scale", [1e-2, 3.0, 1e4])
def test_energy_does_not_depend_on_the_scale_of_features_but_raw_does(scale):
    faces = list(zip(SITES, FEATURES, strict=True))
    scaled = [(s, [scale * x for x in f]) for s, f in faces]
    torch.testing.assert_close(feature_discarding(scaled), feature_discarding(faces), rtol=2e-4, atol=0)
    torch.testing.assert_close(
        feature_discarding(scaled, "raw"), scale * feature_discarding(faces, "raw"), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(("mode", "reaches"), [("energy", False), ("raw", True)])
def test_where_gradients_go(mode, reaches):
    mask = draw(1, 1, 6, 6).requires_grad_()
    features = torch.randn(1, 3, 6, 6, requires_grad=True)
    feature_discarding([([mask], [features])], mode).backward()
    assert (mask.grad < 0).all()
    assert (features.grad is not None) == reaches


def test_a_mask_for_each_channel_is_charged_for_its_own():
    mask, features = torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    features[:, 0] = 3
    mask[:, 0] = 0
    # Relative strengths are 1.5 and 0.5; the first channel is thrown away.
    assert feature_discarding([([mask], [features])]).item() == pytest.approx(0.75, rel=1e-5)


def test_the_best_mask_is_a_threshold():
    """Free logits keep a > 1.1 τ and drop a < 0.9 τ, τ = λ_ms / λ_fd = 0.5."""
    torch.manual_seed(0)
    features = torch.rand(1, 1, 32, 32) * 2
    strength = features / features.mean()
    logits = torch.full((1, 1, 32, 32), 2.0, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for _ in range(600):
        optimiser.zero_grad()
        mask = torch.sigmoid(logits)
        loss = feature_discarding([([mask], [features])]) + 0.5 * mask_sparsity([[mask]])
        loss.backward()
        optimiser.step()
    mask = torch.sigmoid(logits).detach()
    assert mask[strength > 0.55].mean() >= 0.99
    assert mask[strength < 0.45].mean() <= 0.01


def test_mismatch_charges_masks_where_the_image_is_wrong():
    masks = [draw(1, 1, 4, 4, seed=k).requires_grad_() for k in range(3)]
    made = torch.zeros(1, 1, 8, 8, requires_grad=True)
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., :2, :2] = 1.0
    truth[..., 4:6, 4:6] = 0.25
    value = feature_discarding([(masks, [torch.zeros(1, 2, 4, 4)] * 3)], "mismatch", made - truth)
    error = (truth.abs() / (truth.abs().mean() + 1e-6)).view(4, 2, 4, 2).mean(dim=(1, 3))
    torch.testing.assert_close(value, (sum(masks)[0, 0] / 3 * error).mean())
    value.backward()
    assert masks[0].grad[0, 0, 0, 0] > masks[0].grad[0, 0, 2, 2] > masks[0].grad[0, 0, 3, 3] == 0
    assert made.grad is None


def test_diversity_of_equal_and_of_independent_masks():
    mask = draw(2, 1, 32, 32)
    equal = [mask, mask, mask]
    assert effective_masks(equal).item() == pytest.approx(1, abs=1e-5)
    assert mask_correlation(equal).item() == pytest.approx(1, abs=1e-5)
    assert soft_iou(equal) == 1
    apart = [draw(4, 1, 64, 64, seed=k) for k in range(3)]
    assert effective_masks(apart).item() == pytest.approx(3, abs=0.02)
    assert mask_correlation(apart) < 0.03
    assert soft_iou(apart).item() == pytest.approx(0.5, abs=0.02), "E min / E max of two uniform numbers"


def test_the_effective_number_is_that_of_the_eigenvalues():
    masks = [draw(1, 1, 16, 16, seed=k) * (k + 1) for k in range(3)]
    masks[2] = masks[2] + masks[0]
    flat = torch.stack([m.flatten() for m in masks])
    eigenvalues = torch.linalg.eigvalsh(torch.cov(flat))
    torch.testing.assert_close(effective_masks(masks), eigenvalues.sum() ** 2 / eigenvalues.square().sum())


def test_masks_that_do_not_vary_are_alike():
    assert effective_masks([torch.full((1, 1, 4, 4), 0.5)] * 3) == 1


def test_masks_that_differ_only_channel_by_channel_are_not_alike():
    """Means over 96 channels of three independent masks would hardly vary, and hide what each channel does."""
    shared = torch.linspace(0, 0.5, 256).view(1, 1, 16, 16)
    masks = [shared + 0.5 * draw(1, 96, 16, 16, seed=k) for k in range(3)]
    assert effective_masks(masks).item() == pytest.approx(
        effective_masks([m[:, :1] for m in masks]).item(), rel=0.1
    )
    assert effective_masks(masks) > 1.5
    assert mask_correlation(masks).item() == pytest.approx(0.5, abs=0.01), "as much shared as own variance"
    alone = [draw(2, 8, 16, 16, seed=k) for k in range(3)]
    assert effective_masks(alone).item() == pytest.approx(3, abs=0.02)
