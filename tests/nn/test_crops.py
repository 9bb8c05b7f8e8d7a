import pytest
import torch

from transmodal.nn.crops import Crops, Region, batch_box, clean, find_region


def ellipses(size, shares, count=4):
    """Heads that fill these shares of the frame along both axes, off centre by chance."""
    x, y = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    masks = []
    for i in range(count):
        dx, dy = (torch.rand(2) - 0.5) * 2 * (1 - max(shares))
        masks.append(((x - dx) / shares[0]) ** 2 + ((y - dy) / shares[1]) ** 2 < 1 - 0.05 * i)
    return torch.stack(masks)[:, None]


FRAMES = [(0.95, 0.8), (0.67, 0.55), (0.5, 0.4)]


def test_a_head_of_few_voxels_is_found_too():
    torch.manual_seed(0)
    masks = torch.zeros(2, 1, 128, 128, dtype=torch.bool)
    masks[0, 0, 5:25, 100:110] = True
    masks[1, 0, 100:125, 5:25] = True
    cut = Crops(count=500, size=16).draw(masks.float(), find_region(masks))
    assert cut.amax(dim=(2, 3, 4)).min() > 0


def test_a_slice_with_a_last_sliver_of_head_keeps_it():
    """Fewer voxels than 1 % of the frame: dropped beside a head, kept where there is nothing else."""
    torch.manual_seed(0)
    masks = torch.zeros(2, 1, 128, 128, dtype=torch.bool)
    masks[0, 0, 60:66, 60:66] = True
    masks[1, 0, 20:60, 20:60] = masks[1, 0, 100:106, 100:106] = True
    region = find_region(masks)
    assert torch.equal(region.masks[0], masks[0])
    assert not region.masks[1, 0, 100:106, 100:106].any()
    cut = Crops(count=200, size=16).draw(masks.float(), region)
    assert cut.amax(dim=(2, 3, 4)).min() > 0


@pytest.mark.parametrize("shares", FRAMES)
def test_no_crop_is_all_background(shares):
    torch.manual_seed(0)
    empty = poor = total = 0
    for _ in range(20):
        masks = ellipses(128, shares)
        region = find_region(masks)
        cut = Crops(count=50, size=16, guard=0.25).draw(masks.float(), region)
        share = cut.mean(dim=(2, 3, 4))
        empty += int((share == 0).sum())
        poor += int((share < 0.22).sum())  # a crop's edge may lie half a voxel off what was counted
        total += share.numel()
    assert total == 4000
    assert empty == 0
    assert poor <= total // 1000


def test_without_box_and_guard_many_crops_are_background():
    torch.manual_seed(0)
    masks = ellipses(128, FRAMES[2])
    region = find_region(masks, None)
    share = Crops(count=500, size=16, guard=0.0).draw(masks.float(), region).mean(dim=(2, 3, 4))
    assert 0.3 < (share == 0).float().mean() < 0.55, "42 % in the measurement of the snapshot's sampler"


def test_one_box_holds_every_valid_voxel_and_a_margin():
    masks = torch.zeros(2, 1, 40, 50, dtype=torch.bool)
    masks[0, 0, 10:20, 5:9] = True
    masks[1, 0, 15:30, 30:49] = True
    assert batch_box(masks, 2) == ((8, 32), (3, 50))
    assert batch_box(masks, 0) == ((10, 30), (5, 49))


def test_an_empty_batch_is_the_whole_image():
    masks = torch.zeros(2, 1, 40, 50, dtype=torch.bool)
    region = find_region(masks)
    assert region.box == ((0, 40), (0, 50))
    cut = Crops(size=16).draw(torch.rand(2, 1, 40, 50), region)
    assert torch.isfinite(cut).all()


def test_holes_are_filled_and_crumbs_dropped():
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[..., 10:40, 10:40] = True
    mask[..., 20:25, 20:25] = False
    mask[..., 60:62, 60:62] = True
    expected = torch.zeros_like(mask)
    expected[..., 10:40, 10:40] = True
    assert torch.equal(clean(mask), expected)


def test_edges_are_fractions_of_the_box_and_crops_stay_inside():
    torch.manual_seed(0)
    masks = torch.ones(3, 1, 64, 96, dtype=torch.bool)
    centre, half = Crops(count=2000).places(masks)
    assert 2 * half.min() >= 1 / 8
    assert 2 * half.max() <= 1 / 4
    assert half[..., 0].std() > 0.01
    assert (half[..., 0] != half[..., 1]).any(), "both axes are drawn apart"
    assert (centre - half).min() >= 0
    assert (centre + half).max() <= 1


def test_a_crop_is_what_lies_there():
    """Of a ramp, a bilinear crop is a ramp: its values say where it was cut, its steps how large it is."""
    torch.manual_seed(3)
    ramp = torch.arange(64.0)[:, None].expand(64, 32)
    crops = Crops(count=50, size=16, guard=0.0)
    region = Region(torch.ones(1, 1, 64, 32, dtype=torch.bool), ((8, 56), (0, 32)))
    cut = crops.draw(torch.stack([ramp, torch.arange(32.0).expand(64, 32)])[None], region)
    rows, columns = cut[0, :, 0], cut[0, :, 1]
    torch.testing.assert_close(rows, rows[..., :1].expand_as(rows))
    steps = rows[:, 5:11].diff(dim=1)[..., 0]
    assert ((steps.abs() * 16 >= 48 / 8 - 1e-3) & (steps.abs() * 16 <= 48 / 4 + 1e-3)).all()
    assert 0.2 < (steps[:, 0] < 0).float().mean() < 0.8, "about half are mirrored"
    assert (columns[:, 0].diff(dim=-1) > -1e-4).all(), "along the first axis only"
    assert rows.min() >= 8
    assert rows.max() <= 55


def test_chance_comes_from_the_global_generator():
    image, masks = torch.rand(2, 1, 32, 32), torch.ones(2, 1, 32, 32, dtype=torch.bool)
    region = find_region(masks)
    torch.manual_seed(5)
    one = Crops(size=16).draw(image, region)
    torch.manual_seed(5)
    assert torch.equal(Crops(size=16).draw(image, region), one)
    assert one.shape == (2, 8, 1, 16, 16)
    assert not torch.equal(Crops(size=16).draw(image, region), one)


def test_gradients_reach_the_image_inside_the_box_only():
    torch.manual_seed(0)
    image = torch.rand(1, 1, 64, 64, requires_grad=True)
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    masks[..., 20:44, 16:40] = True
    region = find_region(masks)
    Crops(count=64, size=32).draw(image, region).sum().backward()
    (x0, x1), (y0, y1) = region.box
    inside = torch.zeros_like(masks)
    inside[..., x0:x1, y0:y1] = True
    assert (image.grad[~inside] == 0).all()
    assert (image.grad[inside] > 0).float().mean() > 0.8
