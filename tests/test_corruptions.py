"""CIFAR-10-C's corruptions: each against a slow, literal implementation for one image with the same draws."""

import colorsys
import math

import numpy as np
import pytest
from PIL import Image
from scipy import fft, ndimage, stats

from hf_cifar.data.store import read_images
from hf_cifar.errors import UserError
from hf_cifar.evaluation import corruptions
from hf_cifar.evaluation.corruptions import draws
from hf_cifar.evaluation.corruptions.drops import equalize, find_edges, light_drops, measure_distance

SIZE = 32
# Where the paper's parameters for CIFAR-10 do not grow with the severity in every respect.
NOT_MONOTONE = {"glass_blur", "motion_blur", "frost", "elastic_transform", "spatter", "saturate"}


@pytest.fixture(scope="module")
def images(data) -> np.ndarray:
    """Photographs, uint8 (120, 32, 32, 3); the last is flat: white, black, grey and red quarters."""
    images = read_images(data.test)[:120].copy()
    images[-1] = 255
    images[-1, 16:, :16], images[-1, :16, 16:], images[-1, 16:, 16:] = 0, 100, (200, 0, 0)
    return images


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[np.ndarray]:
    """Two pictures of smooth noise, as frost."""
    folder = tmp_path_factory.mktemp("frost")
    for name, shape in (("a.png", (173, 204, 3)), ("b.png", (240, 167, 3))):
        noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), (4, 4, 0))
        Image.fromarray((128 + 1000 * noise).clip(0, 255).astype(np.uint8)).save(folder / name)
    return corruptions.load_frost_photos(folder)


# The references: float64 (32, 32, 3) from 0 to 255, one image, the draws of its key.


def pick(severity, first, third, fifth):
    return {1: first, 3: third, 5: fifth}[severity]


def gauss(plane, sigma, border="edge", truncate=4):
    """A Gaussian blur by its definition, in two dimensions."""
    if sigma == 0:
        return plane
    radius = int(truncate * sigma + 0.5)
    line = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return correlate(plane, np.outer(line, line) / line.sum() ** 2, border)


def correlate(plane, kernel, border="reflect"):
    radius = len(kernel) // 2
    widths = [(radius, radius)] * 2 + [(0, 0)] * (plane.ndim - 2)
    padded = np.pad(np.asarray(plane, dtype=np.float64), widths, mode=border)
    total = np.zeros(plane.shape)
    for y, x in np.ndindex(kernel.shape):
        total += kernel[y, x] * padded[y : y + SIZE, x : x + SIZE]
    return total


def gaussian_noise(x, severity, keys):
    return x + 255 * pick(severity, 0.04, 0.08, 0.1) * draws.draw_normals(keys, draws.VALUES, *x.shape)[0]


def shot_noise(x, severity, keys):
    photons = pick(severity, 500, 100, 50)
    return stats.poisson.ppf(draws.draw_uniforms(keys, draws.VALUES, *x.shape)[0], x / 255 * photons) / photons * 255


def impulse_noise(x, severity, keys):
    amount, uniform = pick(severity, 0.01, 0.03, 0.07), draws.draw_uniforms(keys, draws.VALUES, *x.shape)[0]
    result = x.copy()
    result[uniform < amount] = 0
    result[uniform < amount / 2] = 255
    return result


def speckle_noise(x, severity, keys):
    return x + x * pick(severity, 0.06, 0.12, 0.2) * draws.draw_normals(keys, draws.VALUES, *x.shape)[0]


def gaussian_blur(x, severity, keys):
    return gauss(x, pick(severity, 0.4, 0.7, 1))


def defocus_blur(x, severity, keys):
    radius, sigma = pick(severity, (0.3, 0.4), (0.5, 0.6), (1.5, 0.1))
    disk = np.zeros((17, 17))
    for row, column in np.ndindex(17, 17):
        disk[row, column] = math.hypot(row - 8, column - 8) <= radius
    side = math.exp(-1 / (2 * sigma**2))
    line = np.array([side, 1, side]) / (1 + 2 * side)
    padded, kernel = np.pad(disk / disk.sum(), 1), np.zeros((17, 17))
    for row, column in np.ndindex(3, 3):
        kernel += line[row] * line[column] * padded[row : row + 17, column : column + 17]
    return correlate(x, kernel)


