"""Owns augmentations of whole uint8 batches; each takes its draws as arguments and draws nothing itself."""

import torch

from .resampling import resample_boxes

# ITU-R 601-2 luma, as torchvision and Pillow weigh the channels.
_LUMA = (0.2989, 0.587, 0.114)


def pick_pixels(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Rearrange each image's rows and columns: pixel (y, x) of the result is (rows[y], columns[x]) of the image.

    Two gathers of whole bytes do any mixture of flips, shifts and padding; on a CPU three times as fast as indexing
    by pixel (docs/design.md).

    Args:
        images: (B, C, H, W), any dtype.
        rows: int64 (B, H) or (1, H), within the image.
        columns: int64 (B, W) or (1, W), within the image.

    Returns:
        (B, C, H, W), channels last in memory.
    """
    batch, channels, height, width = images.shape
    flat = images.permute(0, 2, 3, 1).reshape(batch * height, width * channels)
    rows = rows + height * torch.arange(batch, device=images.device)[:, None]
    picked = flat.index_select(0, rows.reshape(-1)).view(batch, height, width * channels)
    values = columns[:, :, None] * channels + torch.arange(channels, device=images.device)  # (B, W, C)
    picked = picked.gather(2, values.reshape(-1, 1, width * channels).expand_as(picked))
    return picked.view(batch, height, width, channels).permute(0, 3, 1, 2)


def flip_images(images: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Mirror the images where `flip` is True (torchvision's `horizontal_flip`).

    Args:
        images: (B, C, H, W), any dtype.
        flip: bool (B,).
    """
    no_shift = torch.zeros_like(flip, dtype=torch.int64)
    return translate_images(images, no_shift, no_shift, flip=flip)


def translate_images(
    images: torch.Tensor,
    shift_y: torch.Tensor,
    shift_x: torch.Tensor,
    padding_mode: str = "reflect",
    flip: torch.Tensor | None = None,
) -> torch.Tensor:
    """Shift each image by whole pixels: padding and cropping at (shift_y, shift_x) (He et al. 2016, Jordan 2024).

    Args:
        images: (B, C, H, W), any dtype.
        shift_y, shift_x: int64 (B,), smaller than H and W in magnitude.
        padding_mode: "reflect" (without repeating the border, as torch's padding) or "zeros".
        flip: bool (B,), images to mirror first, at no further cost.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) + shift_y[:, None]  # (B, H)
    columns = torch.arange(width, device=images.device) + shift_x[:, None]  # (B, W)
    picked = _reflect(columns, width)
    if flip is not None:
        picked = torch.where(flip[:, None], width - 1 - picked, picked)
    shifted = pick_pixels(images, _reflect(rows, height), picked)
    if padding_mode == "zeros":
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
        shifted = shifted * inside[:, None]
    return shifted


def _reflect(positions: torch.Tensor, size: int) -> torch.Tensor:
    positions = positions.abs()
    return torch.where(positions >= size, 2 * (size - 1) - positions, positions)


def crop_and_resize(images: torch.Tensor, boxes: torch.Tensor, size: int, interpolation: str) -> torch.Tensor:
    """Cut a box from each image and resize it, antialiased (torchvision's `resized_crop`; Szegedy et al. 2015).

    Args:
        images: uint8 (B, C, H, W).
        boxes: int64 (B, 4): top, left, height, width, within the image.
        size: of the result, in pixels.
        interpolation: "bilinear" or "bicubic".

    Returns:
        uint8 (B, C, size, size).
    """
    return resample_boxes(images.float(), boxes, size, interpolation).round_().clamp_(0, 255).to(torch.uint8)


def adjust_brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend each uint8 (B, C, H, W) image with black; factor float (B,), 1 changes nothing (as torchvision)."""
    return _blend(images, torch.zeros((), device=images.device), factor)


def adjust_contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend each image with its mean grey; arguments as for `adjust_brightness`."""
    return _blend(images, _to_grey(images).mean((-3, -2, -1), keepdim=True), factor)


def adjust_saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend each image with itself in grey; arguments as for `adjust_brightness`."""
    return _blend(images, _to_grey(images), factor)


def _to_grey(images: torch.Tensor) -> torch.Tensor:
    red, green, blue = images.float().unbind(1)
    return (red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]).floor()[:, None]  # (B, 1, H, W)


def _blend(images: torch.Tensor, other: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    factor = factor[:, None, None, None]
    return (images * factor + other * (1 - factor)).clamp_(0, 255).to(torch.uint8)


def make_masks(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """True inside each box: bool (B, 1, H, W), from int64 (B, 4) top, left, height, width, which may stick out."""
    top, left, box_height, box_width = boxes[:, :, None].unbind(1)  # each (B, 1)
    rows, columns = (torch.arange(size, device=boxes.device) for size in (height, width))
    inside_y = (rows >= top) & (rows < top + box_height)
    inside_x = (columns >= left) & (columns < left + box_width)
    return (inside_y[:, :, None] & inside_x[:, None])[:, None]


def erase_boxes(images: torch.Tensor, boxes: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    """Fill a box of each image with one colour: cutout (DeVries & Taylor 2017), random erasing (Zhong et al. 2020).

    Args:
        images: (B, C, H, W), any dtype.
        boxes: int64 (B, 4): top, left, height, width; a height of 0 erases nothing, and what sticks out is cut off.
        color: (C,), of the images' dtype.
    """
    return torch.where(make_masks(boxes, *images.shape[-2:]), color[:, None, None], images)
