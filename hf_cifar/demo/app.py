"""Owns the demo's page: a picture is given or picked, and each model's answer appears beside the other's."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import UserError
from .classifier import SHOWN, Answer, Classifier
from .examples import Groups
from .pictures import NAMES, read_picture

if TYPE_CHECKING:
    import gradio

INSTALL = "pip install 'gradio>=6,<7'"
PAGE = 12  # example images shown at once
LARGEST_FILE = "20mb"
KEPT = 3600  # seconds that a visitor's file stays on the server
# On a phone the answers are below what was clicked.
SHOW_ANSWER = "() => innerWidth < 768 && document.getElementById('message').scrollIntoView({behavior: 'smooth'})"
SIDE = 320  # pixels; how large pictures are drawn
CSS = """
.gradio-container {max-width: 1100px !important; margin: 0 auto !important}
#examples .grid-container {grid-template-columns: repeat(auto-fill, minmax(72px, 1fr)) !important; gap: 6px}
#examples, #examples .grid-wrap {min-height: 0 !important; max-height: none !important; height: auto !important}
#examples img {image-rendering: pixelated}
#message {min-height: 1.6em; scroll-margin-top: 1em}
#message p {font-size: 1.15em}
.model h3 {margin: 0}
"""


def import_gradio():
    """Gradio, told not to call home.

    Raises:
        UserError: It is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise UserError(f"the demo needs gradio; {INSTALL}") from error
    return gradio


def build_app(classifiers: list[Classifier], groups: Groups) -> "gradio.Blocks":
    """The page.

    Args:
        classifiers: one or two, of different names.
        groups: example images; may be empty.
    """
    gr = import_gradio()
    with gr.Blocks(title="Image classification demo", analytics_enabled=False, delete_cache=(KEPT, KEPT)) as app:
        gr.Markdown(f"# What is in the picture?\n\n{describe_limits(classifiers)}")
        with gr.Row():
            with gr.Column():
                upload = gr.File(label="Your picture", height=170, elem_id="upload")
                gr.Markdown(f"{NAMES} files can be used. They are deleted from the server within two hours.")
            with gr.Column():
                picked = add_examples(gr, groups) if groups else None
        message = gr.Markdown("Give a picture, or pick one.", elem_id="message")
        with gr.Row():
            with gr.Column(min_width=240):
                gr.Markdown("### The picture")
                shown = add_image(gr, "shown", "The picture that was given")
            outputs = [message, shown]
            for number, classifier in enumerate(classifiers):
                outputs += add_model(gr, number, classifier)

        def answer_file(path: str) -> list:
            try:
                pixels, notes = read_picture(path)
            except UserError as error:
                return [None, str(error), *[None] * (len(outputs) - 1)]
            return [None, *answer(classifiers, pixels, " ".join(notes))]  # None: ready for the next picture

        upload.upload(answer_file, upload, [upload, *outputs], api_visibility="private").then(js=SHOW_ANSWER)
        if picked is not None:
            gallery, place = picked

            def answer_example(place: tuple[str, int], event: gr.SelectData) -> list:
                example = groups[place[0]][place[1] + event.index]
                text = f"{example.title}, labelled **{example.label}**."
                return answer(classifiers, example.pixels, text)

            gallery.select(answer_example, place, outputs, api_visibility="private").then(js=SHOW_ANSWER)
    return app


def describe_limits(classifiers: list[Classifier]) -> str:
    """What visitors must know before they believe an answer."""
    names = [each.class_names for each in classifiers]
    who = "The model knows" if len(names) == 1 else "Both models know"
    if any(each != names[0] for each in names) or len(names[0]) > 20:
        counts = " and ".join(f"{len(each):,}" for each in names)
        kinds = f"its own {counts} classes" if len(names) == 1 else f"their own classes ({counts})"
        return f"{who} only {kinds}. A picture of anything else still gets one of them as an answer."
    return (
        f"{who} only these {len(names[0])} classes: {', '.join(names[0])}. A photograph of anything else still gets "
        f"one of the {len(names[0])} as an answer, and it may look sure of it."
    )


