"""The benchmark compares like with like."""

import torch

from hf_cifar.benchmarks.data import encode_images, make_our_loader, make_usual_loader, summarize, track_memory


def test_both_pipelines_do_the_same_to_an_image(data):
    """Apart from random flips and shifts: they have the same values, shapes and types."""
    encoded = encode_images(data.train, 20)
    assert len(encoded) == 20
    torch.manual_seed(0)
    for size, tolerance in ((32, 0.6), (64, 0.02)):  # a shift changes an image's mean, a flip does not
        usual = next(iter(make_usual_loader(encoded, size, 20)))
        ours = next(iter(make_our_loader(data.train.select(range(20)), size, 20)))
        assert usual["pixel_values"].shape == ours["pixel_values"].shape == (20, 3, size, size)
        assert usual["pixel_values"].dtype == ours["pixel_values"].dtype
        assert sorted(usual["labels"].tolist()) == sorted(ours["labels"].tolist())
        means = [batch["pixel_values"].mean((1, 2, 3)).sort().values for batch in (usual, ours)]
        torch.testing.assert_close(*means, atol=tolerance, rtol=0)


def test_a_summary_is_median_and_range():
    assert summarize([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_memory_is_what_was_added():
    with track_memory() as get_memory:
        block = torch.ones(30_000_000)
    assert 100e6 < get_memory() < 200e6 and block.sum() > 0