def glass_blur(x, severity, keys):
    sigma, passes = pick(severity, (0.05, 1), (0.4, 1), (0.4, 2))
    shifts = draws.draw_integers(keys, draws.VALUES, -1, 0, passes, 2, SIZE, SIZE)[0]
    x = np.floor(gauss(x, sigma) + 1e-3).astype(np.uint8)
    for number in range(passes):
        for h in range(SIZE - 1, 1, -1):
            for w in range(SIZE - 1, 1, -1):
                dy, dx = shifts[number, :, h, w]
                x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]  # through views, as the original
    return gauss(x, sigma)


def smear(x, radius, sigma, angle):
    """ImageMagick's motion blur: a one-sided kernel along offsets, pixel by pixel."""
    width = 2 * radius + 1
    kernel = [math.exp(-i * i / (2 * sigma**2)) for i in range(width)]
    down, across = width * math.sin(math.radians(angle)), width * math.cos(math.radians(angle))
    result = np.zeros(x.shape)
    for y, column in np.ndindex(SIZE, SIZE):
        for i in range(width):
            v = y + math.ceil(i * down / math.hypot(down, across) - 0.5)
            u = column + math.ceil(i * across / math.hypot(down, across) - 0.5)
            result[y, column] += kernel[i] * x[min(max(v, 0), SIZE - 1), min(max(u, 0), SIZE - 1)]
    return result / sum(kernel)


def motion_blur(x, severity, keys):
    angle = -45 + 90 * draws.draw_uniforms(keys, draws.ANGLE)[0]
    return smear(x, *pick(severity, (6, 1), (6, 2), (9, 2.5)), angle) + 0.5  # rounded


def clipped_zoom(x, factor):
    side = int(np.ceil(SIZE / factor))
    top = (SIZE - side) // 2
    factors = (factor, factor, 1)[: x.ndim]
    x = ndimage.zoom(x[top : top + side, top : top + side], factors, order=1)
    trim = (x.shape[0] - SIZE) // 2
    return x[trim : trim + SIZE, trim : trim + SIZE]


def zoom_blur(x, severity, keys):
    factors = np.arange(1, pick(severity, 1.06, 1.16, 1.26), 0.01)
    return (x + sum(clipped_zoom(x, factor) for factor in factors)) / (len(factors) + 1)


def snow(x, severity, keys):
    mean, scale, zoom, threshold, radius, sigma, kept = pick(
        severity,
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )
    layer = clipped_zoom(mean + scale * draws.draw_normals(keys, draws.VALUES, SIZE, SIZE)[0], zoom)
    layer[layer < threshold] = 0
    layer = np.floor(layer.clip(0, 1) * 255)
    layer = smear(layer, radius, sigma, -135 + 90 * draws.draw_uniforms(keys, draws.ANGLE)[0])
    layer = np.floor(layer + 0.5)[..., None]
    grey = (0.299 * x[..., 0] + 0.587 * x[..., 1] + 0.114 * x[..., 2])[..., None]
    return kept * x + (1 - kept) * np.maximum(x, grey * 1.5 + 127.5) + layer + np.rot90(layer, k=2)


def fog(x, severity, keys):
    strength, decay = pick(severity, (0.2, 3), (0.75, 2.5), (1.5, 1.75))
    uniform = iter(2 * draws.draw_uniforms(keys, draws.VALUES, SIZE * SIZE - 1)[0] - 1)
    plasma, step, wibble = np.zeros((SIZE, SIZE)), SIZE, 100

    def fill(first_row, first_column, neighbors):
        for row in range(first_row, SIZE, step):
            for column in range(first_column, SIZE, step):
                around = [plasma[(row + y) % SIZE, (column + x) % SIZE] for y, x in neighbors]
                plasma[row, column] = sum(around) / 4 + wibble * wibble * next(uniform)

    while step >= 2:
        half = step // 2
        fill(half, half, [(-half, -half), (-half, half), (half, -half), (half, half)])
        for start in ((0, half), (half, 0)):
            fill(*start, [(-half, 0), (half, 0), (0, -half), (0, half)])
        step, wibble = half, wibble / decay
    plasma = (plasma - plasma.min()) / (plasma.max() - plasma.min())
    largest = x.max() / 255
    return (x + 255 * strength * plasma[..., None]) * largest / (largest + strength)


def change_hsv(x, change):
    result = np.empty(x.shape)
    for where in np.ndindex(SIZE, SIZE):
        result[where] = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*x[where] / 255)))
    return 255 * result


def brightness(x, severity, keys):
    return change_hsv(x, lambda h, s, v: (h, s, min(v + pick(severity, 0.05, 0.15, 0.3), 1)))