def add_examples(gr, groups: Groups) -> tuple:
    """A choice of groups and a page of the chosen one; gives the gallery, and group and start of what it shows."""
    first = next(iter(groups))

    def draw(name: str, start: int = 0) -> tuple:
        # Both change at once: a click means what was seen, whatever is chosen by then.
        return gr.Gallery(make_page(groups, name, start), selected_index=None), (name, start)

    def turn(place: tuple[str, int]) -> tuple:
        name, start = place[0], place[1] + PAGE
        return draw(name, start if start < len(groups[name]) else 0)

    choice = gr.Dropdown(list(groups), value=first, label="Test images", elem_id="group")
    gallery = gr.Gallery(
        make_page(groups, first, 0), show_label=False, columns=10, allow_preview=False, format="png",
        object_fit="contain", height="auto", buttons=[], interactive=False, elem_id="examples",
    )  # fmt: skip
    more = gr.Button("Other images", size="sm", elem_id="more")
    place = gr.State((first, 0))
    choice.change(draw, choice, [gallery, place], api_visibility="private")
    more.click(turn, place, [gallery, place], api_visibility="private")
    return gallery, place


def make_page(groups: Groups, name: str, start: int) -> list[Image.Image]:
    """The images of a group that are shown at once."""
    return [Image.fromarray(each.pixels) for each in groups[name][start : start + PAGE]]


def add_image(gr, name: str, description: str) -> "gradio.Image":
    """A place for a picture; without a label, which would hide its corner."""
    return gr.Image(
        show_label=False, interactive=False, buttons=[], format="png", elem_id=name, alt_text=description, height=SIDE
    )


def add_model(gr, number: int, classifier: Classifier) -> list:
    """A column for one model's answer; gives its outputs."""
    with gr.Column(min_width=240, elem_classes="model", elem_id=f"model_{number}"):
        gr.Markdown(f"### {classifier.name}")
        label = gr.Label(num_top_classes=SHOWN, label="Answer", elem_id=f"answer_{number}")
        gr.Markdown(classifier.calibration)
        gr.Markdown("Where it looked: bright places speak for its answer.")
        where = add_image(gr, f"where_{number}", f"Where {classifier.name} looked")
        seconds = gr.Markdown(elem_id=f"seconds_{number}")
    return [label, where, seconds]


def answer(classifiers: list[Classifier], pixels: np.ndarray, text: str) -> list:
    """Values for all outputs: message, picture, and of each model probabilities, map and a line of text."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((2 * SIDE, 2 * SIDE))
    answers: list[Answer] = []
    for classifier in classifiers:
        try:
            answers.append(classifier.answer(pixels))
        except UserError as error:
            return [f"{classifier.name}: {error}", picture, *[None] * (3 * len(classifiers))]
    values = [" ".join([compare(classifiers, answers), text]), enlarge(picture)]
    for each in answers:
        where = None if each.overlay is None else Image.fromarray(each.overlay).resize((SIDE, SIDE))
        note = "" if where is not None else "Where it looked cannot be said of this kind of model. "
        values += [each.best, where, f"{note}Answered in {each.seconds:.2f} s."]
    return values


def compare(classifiers: list[Classifier], answers: list[Answer]) -> str:
    """A sentence that says what the models make of a picture."""
    best = [next(iter(each.best)) for each in answers]
    if len(best) == 1:
        return f"The answer is **{best[0]}**."
    if best[0] == best[1]:
        return f"Both say **{best[0]}**."
    return f"They disagree: {classifiers[0].name} says **{best[0]}**, {classifiers[1].name} **{best[1]}**."


def enlarge(picture: Image.Image) -> Image.Image:
    """Small pictures show their pixels, as `draw_galleries` does."""
    scale = SIDE // max(picture.size)
    return picture if scale < 2 else picture.resize([side * scale for side in picture.size], Image.Resampling.NEAREST)


def launch(
    app: "gradio.Blocks",
    host: str | None = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    block: bool = True,
    report: Callable[[str], None] | None = None,
) -> str:
    """Serve the page until it is interrupted.

    Args:
        app: see `build_app`.
        host: name or address to listen at; None for $GRADIO_SERVER_NAME (which Spaces set), else this machine alone.
        port: None for the first free one from 7860 on.
        share: whether Gradio's servers make it public; nothing is sent to them otherwise.
        block: whether to wait; else it is served by a thread.
        report: gets the addresses.

    Returns:
        The local address.

    Raises:
        UserError: The port or the host cannot be had.
    """
    gr = import_gradio()
    # Gradio's own theme fetches its fonts from the internet.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    try:
        _, local, public = app.launch(
            server_name=host, server_port=port, share=share, prevent_thread_lock=True, quiet=True, theme=theme,
            css=CSS, max_file_size=LARGEST_FILE, footer_links=["gradio"], ssr_mode=False, pwa=False, show_error=False,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"host={host}, port={port}: {error}; give another --port, or leave it out") from error
    if report is not None:
        report(f"Open {local}" + (f" or {public}" if public else ""))
    if block:
        app.block_thread()
    return local
