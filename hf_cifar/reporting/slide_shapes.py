"""Owns what a slide is made of: text, tables and pictures in boxes, cut or made smaller until they fit."""

import io
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.text import MSO_ANCHOR
from pptx.slide import Slide
from pptx.util import Inches, Pt

FONT = "Arial"  # LibreOffice has one with the same widths
DARK = RGBColor(0x1B, 0x1F, 0x24)
HEADING = RGBColor(0x0B, 0x3C, 0x5D)
WIDTH, HEIGHT = 13.333, 7.5  # of a slide, in inches
SPACING = 1.2  # lines, in sizes of the font


class Box(NamedTuple):
    """A place on a slide, in inches."""

    left: float
    top: float
    width: float
    height: float

    def to_emu(self) -> list[Inches]:
        """As python-pptx takes it."""
        return [Inches(each) for each in self]


TITLE = Box(0.6, 0.35, 12.1, 0.95)
BODY = Box(0.6, 1.45, 12.1, 5.4)
LEFT, RIGHT = Box(0.6, 1.45, 7.3, 5.4), Box(8.2, 1.45, 4.5, 5.4)


def make_deck():
    """An empty presentation, 16:9; python-pptx's own template is 4:3, so its placeholders are stretched."""
    deck = Presentation()
    stretch = Inches(WIDTH) / deck.slide_width
    for layout in (deck.slide_master, *deck.slide_layouts):
        for shape in layout.shapes:
            shape.left, shape.width = round(shape.left * stretch), round(shape.width * stretch)
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    return deck


def add_slide(deck, title: str, notes: Sequence[str], box: Box = TITLE, size: int = 30) -> Slide:
    """A slide with a title, its number and speaker notes."""
    slide = deck.slides.add_slide(deck.slide_layouts.get_by_name("Title Only"))
    shape = slide.shapes.title
    shape.left, shape.top, shape.width, shape.height = box.to_emu()
    write_paragraphs(shape.text_frame, [title], box, size, is_bold=True)
    shape.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
    number = slide.shapes.add_textbox(*Box(12.1, 6.95, 0.7, 0.4).to_emu())
    write_paragraphs(number.text_frame, [str(len(deck.slides))], Box(0, 0, 0.7, 0.4), 14)
    slide.notes_slide.notes_text_frame.text = "\n".join(notes)
    return slide


def measure_text(text: str, size: float) -> float:
    """About how wide a text is in inches, by Arial's widths."""
    units = sum(
        0.3 if c in " iljtfrI.,;:|'!()[]" else 0.86 if c in "mwMW%@" else 0.7 if c.isupper() else 0.56 for c in text
    )
    return units * size / 72


def count_lines(text: str, width: float, size: float) -> int:
    """Lines of a paragraph that is broken at spaces, and within words that are longer than a line."""
    lines, used = 1, 0.0
    for word in text.split(" "):
        length = measure_text(word, size)
        if used and used + length > width:
            lines, used = lines + 1, 0.0
        if length > width:
            lines += math.ceil(length / width) - 1
            length %= width
        used += length + measure_text(" ", size)
    return lines


def cut(text: str) -> str:
    """A text that is a tenth shorter, ending in an ellipsis."""
    words = text.removesuffix("…").rstrip()
    kept = words[: int(0.9 * len(words))]
    return (kept.rsplit(" ", 1)[0] if " " in kept and len(kept) > 24 else kept).rstrip(" ,;:") + "…"


def fit_paragraphs(paragraphs: Sequence[str], box: Box, size: int, smallest: int = 14) -> tuple[list[str], int]:
    """Paragraphs and a size of font at which they fit: smaller, and only then cut, the longest first."""
    paragraphs, width = list(paragraphs), box.width - 0.35

    def measure(size: int) -> float:
        lines = sum(count_lines(text, width, size) + 0.4 for text in paragraphs)
        return lines * SPACING * size / 72 + 0.1

    while size > smallest and measure(size) > box.height:
        size -= 1
    while measure(size) > box.height and max(map(len, paragraphs)) > 20:
        longest = max(range(len(paragraphs)), key=lambda place: len(paragraphs[place]))
        paragraphs[longest] = cut(paragraphs[longest])
    return paragraphs, size


def write_paragraphs(frame, paragraphs: Sequence[str], box: Box, size: int, is_bold: bool = False) -> None:
    """Fill a text frame that is as large as `box`."""
    texts, size = fit_paragraphs([keep_together(text) for text in paragraphs], box, size)
    frame.word_wrap = True
    frame.margin_left = frame.margin_right = Inches(0.05)
    frame.margin_top = frame.margin_bottom = Inches(0.03)
    for place, text in enumerate(texts):
        paragraph = frame.paragraphs[0] if place == 0 else frame.add_paragraph()
        paragraph.alignment = 1  # left
        paragraph.space_after = Pt(0 if len(texts) == 1 else 0.4 * size)
        run = paragraph.add_run()
        run.text, run.font.size, run.font.name, run.font.bold = text, Pt(size), FONT, is_bold
        run.font.color.rgb = HEADING if is_bold else DARK