def saturate(x, severity, keys):
    factor, offset = pick(severity, (0.3, 0), (1.5, 0), (2.5, 0.2))
    return change_hsv(x, lambda h, s, v: (h, min(s * factor + offset, 1), v))


def contrast(x, severity, keys):
    means = [x[..., channel].mean() for channel in range(3)]
    return (x - means) * pick(severity, 0.75, 0.4, 0.15) + means


def elastic_transform(x, severity, keys):
    amplitude, sigma, move = pick(severity, (0, 0, 2.56), (2.56, 1.92, 1.92), (3.2, 0.96, 0.96))
    corners = np.array([[26, 26], [26, 6], [6, 6]])
    moved = corners + move * (2 * draws.draw_uniforms(keys, draws.CORNERS, 3, 2)[0] - 1)
    forth = (np.c_[moved, [1, 1, 1]].T @ np.linalg.inv(np.c_[corners, [1, 1, 1]].T))[:2]  # (x, y, 1) -> (x', y')
    rows, columns = np.indices((SIZE, SIZE))
    back = np.linalg.inv(forth[:, :2]) @ (np.stack([columns.ravel(), rows.ravel()]) - forth[:, 2:])
    back = back[::-1].reshape(2, SIZE, SIZE)
    planes = [ndimage.map_coordinates(x[..., c], back, order=1, mode="mirror") for c in range(3)]
    field = 2 * draws.draw_uniforms(keys, draws.VALUES, 2, SIZE, SIZE)[0] - 1
    dx, dy = (amplitude * gauss(part, sigma, "symmetric", truncate=3) for part in field)
    where = [rows + dy, columns + dx]
    return np.stack([ndimage.map_coordinates(plane, where, order=1, mode="reflect") for plane in planes], -1)


def canny(layer, low, high):
    padded = np.pad(layer.astype(int), 1, mode="edge")
    gx, gy = np.zeros((SIZE, SIZE), int), np.zeros((SIZE, SIZE), int)
    for y, x in np.ndindex(SIZE, SIZE):
        p = padded[y : y + 3, x : x + 3]
        gx[y, x] = p[0, 2] + 2 * p[1, 2] + p[2, 2] - p[0, 0] - 2 * p[1, 0] - p[2, 0]
        gy[y, x] = p[2, 0] + 2 * p[2, 1] + p[2, 2] - p[0, 0] - 2 * p[0, 1] - p[0, 2]
    m = np.pad(abs(gx) + abs(gy), 1)
    weak, stack = set(), []
    for y, x in np.ndindex(SIZE, SIZE):
        here, flat, steep = m[y + 1, x + 1], abs(gy[y, x]) << 15, 13573 * abs(gx[y, x])
        if here <= low:
            continue
        if flat < steep:
            keep = here > m[y + 1, x] and here >= m[y + 1, x + 2]
        elif flat > steep + (abs(gx[y, x]) << 16):
            keep = here > m[y, x + 1] and here >= m[y + 2, x + 1]
        else:
            s = -1 if (gx[y, x] ^ gy[y, x]) < 0 else 1
            keep = here > m[y, x + 1 - s] and here > m[y + 2, x + 1 + s]
        if keep:
            weak.add((y, x))
            stack += [(y, x)] if here > high else []
    edges = np.zeros((SIZE, SIZE), dtype=bool)
    while stack:
        y, x = stack.pop()
        if (y, x) in weak and not edges[y, x]:
            edges[y, x] = True
            stack += [(y + v, x + u) for v in (-1, 0, 1) for u in (-1, 0, 1)]
    return edges


def chamfer(edges):
    """Two passes of a half mask, there and back."""
    d = np.pad(np.where(edges, 0.0, 1e9), 2, constant_values=1e9)
    half = [(-2, -1, 2.1969), (-2, 1, 2.1969), (-1, -2, 2.1969), (-1, -1, 1.4), (-1, 0, 1), (-1, 1, 1.4)]
    half += [(-1, 2, 2.1969), (0, -1, 1)]
    for _ in range(2):
        for y, x in np.ndindex(SIZE, SIZE):
            d[y + 2, x + 2] = min([d[y + 2, x + 2], *(d[y + 2 + v, x + 2 + u] + cost for v, u, cost in half)])
        d = d[::-1, ::-1]
    return np.minimum(d[2:-2, 2:-2], 20)


def equalize_histogram(x):
    values, counts = np.unique(x, return_counts=True)
    if len(values) == 1:
        return x
    rank, table = 0, {values[0]: 0}
    for value, count in zip(values[1:], counts[1:], strict=True):
        rank += count
        table[value] = round(rank * 255 / (x.size - counts[0]))
    return np.vectorize(table.get)(x)


