"""Owns augmentations of whole uint8 batches; each takes its draws as arguments and draws nothing itself."""

import torch


def flip_images(images: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Mirror the images where `flip` is True.

    Args:
        images: (B, C, H, W), any dtype.
        flip: bool (B,).
    """
    return torch.where(flip[:, None, None, None], images.flip(-1), images)


def translate_images(images: torch.Tensor, shift_y: torch.Tensor, shift_x: torch.Tensor, limit: int) -> torch.Tensor:
    """Shift each image by whole pixels; what comes in at the border is the image reflected.

    The same as reflect-padding by `limit` and cropping (airbench, Jordan 2024).

    Args:
        images: (B, C, H, W), any dtype.
        shift_y, shift_x: int64 (B,) in [-limit, limit].
        limit: the largest shift, in pixels, below H and W.

    Returns:
        (B, C, H, W), channels last in memory.
    """
    height, width = images.shape[-2:]
    rows = _reflect(torch.arange(-limit, height + limit, device=images.device), height)
    columns = _reflect(torch.arange(-limit, width + limit, device=images.device), width)
    padded = images.permute(0, 2, 3, 1)[:, rows][:, :, columns]  # (B, H + 2 limit, W + 2 limit, C)
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # (B, 2 limit + 1, 2 limit + 1, C, H, W), a view
    windows = windows.permute(0, 1, 2, 4, 5, 3)
    batch = torch.arange(len(images), device=images.device)
    return windows[batch, shift_y + limit, shift_x + limit].permute(0, 3, 1, 2)


def _reflect(positions: torch.Tensor, size: int) -> torch.Tensor:
    positions = positions.abs()
    return torch.where(positions >= size, 2 * (size - 1) - positions, positions)
