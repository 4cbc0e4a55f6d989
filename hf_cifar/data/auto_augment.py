"""Owns RandAugment and TrivialAugment on whole batches: each operation runs once on the images that drew it.

The operations and magnitudes are torchvision's (`torchvision.transforms.v2.RandAugment`, `TrivialAugmentWide`).
"""

import math
from collections.abc import Callable

import torch
from torchvision.transforms.v2 import functional as tvf

from .keyed import MAGNITUDE, OPERATION, SIGN, draw_integers, draw_uniform

BINS = 31  # magnitudes run from bin 0, the weakest, to bin 30


def _shear(x: float, y: float) -> Callable:
    def apply(images: torch.Tensor, magnitude: float) -> torch.Tensor:
        degrees = math.degrees(math.atan(magnitude))
        return tvf.affine(images, 0.0, [0, 0], 1.0, shear=[x * degrees, y * degrees], center=[0, 0])

    return apply


def _translate(x: int, y: int) -> Callable:
    def apply(images: torch.Tensor, magnitude: float) -> torch.Tensor:
        return tvf.affine(images, 0.0, [x * int(magnitude), y * int(magnitude)], 1.0, shear=[0.0, 0.0])

    return apply


# Name: what it does to uint8 (B, C, H, W) at a signed magnitude.
OPERATIONS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "Identity": lambda images, magnitude: images,
    "ShearX": _shear(1, 0),
    "ShearY": _shear(0, 1),
    "TranslateX": _translate(1, 0),
    "TranslateY": _translate(0, 1),
    "Rotate": lambda images, magnitude: tvf.rotate(images, magnitude),
    "Brightness": lambda images, magnitude: tvf.adjust_brightness(images, 1 + magnitude),
    "Color": lambda images, magnitude: tvf.adjust_saturation(images, 1 + magnitude),
    "Contrast": lambda images, magnitude: tvf.adjust_contrast(images, 1 + magnitude),
    "Sharpness": lambda images, magnitude: tvf.adjust_sharpness(images, 1 + magnitude),
    "Posterize": lambda images, magnitude: tvf.posterize(images, int(magnitude)),
    "Solarize": lambda images, magnitude: tvf.solarize(images, 255 * magnitude),
    "AutoContrast": lambda images, magnitude: tvf.autocontrast(images),
    "Equalize": lambda images, magnitude: tvf.equalize(images),
}
SIGNED = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"}
UNSCALED = {"Identity", "AutoContrast", "Equalize"}


def get_magnitude(policy: str, operation: str, level: int, size: int) -> float:
    """How strong an operation is, without its sign.

    Args:
        policy: "randaugment" (Cubuk et al. 2020) or "trivialaugment" (Müller & Hutter 2021, the wide space).
        operation: a key of `OPERATIONS`.
        level: 0 to 30.
        size: of the image in pixels, for RandAugment's translations.
    """
    wide = policy == "trivialaugment"
    share = level / (BINS - 1)
    if operation == "Posterize":
        return 8 - round(level / ((BINS - 1) / (6 if wide else 4)))  # bits
    if operation == "Solarize":
        return 1 - share
    if operation.startswith("Translate"):
        return share * (32 if wide else 150 / 331 * size)
    if operation == "Rotate":
        return share * (135 if wide else 30)
    if operation.startswith("Shear"):
        return share * (0.99 if wide else 0.3)
    return share * (0.99 if wide else 0.9)


def auto_augment(
    images: torch.Tensor, indices: torch.Tensor, policy: str, num_ops: int, level: int, *key: int
) -> torch.Tensor:
    """Apply randomly drawn operations.

    Args:
        images: uint8 (B, C, H, W), on any device.
        indices: int64 (B,) canonical indices, on the CPU, as the draws decide what runs.
        policy: "randaugment": `num_ops` operations at `level`; "trivialaugment": one, at a random level.
        num_ops, level: of RandAugment.
        key: seed and epoch.
    """
    names = list(OPERATIONS)
    for turn in range(num_ops if policy == "randaugment" else 1):
        operations = draw_integers(indices, 0, len(names) - 1, *key, OPERATION, turn)
        levels = torch.full_like(operations, level)
        if policy == "trivialaugment":
            levels = draw_integers(indices, 0, BINS - 1, *key, MAGNITUDE)
        signs = draw_uniform(indices, *key, SIGN, turn) < 0.5
        groups: dict[tuple[int, int, bool], list[int]] = {}
        for row, (operation, drawn, sign) in enumerate(
            zip(operations.tolist(), levels.tolist(), signs.tolist(), strict=True)
        ):
            name = names[operation]
            groups.setdefault((operation, drawn * (name not in UNSCALED), sign and name in SIGNED), []).append(row)
        result = images.clone()
        for (operation, drawn, sign), rows in groups.items():
            name = names[operation]
            if name == "Identity":
                continue
            magnitude = get_magnitude(policy, name, drawn, images.shape[-1]) * (-1 if sign else 1)
            where = torch.tensor(rows, device=images.device)
            # Contiguous: torchvision's affine and equalize are several times slower on channels-last images.
            result[where] = OPERATIONS[name](images[where].contiguous(), magnitude)
        images = result
    return images