def lit_water(layer):
    box = np.ones((3, 3))
    dist = equalize_histogram(np.floor(correlate(chamfer(canny(layer, 50, 150)), box) / 9 + 1e-7).astype(int))
    dist = correlate(dist, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])).clip(0, 255)
    m = layer * np.rint(correlate(dist, box) / 9)
    return m / m.max()


def spatter(x, severity, keys):
    mean, scale, sigma, threshold, extent, mud = pick(
        severity, (0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.3, 1, 0.69, 0.5, 0), (0.65, 0.1, 0.5, 0.68, 0.6, 1)
    )
    layer = gauss(mean + scale * draws.draw_normals(keys, draws.VALUES, SIZE, SIZE)[0], sigma)
    layer[layer < threshold] = 0
    if not mud:
        light = lit_water(np.floor(layer * 255).clip(0, 255))
        return x + extent * light[..., None] * np.array([175, 238, 238])
    cover = gauss((layer > threshold).astype(float), extent)
    cover[cover < 0.8] = 0
    return x * (1 - cover[..., None]) + cover[..., None] * np.array([63, 42, 20])


REFERENCES = [
    gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, fog, brightness,
    contrast, elastic_transform, speckle_noise, gaussian_blur, spatter, saturate,
]  # fmt: skip


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda function: function.__name__)
def test_a_corruption_is_its_definition(images, reference, severity):
    name = reference.__name__
    rows = np.array([0, 1, 119])
    ours = corruptions.corrupt(images[rows], name, severity, 7, rows)
    for row, result in zip(rows, ours, strict=True):
        keys = corruptions.make_keys(np.array([row]), name, severity, 7)
        expected = reference(images[row].astype(np.float64), severity, keys).clip(0, 255)
        # The fraction is cut off; next to a whole number either side is right.
        assert (np.floor(expected - 0.01) <= result).all() and (result <= np.floor(expected + 0.01)).all()


def box(x, new):
    """Pillow's BOX: a new pixel is the mean of those whose centres lie in it, or the one at its centre."""
    size = len(x)
    scale = max(size / new, 1)
    result = np.empty((new, *x.shape[1:]))
    for i in range(new):
        positions = (np.arange(size) + 0.5 - (i + 0.5) * size / new) / scale
        result[i] = np.floor(x[(positions > -0.5) & (positions <= 0.5)].mean(0) + 0.5)
    return result


@pytest.mark.parametrize(("severity", "small"), [(1, 30), (3, 27), (5, 20)])
def test_pixelate_averages_pixels(images, severity, small):
    for row in (0, 1, 119):
        ours = corruptions.corrupt(images[row : row + 1], "pixelate", severity, 0, [row])[0]
        expected = images[row].astype(float)
        for new in (small, SIZE):  # columns first, each pass rounded
            expected = box(box(expected.swapaxes(0, 1), new).swapaxes(0, 1), new)
        assert np.array_equal(ours, expected)


# The luma table of the standard, at quality 50.
QUANTIZATION = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
]).reshape(8, 8)  # fmt: skip


@pytest.mark.parametrize(("severity", "quality"), [(1, 80), (3, 58), (5, 40)])
def test_jpeg_rounds_the_frequencies_of_blocks(images, severity, quality):
    grey = images[:5, :, :, 1:2].repeat(3, -1)  # without colour there is nothing to subsample
    ours = corruptions.corrupt(grey, "jpeg_compression", severity, 0, range(5))
    steps = np.floor((QUANTIZATION * (200 - 2 * quality if quality >= 50 else 5000 / quality) + 50) / 100)
    blocks, result = (each[..., 1].reshape(5, 4, 8, 4, 8).swapaxes(2, 3) for each in (grey, ours))  # (5, 4, 4, 8, 8)
    rounded = np.rint(fft.dctn(blocks - 128.0, axes=(3, 4), norm="ortho") / steps) * steps
    expected = (fft.idctn(rounded, axes=(3, 4), norm="ortho") + 128).clip(0, 255)
    # A frequency half-way between two steps may go to either and take its block along; with a quality that is off by
    # 2 only one block in twenty agrees.
    assert (abs(result - expected).max((3, 4)) < 1).mean() > 0.7 and np.ptp(ours, axis=-1).max() == 0


