"""The report: complete, self-contained, and plain about the sample."""

import re

import pytest

from hf_cifar.evaluation.comparison import load_runs
from hf_cifar.reporting.report import format_table, write_comparison


@pytest.fixture(scope="module")
def report(cnn_run, frozen_run, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    runs = load_runs([str(cnn_run), str(frozen_run)])
    return runs, write_comparison(runs, data, folder)


def test_markdown_has_both_runs_numbers(report):
    runs, paths = report
    text = paths["markdown"].read_text()
    for run in runs:
        value = run.results["metrics"]["test"]["accuracy"]["value"]
        assert f"{100 * value:.2f} %" in text and run.name in text
    for heading in ("Results", "Cost", "Discussion", "Learning curves", "Confusion matrices", "Sample predictions"):
        assert f"## {heading}" in text
    for picture in re.findall(r"\((figures/\S+)\)", text):
        assert (paths["markdown"].parent / picture).stat().st_size > 5000
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows and all(line.count("|") == 4 for line in rows)  # no row is broken


def test_it_says_plainly_that_it_is_a_sample(report):
    runs, paths = report
    assert "This is the bundled sample" in paths["markdown"].read_text()
    assert "This is the bundled sample" in paths["html"].read_text()
    assert "NOTE: measured on the bundled sample" in format_table(runs)


def test_html_needs_no_other_file(report):
    _, paths = report
    html = paths["html"].read_text()
    assert html.count('src="data:image/png;base64,') == 4
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert html.count("<table>") == 3


def test_a_final_run_says_that_it_kept_no_validation_set(cnn_run, frozen_run, data, tmp_path):
    runs = load_runs([str(cnn_run), str(frozen_run)])
    results = runs[0].results
    results["metrics_tta"] = {"test": results["metrics"]["test"]}
    results["recipe"]["tta"] = "mirror"
    del results["metrics"]["validation"]
    for row in results["history"]:
        row.pop("validation_accuracy")
    text = write_comparison(runs, data, tmp_path / "comparison")["markdown"].read_text()
    assert "| validation accuracy | no validation set |" in text
    assert re.search(r"\| with test-time augmentation \| \d+\.\d\d % \[.*\] \| not measured \|", text)
    assert "| test-time augmentation | mirror | none |" in text
