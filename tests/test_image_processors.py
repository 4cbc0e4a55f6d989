"""Image processors and `Preprocessing` say the same thing."""

import pytest
import torch
from transformers import (
    AutoImageProcessor,
    BitImageProcessor,
    DeiTImageProcessor,
    EfficientNetImageProcessor,
    MobileViTImageProcessor,
    ViTImageProcessor,
)
from transformers.image_utils import PILImageResampling

from hf_cifar.data.transforms import Preprocessing
from hf_cifar.errors import UserError
from hf_cifar.models.image_processors import build_image_processor, read_preprocessing


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest-exact"])
def test_building_and_reading_are_inverse_also_through_a_file(tmp_path, interpolation):
    preprocessing = Preprocessing(48, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), interpolation)
    build_image_processor(preprocessing).save_pretrained(tmp_path)
    assert read_preprocessing(AutoImageProcessor.from_pretrained(tmp_path)) == preprocessing


def test_a_processor_that_does_not_normalise(tmp_path):
    processor = build_image_processor(Preprocessing())
    processor.do_normalize = False
    assert read_preprocessing(processor, 64) == Preprocessing(64, (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    "processor",
    [
        DeiTImageProcessor(size={"height": 40, "width": 40}, crop_size={"height": 32, "width": 32}),
        BitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, image_mean=[0.1] * 3),
        EfficientNetImageProcessor(size={"height": 32, "width": 32}),
        EfficientNetImageProcessor(size={"height": 32, "width": 32}, rescale_offset=True, rescale_factor=1 / 127.5),
        ViTImageProcessor(size={"height": 32, "width": 32}, do_rescale=False),
    ],
)
def test_all_that_is_done_to_values_is_read(processor):
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    preprocessing = read_preprocessing(processor)
    assert preprocessing.image_size == 32  # of the crop, where there is one
    processor.do_resize = processor.do_center_crop = False
    expected = processor(pixels, return_tensors="pt")["pixel_values"].float()
    torch.testing.assert_close(preprocessing(pixels), expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(UserError, match="flips RGB to BGR; allowed: RGB"):
        read_preprocessing(MobileViTImageProcessor())
    processor = ViTImageProcessor()
    processor.size = None
    with pytest.raises(UserError, match="ViTImageProcessor.* records no image size; give --image_size"):
        read_preprocessing(processor)


def test_interpolation_that_torchvision_lacks_is_refused():
    processor = build_image_processor(Preprocessing())
    processor.resample = PILImageResampling.HAMMING
    with pytest.raises(UserError, match="HAMMING interpolation; allowed: .*bicubic"):
        read_preprocessing(processor)
