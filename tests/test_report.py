"""The report: complete in every case, self-contained, and plain about the sample."""

import json
import re
import xml.etree.ElementTree

import pytest

from hf_cifar.evaluation.comparison import load_runs
from hf_cifar.reporting.report import REPORT_FILES, format_table, report_runs, write_comparison

from .report_cases import CASES, make_runs, make_understanding

SECTIONS = ("Results", "Cost", "Trade-offs", "Discussion", "Data efficiency", "Robustness", "Calibration",
            "Understanding the mistakes", "How it was measured", "Limits and next steps")  # fmt: skip
EMPTY = re.compile(r"\bNone\b|\bnan\b|\binf\b|\{\{|\{%")


@pytest.fixture(scope="module")
def report(cnn_run, frozen_run, data, tmp_path_factory):
    """A comparison of two trained models, and the paths of what was written."""
    runs = load_runs([str(cnn_run), str(frozen_run)])
    return report_runs(runs, data, tmp_path_factory.mktemp("comparison"))


def test_everything_is_written(report):
    comparison, paths = report
    folder = paths["html"].parent
    assert {path.name for path in folder.iterdir()} == set(REPORT_FILES)
    written = json.loads(paths["comparison"].read_text())
    assert written["models"] == json.loads(json.dumps(comparison["models"]))
    assert written["understanding"]["label_suspects"]["doubted_by_any"] >= 0
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert figures == {path.stem for path in (folder / "figures").glob("*.svg")}
    for name in ("accuracies", "pareto", "tradeoffs", "confused_pairs", "reliability", "roc_curves", "feature_maps",
                 "activation_maps", "first_filters", "confusion_matrices", "class_scores"):  # fmt: skip
        assert name in figures
        xml.etree.ElementTree.parse(folder / "figures" / f"{name}.svg")


def test_markdown_has_both_models_numbers(report):
    comparison, paths = report
    text = paths["markdown"].read_text()
    for model in comparison["models"]:
        assert f"{100 * model['accuracy']['value']:.2f} %" in text and model["name"] in text
        assert f"{model['inference']['latency_ms']:.3g} ms" in text
    for heading in SECTIONS:
        assert f"## {heading}" in text
    assert comparison["pairs"][0]["sentence"] in text
    for picture in re.findall(r"\((figures/\S+)\)", text):
        assert (paths["markdown"].parent / picture).stat().st_size > 4000


def test_it_says_plainly_that_it_is_a_sample(report):
    comparison, paths = report
    assert "This is the bundled sample" in paths["markdown"].read_text()
    assert "This is the bundled sample" in paths["html"].read_text()
    assert "NOTE: measured on the bundled sample" in format_table(comparison)


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_whole(case, data, tmp_path):
    comparison, figures = CASES[case]
    paths = write_comparison(comparison, make_runs(comparison), make_understanding(figures), data, tmp_path / "c")
    text, html = paths["markdown"].read_text(), paths["html"].read_text()
    assert not EMPTY.search(text) and not EMPTY.search(re.sub(r"base64,[^\"]+", "", html))
    for heading in SECTIONS:
        assert f"## {heading}" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):  # no row of a table is broken
        columns = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(columns)) == 1
    links = re.findall(r'(?:src|href)="([^"]{0,40})', html)
    assert not [link for link in links if not link.startswith(("data:", "#"))]
    anchors = set(re.findall(r'id="([^"]+)"', html))
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert html.count("<table>") == html.count('<div class="table"') > 1
    table = format_table(comparison)
    assert not EMPTY.search(table) and all(model["name"] in table for model in comparison["models"])


def test_equal_runs_give_equal_pictures(report, cnn_run, frozen_run, data, tmp_path):
    _, paths = report
    runs = load_runs([str(cnn_run), str(frozen_run)])
    _, again = report_runs(runs, data, tmp_path / "again", load_models=False)
    for name in ("confused_pairs.png", "accuracies.svg", "reliability.svg"):
        first, second = (each["html"].parent / "figures" / name for each in (paths, again))
        assert first.read_bytes() == second.read_bytes()
    assert "Latency, throughput, memory and size in use were not measured" in again["markdown"].read_text()
