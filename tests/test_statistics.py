"""Channel statistics against numpy, and CIFAR-10's published ones."""

import numpy as np

from hf_cifar.data.constants import MEAN, STD
from hf_cifar.data.statistics import choose_preprocessing, measure_channels
from hf_cifar.data.store import read_images


def test_statistics_are_numpys(data):
    mean, std = measure_channels(data.train)
    pixels = read_images(data.train) / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 1, 2)), atol=6e-5)
    np.testing.assert_allclose(std, pixels.std((0, 1, 2)), atol=6e-5)


def test_cifar10_has_its_own_and_other_data_are_measured(data):
    assert (choose_preprocessing("cifar10", data.train, 32).mean, choose_preprocessing("cifar10", None, 32).std) == (
        MEAN,
        STD,
    )
    assert choose_preprocessing("pets", data.train, 32).mean == measure_channels(data.train)[0]
