"""The linear probe is scikit-learn's, held out honestly; costs are counted as they would be by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_cifar.arguments import ModelArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.errors import UserError
from hf_cifar.evaluation import speed
from hf_cifar.evaluation.probe import probe_features, time_probe
from hf_cifar.evaluation.speed import count_saved_bytes, estimate_training_memory, measure_cost, measure_training_step
from hf_cifar.models.loading import hash_weights, load_for_fine_tuning

CPU = torch.device("cpu")


def make_features(count: int = 150, size: int = 12, signal: float = 1.0) -> tuple[torch.Tensor, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 3
    centers = signal * generator.normal(size=(3, size))
    values = 5 + (centers[labels] + generator.normal(size=(count, size))) * np.arange(1, size + 1)
    return torch.from_numpy(values.astype(np.float32)), labels


@pytest.mark.parametrize("strength", [1e-3, 1e-1])
def test_the_probe_is_scikit_learns_cross_validation(strength):
    features, labels = make_features(signal=0.5)
    probe = probe_features(features, labels, seed=3, grid=(strength,))
    reference = cross_val_score(
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)),
        features.double().numpy(),
        labels,
        cv=StratifiedKFold(5, shuffle=True, random_state=3),
    )
    assert probe.accuracy == pytest.approx(reference.mean(), abs=0.01)
    assert probe.standard_error == pytest.approx(reference.std(ddof=1) / 5**0.5, abs=0.01)
    assert probe.hits.mean() == pytest.approx(probe.accuracy) and probe.hits.shape == (150,)


def test_the_best_strength_of_the_grid_is_taken_and_everything_is_repeatable():
    features, labels = make_features(signal=0.5)
    grid = (1e-6, 1e-2)
    probe = probe_features(features, labels, grid=grid)
    alone = [probe_features(features, labels, grid=(strength,)) for strength in grid]
    assert probe.accuracy == max(each.accuracy for each in alone)
    assert np.array_equal(probe.hits, probe_features(features, labels, grid=grid).hits)


def test_noise_is_noise_and_constant_and_shaped_features_do_no_harm():
    features, labels = make_features(count=300, signal=0)
    assert abs(probe_features(features, labels).accuracy - 1 / 3) < 0.15
    features, labels = make_features(signal=3)
    padded = torch.cat([features, torch.full((150, 1), 7.0)], 1)[:, :, None, None]  # as a CNN's (N, C, 1, 1)
    assert probe_features(padded, labels).accuracy == probe_features(features, labels).accuracy > 0.9
    assert probe_features(features.bfloat16(), labels).accuracy > 0.9


def test_small_classes_get_fewer_folds_or_one_line():
    features, labels = make_features(count=9)
    assert probe_features(features, labels).hits.shape == (9,)
    with pytest.raises(UserError, match="a single image"):
        probe_features(features[:4], labels[:4])


def test_the_estimate_grows_with_the_images():
    assert 0 < time_probe(500, 10) < time_probe(5_000_000, 10)


def test_saved_bytes_are_what_autograd_keeps():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3 * 64, 50, bias=False)
            self.second = torch.nn.Linear(50, 7, bias=False)

        def forward(self, pixel_values):
            hidden = self.first(pixel_values.contiguous().flatten(1)).sigmoid()
            return type("Output", (), {"logits": self.second(hidden)})

    network = Net()
    # The input of the first layer, and the sigmoid's output, which is the input of the second; weights do not count.
    assert count_saved_bytes(network, 8, CPU, "fp32", 2) == 2 * 4 * (192 + 50)
    weights = 4 * (192 * 50 + 50 * 7)
    assert estimate_training_memory(network, 8, CPU, "fp32", 10) == 4 * weights + 10 * 4 * (192 + 50)


@pytest.mark.parametrize("checkpoint", ["tiny_vit", "tiny_convnext"])
def test_measuring_changes_nothing(checkpoint, request):
    folder = request.getfixturevalue(checkpoint)
    model, preprocessing, _ = load_for_fine_tuning(ModelArguments(str(folder)), list(CLASS_NAMES))
    before, state = hash_weights(model), torch.get_rng_state()
    cost = measure_cost(model, preprocessing.image_size, CPU, "fp32", batch_size=20, limit=0.1)
    assert measure_training_step(model, preprocessing.image_size, CPU, "fp32", 4, limit=0.05) > 0
    assert hash_weights(model) == before and torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert cost["latency_seconds"] > 0 and cost["images_per_second"] > 0 and cost["throughput_batch_size"] <= 64
    assert cost["training_memory_bytes"] > 16 * cost["parameters"] and cost["flops_per_image"] > 0


def test_training_is_timed_by_the_kernels_that_it_will_use(tiny_convnext, monkeypatch):
    model, preprocessing, _ = load_for_fine_tuning(ModelArguments(str(tiny_convnext)), list(CLASS_NAMES))
    calls = []
    monkeypatch.setattr(speed, "use_kernels", lambda model: calls.append("use"))
    monkeypatch.setattr(speed, "restore", lambda model: calls.append("restore"))
    for precision, expected in (("bf16", ["use", "restore"]), ("fp32", ["restore"])):
        calls.clear()
        measure_training_step(model, preprocessing.image_size, CPU, precision, 2, limit=0.01)
        assert calls == expected


def test_batch_statistics_are_left_alone():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(3)

        def forward(self, pixel_values):
            return type("Output", (), {"logits": self.norm(pixel_values + 1).mean((2, 3))})

    network = Net()
    count_saved_bytes(network, 8, CPU, "fp32", 2)
    assert network.norm.num_batches_tracked == 0 and not network.norm.running_mean.any()