@pytest.mark.parametrize(("severity", "kept", "added"), [(1, 1, 0.2), (3, 0.9, 0.4), (5, 0.75, 0.45)])
def test_frost_adds_a_part_of_a_photograph(images, photos, severity, kept, added):
    ours = corruptions.corrupt(images[:4], "frost", severity, 7, range(4), photos)
    for row in range(4):
        keys = corruptions.make_keys(np.array([row]), "frost", severity, 7)
        which, top, left = (draws.draw_uniforms(keys, part)[0] for part in (draws.PHOTO, draws.TOP, draws.LEFT))
        photo = photos[int(2 * which)]
        top, left = int(top * (photo.shape[0] - SIZE)), int(left * (photo.shape[1] - SIZE))
        part = photo[top : top + SIZE, left : left + SIZE]
        expected = np.minimum(kept * images[row].astype(float) + added * part, 255)
        assert (np.floor(expected - 0.01) <= ours[row]).all() and (ours[row] <= np.floor(expected + 0.01)).all()


def test_photographs_are_reduced_bilinearly_to_a_fifth(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (173, 204), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "frost.png")
    (photo,) = corruptions.load_frost_photos(tmp_path)
    rows, columns = np.indices((round(173 * 0.2), round(204 * 0.2)))  # OpenCV's size and positions
    expected = ndimage.map_coordinates(picture, [(rows + 0.5) * 5 - 0.5, (columns + 0.5) * 5 - 0.5], order=1)
    assert np.array_equal(photo[..., 0], expected)


