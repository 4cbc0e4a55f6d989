"""Near-duplicates are found, whatever was done to them."""

import numpy as np
import pytest

from hf_cifar.data.duplicates import count_exact_duplicates, find_near_duplicates
from hf_cifar.data.store import read_images


@pytest.fixture(scope="module")
def images(data):
    return read_images(data.train)


def brighten(image):
    return (image * 0.6 + 60).astype(np.uint8)


def shift(image):
    return np.roll(image, 1, axis=1)


def add_noise(image):
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("change", [brighten, shift, add_noise, lambda image: image])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_changed_copy_is_the_first_pair(images, change, is_mirrored):
    queries = images[:300].copy()
    queries[17] = change(images[700, :, ::-1] if is_mirrored else images[700])
    (pair,) = find_near_duplicates(queries, images[300:], top=1)
    assert (pair.query, pair.reference, pair.is_mirrored) == (17, 400, is_mirrored)
    assert pair.similarity > 0.9


def test_every_query_has_its_pair_by_falling_similarity(images):
    pairs = find_near_duplicates(images[:50], images[50:])
    assert sorted(pair.query for pair in pairs) == list(range(50))
    similarities = [pair.similarity for pair in pairs]
    assert similarities == sorted(similarities, reverse=True)
    assert all(-1 <= similarity <= 1 for similarity in similarities)


def test_within_one_set_a_pair_is_found_once(images):
    queries = images[:200].copy()
    queries[150] = queries[20, :, ::-1]
    pairs = find_near_duplicates(queries)
    assert (pairs[0].query, pairs[0].reference, pairs[0].is_mirrored) == (20, 150, True)
    assert all(pair.query < pair.reference for pair in pairs)
    assert len(pairs) == 199


def test_chunks_change_nothing(images, monkeypatch):
    whole = find_near_duplicates(images[:100], images[100:])
    monkeypatch.setattr("hf_cifar.data.duplicates._CHUNK_BYTES", 100_000)
    chunked = find_near_duplicates(images[:100], images[100:])
    assert [(a.query, a.reference) for a in whole] == [(b.query, b.reference) for b in chunked]


def test_tables_are_searched_as_arrays_are(data, images):
    assert find_near_duplicates(data.test, data.train) == find_near_duplicates(read_images(data.test), images)


@pytest.mark.parametrize("size", [8, 45])
def test_any_image_size(size):
    images = np.random.default_rng(0).integers(0, 256, (40, size, size, 3), dtype=np.uint8)
    (pair,) = find_near_duplicates(images[5:6, :, ::-1], images, top=1)
    assert (pair.reference, pair.is_mirrored) == (5, True)


def test_plain_images_do_no_harm():
    plain = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    assert all(np.isfinite(pair.similarity) for pair in find_near_duplicates(plain, plain))


def test_exact_duplicates_are_counted(images):
    queries = images[:10].copy()
    queries[0, 0, 0, 0] ^= 1  # one bit
    assert count_exact_duplicates(queries, images) == 9
    assert count_exact_duplicates(images[:10], images[10:]) == 0
