"""Numbers for people."""

import jinja2
import pytest

from hf_cifar.reporting.formatting import format_count, format_estimate, format_seconds, make_templates


def test_numbers_for_people():
    assert [format_count(value) for value in (12, 4_652_008, 236e6, 1.2e9)] == ["12", "4.65 M", "236 M", "1.2 G"]
    assert [format_seconds(value) for value in (42, 384)] == ["42 s", "6.4 min"]
    assert format_estimate({"value": 0.93456, "low": 0.93, "high": 0.9401}) == "93.46 % [93.0, 94.0]"


def test_a_template_does_not_hide_a_missing_number():
    templates = make_templates("hf_cifar.reporting")
    assert templates.from_string("{{ n | count }}").render(n=2e6) == "2 M"
    with pytest.raises(jinja2.UndefinedError):
        templates.from_string("{{ n }}").render()
