"""Image processors and `Preprocessing` say the same thing."""

import pytest
from transformers import AutoImageProcessor
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


def test_interpolation_that_torchvision_lacks_is_refused():
    processor = build_image_processor(Preprocessing())
    processor.resample = PILImageResampling.HAMMING
    with pytest.raises(UserError, match="HAMMING interpolation; allowed: .*bicubic"):
        read_preprocessing(processor)
