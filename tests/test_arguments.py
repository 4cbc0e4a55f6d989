"""Options check themselves."""

import pytest

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments, parse_mapping
from hf_cifar.errors import UserError


def test_mappings_come_as_json_or_as_they_are():
    assert parse_mapping("x", '{"a": [1]}') == parse_mapping("x", {"a": [1]}) == {"a": [1]}
    assert parse_mapping("x", None) == {}
    for bad in ("{a: 1}", "[1]", "3"):
        with pytest.raises(UserError, match="x="):
            parse_mapping("x", bad)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (DataArguments, {"translate": -1}),
        (ModelArguments, {"model_name_or_path": "m", "image_size": 4}),
        (RecipeArguments, {"momentum": 1.0}),
        (RecipeArguments, {"early_stopping_patience": -1}),
    ],
)
def test_values_out_of_range_are_refused_by_name(arguments, options):
    with pytest.raises(UserError, match=f"{list(options)[-1]}={list(options.values())[-1]}"):
        arguments(**options)
