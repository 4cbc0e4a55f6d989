"""Slides: complete in every case, native, and nothing beside, over or outside of what it should be on."""

import shutil
import subprocess

import numpy as np
import pytest
from pptx import Presentation
from pptx.util import Pt

from hf_cifar.reporting.slide_charts import Series, repeat_last
from hf_cifar.reporting.slide_shapes import keep_together
from hf_cifar.reporting.slides import write_slides

from .report_cases import CASES, make_curve, make_runs, make_understanding


@pytest.fixture(scope="module", params=CASES)
def deck(request, data, tmp_path_factory):
    comparison, figures = CASES[request.param]
    path = tmp_path_factory.mktemp("slides") / "slides.pptx"
    runs = {run.name: run for run in make_runs(comparison)}
    write_slides(path, comparison, runs, make_understanding(figures).figures, data)
    return path


def test_a_student_can_present_them(deck):
    slides = list(Presentation(deck).slides)
    assert 10 <= len(slides) <= 14
    shapes = [shape for slide in slides for shape in slide.shapes]
    assert sum(shape.has_chart for shape in shapes) >= 4 and sum(shape.has_table for shape in shapes) >= 3
    titles = [slide.shapes.title.text for slide in slides]
    assert all(titles) and len(set(titles)) == len(titles)
    for words in (
        "The problem",
        "The data",
        "The models",
        "Training",
        "Results",
        "Mistakes",
        "Trade-offs",
        "Next steps",
    ):
        assert any(words in title for title in titles)
    for slide in slides[1:]:
        assert slide.has_notes_slide and slide.notes_slide.notes_text_frame.text


def test_nothing_overlaps_or_leaves_the_slide(deck):
    presentation = Presentation(deck)
    for slide in presentation.slides:
        boxes = []
        for shape in slide.shapes:
            assert shape.left >= 0 and shape.top >= 0 and shape.width > 0 and shape.height > 0
            assert shape.left + shape.width <= presentation.slide_width
            assert shape.top + shape.height <= presentation.slide_height
            boxes.append((shape.left, shape.top, shape.left + shape.width, shape.top + shape.height))
            assert not shape.is_placeholder or shape.has_text_frame and shape.text_frame.text.strip()
        for i, one in enumerate(boxes):
            for other in boxes[i + 1 :]:
                apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
                assert apart, slide.shapes.title.text


def test_text_is_large_enough_and_says_something(deck):
    for slide in Presentation(deck).slides:
        for shape in slide.shapes:
            if shape.has_text_frame:
                text = shape.text_frame.text
                assert "None" not in text.split() and "nan" not in text.split()
                for paragraph in shape.text_frame.paragraphs:
                    for run in paragraph.runs:
                        assert run.font.size is None or run.font.size >= Pt(12)


def count_lines(text: str, width: float, size: float) -> int:
    """Lines that a text takes if each letter is as wide as Arial's are on average, broken at spaces."""
    per_line, lines, used = width / (0.46 * size), 1, 0
    for word in text.split(" "):
        if used and used + len(word) > per_line:
            lines, used = lines + 1, 0
        used += len(word) + 1
    return lines


def test_text_fits_where_it_is(deck):
    for slide in Presentation(deck).slides:
        for shape in slide.shapes:
            if shape.has_text_frame:
                runs = [paragraph.runs[0] for paragraph in shape.text_frame.paragraphs]
                size = runs[0].font.size.pt
                lines = sum(count_lines(run.text, shape.width.pt - 8, size) + 0.33 for run in runs) - 0.33
                assert lines * 1.2 * size <= shape.height.pt, shape.text_frame.text
            elif shape.has_table:
                for row in shape.table.rows:
                    for cell, column in zip(row.cells, shape.table.columns, strict=True):
                        size = cell.text_frame.paragraphs[0].runs[0].font.size.pt
                        lines = count_lines(cell.text_frame.text, column.width.pt - 15, size)
                        assert lines * 1.2 * size + 5 <= row.height.pt, cell.text_frame.text


def test_pictures_charts_and_tables_are_described(deck):
    for slide in Presentation(deck).slides:
        for shape in slide.shapes:
            if not shape.has_text_frame:
                assert len(shape._element.xpath(".//p:cNvPr")[0].get("descr")) > 10


def test_numbers_stay_with_their_units():
    parts = keep_together("95.68 ± 0.10 % [95.3, 96.1], 9.92 M on 160 px in 8 s or 12 seasons").split(" ")
    assert " | ".join(parts).replace("\xa0", "_") == (
        "95.68_±_0.10_% | [95.3,_96.1], | 9.92_M | on | 160_px | in | 8_s | or | 12 | seasons"
    )


def test_curves_are_of_one_length():
    """LibreOffice does not draw a first series that is shorter than a later one."""
    short = Series("a", [1.0, 2.0], np.array([[0.1, 0.2], [0.3, 0.4]]), [1, 2])
    padded = repeat_last(short, 4)
    assert padded.values == [1.0, 2.0, 2.0, 2.0] and padded.places == [1, 2, 2, 2]
    assert padded.errors.tolist() == [[0.1, 0.2, 0.2, 0.2], [0.3, 0.4, 0.4, 0.4]]
    assert repeat_last(short, 2).values == short.values


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("soffice"), reason="LibreOffice is not installed")
def test_libreoffice_opens_them(deck, tmp_path):
    subprocess.run(["soffice", "--headless", "--convert-to", "pdf", "--outdir", tmp_path, deck], check=True)
    assert (tmp_path / "slides.pdf").stat().st_size > 20_000


def test_text_beside_a_chart_is_not_cut(data, tmp_path):
    """With real sentences: of a curve, and of a robustness that was not measured."""
    comparison, figures = CASES["two models"]
    comparison = {**comparison, "models": [{**each, "robustness": None} for each in comparison["models"]],
                  "data_efficiency": make_curve([each["name"] for each in comparison["models"]])}  # fmt: skip
    path = tmp_path / "slides.pptx"
    runs = {run.name: run for run in make_runs(comparison)}
    write_slides(path, comparison, runs, make_understanding(figures).figures, data)
    slide = next(each for each in Presentation(path).slides if "How many labels" in each.shapes.title.text)
    texts = [shape.text_frame.text for shape in slide.shapes if shape.has_text_frame]
    assert not any("…" in each for each in texts)
    assert all(sentence in "\n".join(texts) for sentence in comparison["data_efficiency"]["sentences"][:3])