def add_text(slide: Slide, paragraphs: Sequence[str], box: Box, size: int = 20, is_list: bool = True) -> None:
    """Sentences, as a list where there are several."""
    marked = [f"• {text}" for text in paragraphs] if is_list and len(paragraphs) > 1 else paragraphs
    write_paragraphs(slide.shapes.add_textbox(*box.to_emu()).text_frame, marked, box, size)


def describe(shape, text: str) -> None:
    """Set what a screen reader says."""
    shape._element.xpath(".//p:cNvPr")[0].set("descr", text)


def add_picture(slide: Slide, figure: Figure, box: Box, description: str) -> None:
    """A figure, as large as fits, in the middle of its box."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    picture = slide.shapes.add_picture(content, 0, 0)
    scale = min(Inches(box.width) / picture.width, Inches(box.height) / picture.height)
    picture.width, picture.height = int(picture.width * scale), int(picture.height * scale)
    picture.left = Inches(box.left) + (Inches(box.width) - picture.width) // 2
    picture.top = Inches(box.top) + (Inches(box.height) - picture.height) // 2
    describe(picture, description)


def keep_together(text: str) -> str:
    """A text that is not broken between a number and its unit, nor within an interval."""
    text = re.sub(r"(?<=\d) (?=(?:%|px|[kMG]|ms|s|min|MB|GiB|J)(?:\W|$))| (?=±)|(?<=±) ", "\xa0", text)
    return re.sub(r"\[[^\]]{,20}\]", lambda match: match[0].replace(" ", "\xa0"), text)


def choose_widths(rows: Sequence[Sequence[str]], width: float, size: int) -> list[float]:
    """Widths of columns: each word fits, the rest goes to those with more text; beyond `width` if words need it."""
    columns = list(zip(*rows, strict=True))
    least = [max(measure_text(word, size) for cell in column for word in cell.split(" ")) for column in columns]
    least = [min(each, 3) + 0.3 for each in least]
    wanted = [min(max(measure_text(cell, size) for cell in column), 4) + 0.3 for column in columns]
    more = [max(want - need, 0) + 0.01 for want, need in zip(wanted, least, strict=True)]
    spare = max(width - sum(least), 0) / sum(more)
    return [need + spare * each for need, each in zip(least, more, strict=True)]


def add_table(slide: Slide, rows: Sequence[Sequence[str]], box: Box, description: str, size: int = 20) -> None:
    """A native table with a heading row, in the widths that its text needs."""
    rows = [[keep_together(cell) for cell in row] for row in rows]

    def measure() -> list[float]:
        inner = [width - 0.22 for width in widths]
        lines = (max(map(count_lines, row, inner, [size] * len(row))) for row in rows)
        return [each * SPACING * size / 72 + 0.14 for each in lines]

    widths = choose_widths(rows, box.width, size)
    while size > 12 and (sum(widths) > box.width + 0.01 or sum(measure()) > box.height):
        size -= 1
        widths = choose_widths(rows, box.width, size)
    widths = [width * min(1, box.width / sum(widths)) for width in widths]
    while sum(measure()) > box.height and max(len(cell) for row in rows for cell in row) > 12:
        row = max(rows, key=lambda row: max(map(count_lines, row, widths, [size] * len(row))))
        place = max(range(len(row)), key=lambda place: count_lines(row[place], widths[place] - 0.22, size))
        row[place] = cut(row[place])
    heights = measure()
    frame = slide.shapes.add_table(len(rows), len(widths), *box._replace(height=sum(heights)).to_emu())
    describe(frame, description)
    for place, width in enumerate(widths):
        frame.table.columns[place].width = Inches(width)
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        frame.table.rows[number].height = Inches(height)
        for place, text in enumerate(row):
            cell = frame.table.cell(number, place)
            cell.margin_top = cell.margin_bottom = Inches(0.04)
            cell.vertical_anchor = MSO_ANCHOR.MIDDLE
            run = cell.text_frame.paragraphs[0].add_run()
            run.text, run.font.size, run.font.name, run.font.bold = text, Pt(size), FONT, number == 0
            run.font.color.rgb = RGBColor(255, 255, 255) if number == 0 else DARK
            if number == 0:
                cell.fill.solid()
                cell.fill.fore_color.rgb = HEADING
