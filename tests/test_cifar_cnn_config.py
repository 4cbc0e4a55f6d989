"""Every field of CifarCnnConfig is kept through saving, and refuses bad values by name."""

import json

import pytest
from transformers import AutoConfig

from hf_cifar.models import CifarCnnConfig

from .test_cifar_cnn_common import each_config

# One value for each field that is not its default.
OTHER = {
    "num_channels": 1,
    "image_size": 64,
    "stem": "whitening",
    "stem_kernel_size": 3,
    "hidden_sizes": [4, 8],
    "depths": [3, 2],
    "residual": True,
    "pooling": "after_first_convolution",
    "normalization": "batch",
    "batch_norm_momentum": 0.6,
    "batch_norm_eps": 1e-12,
    "batch_norm_scale": False,
    "convolution_bias": False,
    "identity_init": True,
    "hidden_act": "gelu",
    "final_pooling": "max",
    "classifier_hidden_sizes": [],
    "classifier_bias": False,
    "initializer_range": 0.00390625,
    "hidden_dropout": 0.1,
    "classifier_dropout": 0.2,
}
NAN, INF = float("nan"), float("inf")


def make_fields() -> set[str]:
    return set(CifarCnnConfig.__dataclass_fields__) - set(CifarCnnConfig.__mro__[1].__dataclass_fields__)


def test_other_has_every_field_and_no_default():
    assert set(OTHER) == make_fields()
    assert not [name for name, value in OTHER.items() if getattr(CifarCnnConfig(), name) == value]


@pytest.mark.parametrize(
    "more", [{}, {"num_labels": 3, "id2label": {0: "a", 1: "b", 2: "c"}, "output_hidden_states": True}]
)
def test_a_round_trip_keeps_every_field(more, tmp_path):
    config = CifarCnnConfig(**OTHER, **more)
    config.save_pretrained(tmp_path / "folder")
    config.to_json_file(tmp_path / "config.json")
    copies = [
        CifarCnnConfig.from_dict(config.to_dict()),
        CifarCnnConfig(**json.loads(config.to_json_string(use_diff=False))),
        CifarCnnConfig.from_json_file(tmp_path / "config.json"),
        CifarCnnConfig.from_pretrained(tmp_path / "folder"),
        AutoConfig.from_pretrained(tmp_path / "folder"),
        AutoConfig.for_model("cifar_cnn", **OTHER, **more),
    ]
    for copy in copies:
        assert type(copy) is CifarCnnConfig
        assert {name: getattr(copy, name) for name in OTHER} == OTHER
        assert (copy.num_labels, copy.id2label) == (config.num_labels, config.id2label)
        assert copy.output_hidden_states == config.output_hidden_states
    assert json.loads((tmp_path / "folder/config.json").read_text())["model_type"] == "cifar_cnn"


@each_config
def test_what_is_saved_is_what_was_given(options, tmp_path):
    CifarCnnConfig(**options).save_pretrained(tmp_path)
    loaded = CifarCnnConfig.from_pretrained(tmp_path)
    assert {name: getattr(loaded, name) for name in options} == options


def test_fields_can_be_changed_while_loading(tmp_path):
    CifarCnnConfig(**OTHER).save_pretrained(tmp_path)
    config, unused = CifarCnnConfig.from_pretrained(
        tmp_path, hidden_dropout=0.5, num_labels=7, nonsense=1, return_unused_kwargs=True
    )
    assert config.hidden_dropout == 0.5 and config.num_labels == len(config.id2label) == 7
    assert unused == {"nonsense": 1}


