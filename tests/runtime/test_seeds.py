import torch

from dmws_lite.runtime.seeds import generator


def draw(*numbers: int) -> torch.Tensor:
    return torch.rand(100, generator=generator(*numbers))


def test_draws_depend_on_all_numbers_and_their_order_only():
    torch.manual_seed(1)
    first = draw(3, 5)
    torch.manual_seed(2)
    assert torch.equal(first, draw(3, 5))
    for other in [(5, 3), (3,), (3, 5, 1), (3, 6)]:
        assert not torch.equal(first, draw(*other))


def test_a_generator_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    draw(7)
    assert torch.equal(before, torch.get_rng_state())
