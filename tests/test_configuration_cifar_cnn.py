"""The configuration: typed, validated, and kept through saving."""

import pytest

from hf_cifar.models import CifarCnnConfig

from .conftest import TINY_CNN


def test_it_survives_saving(tmp_path):
    config = CifarCnnConfig(**TINY_CNN, num_labels=10)
    config.save_pretrained(tmp_path)
    loaded = CifarCnnConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict() and loaded.hidden_sizes == [16, 32]


@pytest.mark.parametrize(
    "options",
    [
        {"depths": [1]},
        {"depths": [1, 0, 1]},
        {"hidden_sizes": [0, 1, 1]},
        {"image_size": 4},
        {"hidden_dropout": 1.0},
        {"classifier_dropout": -0.1},
        {"stem": "conv"},
        {"hidden_act": "tanh"},
        {"batch_norm_scale": "yes"},
    ],
)
def test_bad_values_are_refused(options):
    with pytest.raises(Exception, match=next(iter(options))):
        CifarCnnConfig(**options)


def test_sizes_follow_from_the_stages():
    config = CifarCnnConfig(stem="whitening", stem_kernel_size=2)
    assert config.stem_channels == 24 and config.final_size == 3  # 32 -> 31 -> 15 -> 7 -> 3
    assert CifarCnnConfig().stem_channels == 3 and CifarCnnConfig().final_size == 4
