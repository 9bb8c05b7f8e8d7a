import pytest
import torch

from transmodal.nn.history import ImagePool


def numbered(*numbers):
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1)


def values(images):
    return images.flatten().tolist()


def test_a_pool_returns_what_it_stores_until_it_is_full():
    pool = ImagePool(3)
    assert values(pool(numbered(1, 2))) == [1, 2]
    assert values(pool(numbered(3))) == [3]
    assert values(pool.images) == [1, 2, 3]


def test_a_full_pool_plays_as_a_list_would():
    torch.manual_seed(3)
    pool = ImagePool(4)
    got = [value for i in range(50) for value in values(pool(numbered(2 * i, 2 * i + 1)))]
    torch.manual_seed(3)
    stored, expected = [], []
    for number in range(100):
        if len(stored) < 4:
            stored.append(number)
            expected.append(number)
        elif torch.rand(()).item() < 0.5:
            expected.append(number)
        else:
            place = torch.randint(4, ()).item()
            expected.append(stored[place])
            stored[place] = number
    assert got == expected
    old = sum(value != number for number, value in enumerate(got))
    assert 30 < old < 66, "about half of them come from the pool"


def test_what_was_handed_out_does_not_change_later():
    torch.manual_seed(0)
    pool = ImagePool(1)
    pool(numbered(-1))
    handed = [pool(numbered(i)) for i in range(20)]
    before = [values(image) for image in handed]
    for i in range(20, 40):
        pool(numbered(i))
    assert [values(image) for image in handed] == before


@pytest.mark.parametrize("filled", [0, 2, 5])
def test_a_loaded_pool_goes_on_where_the_saved_one_stopped(filled):
    torch.manual_seed(1)
    pool = ImagePool(3)
    for i in range(filled):
        pool(numbered(i))
    fresh = ImagePool(3)
    fresh(numbered(99))
    fresh.load_state_dict(pool.state_dict())
    assert torch.equal(fresh.images, pool.images)
    for i in range(20):
        torch.manual_seed(i)
        expected = pool(numbered(100 + i))
        torch.manual_seed(i)
        assert torch.equal(fresh(numbered(100 + i)), expected)


def test_images_come_without_gradients_and_in_their_own_precision():
    pool = ImagePool(1)
    image = torch.full((1, 1, 2, 2), 0.1, dtype=torch.bfloat16, requires_grad=True)
    out = pool(image * 3)
    assert not out.requires_grad
    assert out.dtype == torch.bfloat16
    assert pool.images.dtype == torch.float32
    torch.manual_seed(0)
    for _ in range(5):
        assert torch.equal(pool(image * 3), out)


def test_a_pool_of_none_returns_what_came():
    pool = ImagePool(0)
    assert values(pool(numbered(1, 2, 3))) == [1, 2, 3]
    assert len(pool.images) == 0
    with pytest.raises(ValueError, match="-1 images"):
        ImagePool(-1)