def test_sequences_become_lists():
    config = CifarCnnConfig(hidden_sizes=(4, 8), depths=(1, 1), classifier_hidden_sizes=(4,))
    assert [config.hidden_sizes, config.depths, config.classifier_hidden_sizes] == [[4, 8], [1, 1], [4]]
    assert CifarCnnConfig().hidden_sizes is not CifarCnnConfig().hidden_sizes


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"num_channels": 0}, "num_channels=0 must be positive"),
        ({"image_size": 7}, "image_size=7 .*allowed: 8 to 256"),
        ({"image_size": 257}, "image_size=257 .*allowed: 8 to 256"),
        (
            {"image_size": 8, "hidden_sizes": [4] * 4, "depths": [1] * 4},
            "image_size=8 .*4 stages.*allowed: 16 or more",
        ),
        ({"image_size": 8, "stem": "whitening"}, "image_size=8 .*3 stages.*allowed: 9 or more"),
        ({"stem": "conv"}, r"stem.*'none', 'whitening'.*conv"),
        ({"stem_kernel_size": 0}, "stem_kernel_size=0 must be from 1 to image_size=32"),
        ({"stem_kernel_size": 33}, "stem_kernel_size=33 must be from 1 to image_size=32"),
        ({"hidden_sizes": [8, 8]}, r"hidden_sizes=\[8, 8\] and depths=\[2, 2, 2\] must be of one length"),
        ({"hidden_sizes": [], "depths": []}, r"hidden_sizes=\[\] and depths=\[\]"),
        ({"hidden_sizes": [8, 0, 8]}, r"hidden_sizes=\[8, 0, 8\].*must be positive"),
        ({"depths": [1, 0, 1]}, r"depths=\[1, 0, 1\].*at least 1"),
        ({"depths": [2, 1, 2], "residual": True}, r"residual=True .*two convolutions.*depths=\[2, 1, 2\]"),
        (
            {"pooling": "after_last_convolution", "residual": True},
            "residual=True .*pooling='after_last_.*allowed: 'after_",
        ),
        ({"pooling": "never"}, "pooling.*'after_first_convolution', 'after_last_convolution'.*never"),
        ({"normalization": "layer"}, "normalization.*'batch', 'none'.*layer"),
        ({"batch_norm_momentum": 0.0}, r"batch_norm_momentum=0.0 must be in \(0, 1\]"),
        ({"batch_norm_momentum": 1.5}, r"batch_norm_momentum=1.5 must be in \(0, 1\]"),
        ({"batch_norm_momentum": NAN}, "batch_norm_momentum=nan"),
        ({"batch_norm_eps": -1e-5}, "batch_norm_eps=-1e-05 must be at least 0"),
        ({"batch_norm_eps": NAN}, "batch_norm_eps=nan"),
        ({"batch_norm_eps": INF}, "batch_norm_eps=inf .*finite"),
        ({"hidden_act": "tanh"}, "hidden_act.*'gelu', 'relu'.*tanh"),
        ({"final_pooling": "sum"}, "final_pooling.*'max', 'average', 'none'.*sum"),
        ({"classifier_hidden_sizes": [-1]}, r"classifier_hidden_sizes=\[-1\] must be positive"),
        ({"initializer_range": -0.1}, "initializer_range=-0.1 must be at least 0"),
        ({"initializer_range": INF}, "initializer_range=inf .*finite"),
        ({"hidden_dropout": 1.0}, r"hidden_dropout=1.0 must be in \[0, 1\)"),
        ({"hidden_dropout": NAN}, "hidden_dropout=nan"),
        ({"classifier_dropout": -0.1}, r"classifier_dropout=-0.1 must be in \[0, 1\)"),
        ({"num_labels": 0}, "num_labels=0 must be positive"),
        ({"problem_type": "ranking"}, "problem_type='ranking'; allowed: single_label_classification, multi_"),
    ],
    ids=str,
)
def test_bad_values_are_refused_with_the_field_and_what_is_allowed(options, reason):
    with pytest.raises(Exception, match=f"(?s){reason}"):
        CifarCnnConfig(**options)


@pytest.mark.parametrize("name", sorted(OTHER))
@pytest.mark.parametrize("value", ["many", {"a": 1}])
def test_values_of_another_type_are_refused_by_name(name, value):
    with pytest.raises(Exception, match=f"'{name}'"):
        CifarCnnConfig(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 8},
        {"image_size": 256},
        {"batch_norm_momentum": 1.0},
        {"batch_norm_eps": 0.0},
        {"initializer_range": 0.0},
        {"hidden_dropout": 0.0},
        {"depths": [2, 3, 2], "residual": True, "pooling": "after_first_convolution"},
        {"stem_kernel_size": 1, "stem": "whitening"},
    ],
    ids=str,
)
def test_values_at_the_limit_are_allowed(options):
    assert CifarCnnConfig(**options).to_dict().items() >= options.items()