def test_parts_of_spatter_on_made_up_layers():
    rng = np.random.default_rng(0)
    layers = rng.integers(0, 256, (4, SIZE, SIZE), dtype=np.uint8)
    layers[2:] = np.where(ndimage.gaussian_filter(layers[2:].astype(float), (0, 2, 2)) > 128, 200, 0)
    edges = find_edges(layers, 300, 600)
    assert all(np.array_equal(ours, canny(layer, 300, 600)) for ours, layer in zip(edges, layers, strict=True))
    sparse = rng.random((4, SIZE, SIZE)) < np.array([0.001, 0.002, 0.01, 0])[:, None, None]
    distances = measure_distance(sparse)
    for ours, each in zip(distances, sparse, strict=True):
        np.testing.assert_allclose(ours, chamfer(each), atol=1e-4)
    assert (distances[3] == 20).all()
    levels = np.stack([layers[0] // 13, layers[1] // 100, np.full((SIZE, SIZE), 9, np.uint8)])
    for ours, each in zip(equalize(levels), levels, strict=True):
        assert np.array_equal(ours, equalize_histogram(each))
    assert (light_drops(np.zeros((1, SIZE, SIZE), np.uint8)) == 0).all()


# What holds of all.


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_an_image_keeps_its_corruption_in_any_batch(images, photos, name):
    indices = np.arange(120) + 9_000

    def run(rows, seed=3):
        return corruptions.corrupt(images[rows], name, 4, seed, indices[rows], photos)

    whole, before = run(slice(20)), images.copy()
    assert whole.shape == (20, 32, 32, 3) and whole.dtype == np.uint8 and np.array_equal(images, before)
    assert np.array_equal(run(slice(20)), whole)
    order = np.array([17, 3, 4, 11])
    assert np.array_equal(run(order), whole[order]) and np.array_equal(run(slice(5, 6)), whole[5:6])
    channels_first = np.ascontiguousarray(images[:20].transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert np.array_equal(corruptions.corrupt(channels_first, name, 4, 3, indices[:20], photos), whole)
    assert corruptions.corrupt(images[:0], name, 4, 3, indices[:0], photos).shape == (0, 32, 32, 3)
    draws_anything = not np.array_equal(run(slice(20), seed=4), whole)
    without = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert draws_anything == (name not in without | {"gaussian_blur", "saturate"})


def test_images_of_other_sizes():
    large = np.random.default_rng(0).integers(0, 256, (2, 45, 45, 3), dtype=np.uint8)
    for size in (8, 45):
        images = large[:, :size, :size]
        for name in corruptions.CORRUPTIONS:
            corrupted = corruptions.corrupt(images, name, 5, 0, range(2), [large[0].repeat(2, 0).repeat(2, 1)])
            assert corrupted.shape == images.shape and not np.array_equal(corrupted, images)


def test_chunks_do_not_show(images, monkeypatch):
    whole = corruptions.corrupt(images[:9], "snow", 2, 0, range(9))
    monkeypatch.setattr(corruptions, "_CHUNK", 4)
    assert np.array_equal(corruptions.corrupt(images[:9], "snow", 2, 0, range(9)), whole)


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_a_higher_severity_takes_images_further_away(images, photos, name):
    clean = images[:-1].astype(float)
    distances = [
        abs(corruptions.corrupt(images[:-1], name, severity, 0, range(119), photos) - clean).mean()
        for severity in corruptions.SEVERITIES
    ]
    assert min(distances) > 0.5
    if name not in NOT_MONOTONE:
        assert distances == sorted(distances)


def test_draws_have_the_moments_of_their_distributions():
    keys = corruptions.make_keys(np.arange(40), "gaussian_noise", 1, 0)
    uniforms, normals = (draw(keys, draws.VALUES, 50, 50) for draw in (draws.draw_uniforms, draws.draw_normals))
    assert stats.kstest(uniforms.ravel(), "uniform").pvalue > 0.01
    assert abs(normals.mean()) < 0.01 and normals.std() == pytest.approx(1, abs=0.01)
    assert stats.kurtosis(normals.ravel()) == pytest.approx(0, abs=0.05)
    # Images, purposes, severities, corruptions and seeds share no stream.
    others = [
        draws.draw_uniforms(keys, draws.ANGLE, 50, 50),
        *(
            draws.draw_uniforms(corruptions.make_keys(np.arange(40), *key), draws.VALUES, 50, 50)
            for key in (("gaussian_noise", 2, 0), ("shot_noise", 1, 0), ("gaussian_noise", 1, 1))
        ),
        np.roll(uniforms, 1, axis=0),
    ]
    assert all(abs(np.corrcoef(uniforms.ravel(), other.ravel())[0, 1]) < 0.015 for other in others)
    integers = draws.draw_integers(keys, draws.VALUES, -1, 0, 50)
    assert set(np.unique(integers)) == {-1, 0} and integers.mean() == pytest.approx(-0.5, abs=0.05)


def test_noise_has_the_moments_of_its_definition():
    grey = np.full((60, 32, 32, 3), 100, dtype=np.uint8)

    def values(name):
        return corruptions.corrupt(grey, name, 5, 0, range(60)).astype(float)

    # Cutting fractions off takes half a level.
    for name, deviation in (
        ("gaussian_noise", 25.5),
        ("speckle_noise", 20),
        ("shot_noise", 255 * math.sqrt(0.4 / 51)),
    ):
        result = values(name)
        assert result.mean() == pytest.approx(99.5, abs=0.3)
        assert result.std() == pytest.approx(deviation, rel=0.02)
    impulses = values("impulse_noise")
    assert (impulses == 0).mean() == pytest.approx(0.035, rel=0.05)
    assert (impulses == 255).mean() == pytest.approx(0.035, rel=0.05)


def test_names_families_and_frost(photos, caplog):
    assert len(corruptions.CORRUPTIONS) == 19 == len(set(corruptions.CORRUPTIONS))
    assert [len(names) for names in corruptions.FAMILIES.values()] == [3, 4, 4, 4, 4]
    assert corruptions.list_corruptions(photos) == corruptions.CORRUPTIONS and not caplog.records
    names = corruptions.list_corruptions(())
    assert len(names) == 18 and "frost" not in names
    assert "The corruption frost is left out" in caplog.text


def test_bad_input_stops_with_one_line(images, photos, tmp_path):
    one = images[:1]
    cases = [
        ((one, "rain", 1, 0, [0]), r"corruption 'rain'; allowed: gaussian_noise, .*\. Give one of these"),
        ((one, "fog", 6, 0, [0]), "severity 6; allowed: 1 to 5"),
        ((one, "frost", 1, 0, [0]), "frost: there are no photographs of it; give a folder"),
        ((one / 255, "fog", 1, 0, [0]), r"images are float64 \(1, 32, 32, 3\); allowed: uint8 \(N, S, S, 3\)"),
        ((one.transpose(0, 3, 1, 2), "fog", 1, 0, [0]), r"images are uint8 \(1, 3, 32, 32\)"),
        ((one, "fog", 1, 0, [0, 1]), "2 indices for 1 images"),
        ((one, "frost", 1, 0, [0], [photos[0][:20]]), "a photograph of frost has about 205 x 100 pixels; .* 165"),
    ]
    for arguments, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            corruptions.corrupt(*arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="there are no photographs of frost; give a folder with .png or .jpg files"):
        corruptions.load_frost_photos(tmp_path)
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="x.png: not a photograph that Pillow can read"):
        corruptions.load_frost_photos(tmp_path)
