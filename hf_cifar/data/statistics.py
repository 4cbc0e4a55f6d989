"""Owns channel statistics of a training set, which a network from scratch is normalised by."""

import datasets
import numpy as np

from .constants import MEAN, STD
from .store import iterate_images
from .transforms import Preprocessing


def measure_channels(table: datasets.Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels, for values in [0, 1], rounded to 4 digits."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    values = np.arange(256) / 255
    for images in iterate_images(table):
        for channel in range(3):
            histogram = np.bincount(images[..., channel].reshape(-1), minlength=256)
            total[channel] += histogram @ values
            squares[channel] += histogram @ values**2
        count += images.size // 3
    mean = total / count
    # A dataset of one colour would be divided by zero.
    std = np.maximum(np.sqrt(np.maximum(squares / count - mean**2, 0)), 1e-4)
    return tuple(mean.round(4).tolist()), tuple(std.round(4).tolist())


def choose_preprocessing(name: str, train: datasets.Dataset, image_size: int) -> Preprocessing:
    """What a network from scratch gets: CIFAR-10's published statistics, or those of the images it is trained on."""
    mean, std = (MEAN, STD) if name in ("cifar10", "cifar10-sample") else measure_channels(train)
    return Preprocessing(image_size, mean, std)
