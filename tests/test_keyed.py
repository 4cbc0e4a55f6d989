"""Keyed randomness: pure, uniform, and different for every part of the key."""

import torch

from hf_cifar.data.keyed import draw_bits, draw_integers, draw_permutation, draw_uniform

INDICES = torch.arange(20_000)


def test_a_draw_depends_on_key_and_index_only():
    together = draw_uniform(INDICES, 1, 2, 3)
    shuffled = torch.randperm(len(INDICES))
    assert torch.equal(draw_uniform(INDICES[shuffled], 1, 2, 3), together[shuffled])
    assert torch.equal(draw_uniform(INDICES[7:8], 1, 2, 3), together[7:8])


def test_known_values_never_change():
    # Augmentation, shuffling and the split of published runs hang on these.
    assert draw_bits(torch.tensor([0, 1, 49_999]), 0, 4).tolist() == [
        8333215590271426434,
        3823289275559712530,
        8929375525254961578,
    ]


def test_uniform_covers_the_unit_interval_evenly():
    draws = draw_uniform(INDICES, 0)
    assert 0 <= draws.min() and draws.max() < 1
    counts = torch.histc(draws, bins=20, min=0, max=1)
    assert ((counts - 1000).abs() < 150).all()  # 5 standard deviations


def test_integers_include_both_ends_and_nothing_else():
    draws = draw_integers(INDICES, -2, 2, 5)
    assert sorted(draws.unique().tolist()) == [-2, -1, 0, 1, 2]
    assert ((torch.bincount(draws + 2) - 4000).abs() < 300).all()


def test_neighbouring_keys_are_unrelated():
    draws = [draw_uniform(INDICES, *key) for key in ((0, 1), (1, 0), (0, 0), (1, 1), (0, 1, 0))]
    correlations = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
    assert correlations.abs().max() < 0.04  # 5 standard deviations


def test_permutations_are_permutations_and_differ():
    orders = [draw_permutation(1000, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(torch.equal(order.sort().values, torch.arange(1000)) for order in orders)
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[1], orders[2])  # seed + epoch would make these equal
