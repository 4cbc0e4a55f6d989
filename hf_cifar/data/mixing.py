"""Owns mixup and cutmix: two images become one, and its label says how much it has of each."""

import torch
from scipy.special import betaincinv
from torch.nn.functional import one_hot

from .augmentation import make_masks
from .keyed import CUTMIX_X, CUTMIX_Y, MIX, MIX_WEIGHT, draw_integers, draw_uniform


def mix_images(images: torch.Tensor, partners: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mixup (Zhang et al. 2018): `weight` of the image, the rest of its partner.

    Args:
        images, partners: float (B, C, H, W).
        weight: float (B,), in [0, 1].
    """
    return torch.lerp(partners, images, weight[:, None, None, None])


def find_boxes(weight: torch.Tensor, center_y: torch.Tensor, center_x: torch.Tensor, size: int) -> torch.Tensor:
    """Cutmix's boxes (Yun et al. 2019), of 1 - `weight` of the area but for what the border cuts off.

    Rounded as `torchvision.transforms.v2.CutMix` rounds.

    Args:
        weight: float (B,), in [0, 1].
        center_y, center_x: int64 (B,), the boxes' centres in pixels.
        size: height and width of the images.

    Returns:
        int64 (B, 4): top, left, height, width, within the image.
    """
    half = (0.5 * (1 - weight).sqrt() * size).to(torch.int64)
    top, left = (center_y - half).clamp(min=0), (center_x - half).clamp(min=0)
    bottom, right = (center_y + half).clamp(max=size), (center_x + half).clamp(max=size)
    return torch.stack([top, left, bottom - top, right - left], 1)


def mix_batch(
    images: torch.Tensor,
    partners: torch.Tensor,
    labels: torch.Tensor,
    partner_labels: torch.Tensor,
    num_classes: int,
    indices: torch.Tensor,
    mixup: float,
    cutmix: float,
    *key: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each image with its partner, by mixup or, where both are on, by a coin per image by cutmix.

    Args:
        images, partners: float (B, C, S, S), ready for the model.
        labels, partner_labels: int64 (B,), on the CPU.
        num_classes: K.
        indices: int64 (B,) canonical indices of `images`, on the CPU.
        mixup, cutmix: alpha of the Beta distribution that weights are drawn from; 0: off.
        key: seed and epoch.

    Returns:
        The mixed images, and float32 (B, K) labels that sum to 1, on the images' device.
    """
    device, size = images.device, images.shape[-1]
    is_cutmix = draw_uniform(indices, *key, MIX) < (0.5 if mixup and cutmix else float(cutmix > 0))
    quantile = draw_uniform(indices, *key, MIX_WEIGHT)
    weight = torch.where(is_cutmix, _draw_beta(quantile, cutmix), _draw_beta(quantile, mixup))
    centers = (draw_integers(indices, 0, size - 1, *key, axis) for axis in (CUTMIX_Y, CUTMIX_X))
    boxes = find_boxes(weight, *centers, size)
    weight = torch.where(is_cutmix, 1 - boxes[:, 2] * boxes[:, 3] / size**2, weight)
    boxes[~is_cutmix, 2] = 0
    pasted = torch.where(make_masks(boxes.to(device), size, size), partners, images)
    blend = torch.where(is_cutmix, 1.0, weight)  # cutmix has pasted already
    mixed = mix_images(pasted, partners, blend.to(device)) if mixup else pasted
    parts = (one_hot(each, num_classes).float() for each in (partner_labels, labels))
    return mixed, torch.lerp(*parts, weight[:, None]).to(device)


def _draw_beta(quantile: torch.Tensor, alpha: float) -> torch.Tensor:
    """Beta(alpha, alpha) at uniform quantiles (inverse transform sampling); 1 where alpha is 0, for no mixing."""
    if not alpha:
        return torch.ones_like(quantile)
    return torch.from_numpy(betaincinv(alpha, alpha, quantile.double().numpy())).float()
