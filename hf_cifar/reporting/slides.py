"""Owns slides.pptx: what each slide of a comparison says, with native charts and tables and speaker notes."""

from pathlib import Path

from matplotlib.figure import Figure

from ..data.table import ImageData
from ..evaluation.comparison import Run
from ..evaluation.tradeoffs import get_cost
from . import comparison_text as text
from .comparison_figures import get_errors
from .explore import draw_classes
from .formatting import get_dataset_title
from .slide_charts import Series, add_bar_chart, add_scatter_chart
from .slide_shapes import BODY, LEFT, RIGHT, TITLE, Box, add_picture, add_slide, add_table, add_text, make_deck

MAX_CLASSES, MAX_MODELS, MAX_COLUMNS = 12, 8, 3  # more bars, rows or columns than that cannot be read
PICTURES = ("confused", "mistake")  # parts of the names of figures that show errors, the best first
SENTENCES = 3  # under a chart; the notes have all
TOP, UNDER = BODY._replace(height=4.1), Box(BODY.left, 5.7, BODY.width, 1.15)
HALVES = BODY._replace(width=5.95, height=4.1), Box(6.75, BODY.top, 5.95, 4.1)


def write_slides(
    path: Path, comparison: dict, runs: dict[str, Run], figures: dict[str, Figure], data: ImageData
) -> None:
    """Write 14 slides that can be presented.

    Args:
        path: of the file.
        comparison: as `compare_runs` makes it.
        runs: those shown, by model.
        figures: of `Understanding`; one of them shows errors.
        data: for pictures of the classes.
    """
    Slides(comparison, runs, figures, data).make().save(path)


class Slides:
    """A deck under construction: one method per slide."""

    def __init__(self, comparison: dict, runs: dict[str, Run], figures: dict[str, Figure], data: ImageData) -> None:
        models = sorted(comparison["models"], key=lambda model: -model["accuracy"]["value"])[:MAX_MODELS]
        self.models = [model for model in comparison["models"] if model in models]
        self.comparison = comparison | {"models": self.models}
        self.is_turned = len(self.models) <= MAX_COLUMNS
        names = [model["name"] for model in comparison["models"]]
        self.short = text.shorten_names(names, 30 if self.is_turned else 26)
        self.runs, self.figures, self.data, self.deck = runs, figures, data, make_deck()
        self.title = get_dataset_title(comparison["data"]["name"])

    def make(self):
        """All slides in order; gives the presentation."""
        self.add_opening()
        self.add_task()
        self.add_data()
        self.add_models()
        self.add_training()
        self.add_results()
        self.add_verdict()
        self.add_classes()
        self.add_errors()
        self.add_robustness()
        self.add_cost()
        self.add_tradeoffs()
        steps = text.list_next_steps(self.comparison)
        self.add_list("Next steps", steps)
        self.add_measuring()
        return self.deck

    def shorten(self, sentences: list[str]) -> list[str]:
        """Sentences with short names."""
        return [text.shorten_in(sentence, self.short) for sentence in sentences]

    def rows(self, rows: text.Rows) -> text.Rows:
        """A table with short names; its lines are models, or its columns where there are few."""
        rows = rows if self.is_turned else [list(column) for column in zip(*rows, strict=True)]
        rows = [[text.shorten_in(cell, self.short) for cell in row] for row in rows]
        return [["" if self.is_turned else "model", *rows[0][1:]], *rows[1:]]

    def quote(self, *names: str) -> list[str]:
        """The sentences of these axes of the trade-off."""
        axes = (axis for axis in self.comparison["tradeoffs"] if axis["axis"] in names)
        return [f"{axis['label']}: {axis['sentence']}" for axis in axes]

    def add_list(self, title: str, sentences: list[str]) -> None:
        """A slide of sentences."""
        add_text(add_slide(self.deck, title, sentences), self.shorten(sentences), BODY, 28)

    def add_opening(self) -> None:
        """What is compared, on what, when."""
        notes = text.summarize(self.comparison)
        title = Box(TITLE.left, 2.0, TITLE.width, 1.9)
        slide = add_slide(self.deck, text.make_title(self.comparison), notes, title, 44)
        images = self.comparison["data"]["num_images"]
        lines = [f"Image classification on {self.title}", f"{images:,} test images, {self.comparison['created'][:10]}"]
        lines += [", ".join(self.names)] if len(self.models) > 2 else []
        add_text(slide, lines, Box(TITLE.left, 4.1, TITLE.width, 2.2), 24, is_list=False)

    def add_task(self) -> None:
        """The problem, and what an honest answer needs."""
        data = self.comparison["data"]
        kinds = {model["kind"] for model in self.models}
        question = "Is it worth starting from a pretrained model, or does a network from scratch do?"
        sentences = [
            f"Say which of {len(data['class_names'])} classes an image belongs to.",
            question if len(kinds) > 1 else "How good is the model, and what does it cost?",
            f"All models are tested on the same {data['num_images']:,} images, once, after training.",
            "Every number has a 95 % interval; two models differ only if an exact test says so.",
            "Accuracy is one side; labels, training, latency and size are the other.",
        ]
        self.add_list("The problem", sentences)

    def add_data(self) -> None:
        """Pictures of the classes."""
        names, sizes = self.data.class_names, next(iter(self.runs.values())).results["data"]["sizes"]
        sentences = [
            f"{self.title[0].upper()}{self.title[1:]}: {len(names)} classes, {self.data.image_size} pixels a side.",
            "Images to train, validate and test: {train:,}, {validation:,}, {test:,}.".format(**sizes),
        ]
        if self.comparison["data"]["is_sample"]:
            sentences.append("It is the bundled sample: its numbers say nothing about the models.")
        slide = add_slide(self.deck, "The data", sentences)
        description = f"Training images of each class: {', '.join(names[:20])}"
        add_picture(slide, enlarge_labels(draw_classes(self.data.train), 18), LEFT, description)
        add_text(slide, sentences, RIGHT)

    def add_models(self) -> None:
        """What each model is."""
        rows = text.make_cost_rows(self.comparison)
        wanted = ["", "kind", "starts from", "training images", "input size", "parameters", "FLOPs per image"]
        wanted += ["epochs", "size on disk", "trained on"] if self.is_turned else []
        notes = [f"{model['name']}: {text.KINDS.get(model['kind'], model['kind'])}." for model in self.models]
        slide = add_slide(self.deck, "The models", notes)
        add_table(slide, self.rows([row for row in rows if row[0] in wanted]), BODY, "What each model is")

    def add_training(self) -> None:
        """Learning curves; where no run has one, training times."""
        histories = {name: run.results["history"] for name, run in self.runs.items() if run.results["history"]}
        rows = text.make_cost_rows(self.comparison)
        times = next(row for row in rows if row[0] == "training time")[1:]
        notes = [f"{model['name']} trained for {time}." for model, time in zip(self.models, times, strict=True)]
        slide = add_slide(self.deck, "Training", notes)
        add_text(slide, self.shorten(notes)[:3], UNDER, 16)
        key = "validation_accuracy"
        if not all(key in row for history in histories.values() for row in history):
            key = "loss"
        points = {name: [(row["epoch"], row[key]) for row in rows if key in row] for name, rows in histories.items()}
        points = {name: each for name, each in points.items() if each and name in self.short}
        if not points:
            minutes = [get_cost(model, "train_seconds") / 60 for model in self.models]
            series = [Series("training time", minutes)]
            add_bar_chart(slide, self.names, series, TOP, "training time (min)", "Training time of each model")
            return
        lengths = [each[-1][0] for each in points.values()]
        is_share = max(lengths) > 3 * min(lengths)  # a short run's curve would be a stroke at the side
        factor = 100 if key != "loss" else 1
        series = [
            Series(
                self.short[name], [factor * y for _, y in each],
                places=[100 * x / each[-1][0] if is_share else x for x, _ in each],
            )
            for name, each in points.items()
        ]  # fmt: skip
        titles = ("training done (%)" if is_share else "epoch", "validation accuracy (%)" if factor > 1 else "loss")
        add_scatter_chart(slide, series, TOP, titles, f"Learning curves: {titles[1]} by {titles[0]}", is_log=False)

    @property
    def names(self) -> list[str]:
        """Short names of the models shown."""
        return [self.short[model["name"]] for model in self.models]

    def add_results(self) -> None:
        """The scores side by side."""
        keys = ["macro_f1", "negative_log_likelihood", "calibration_error"]
        keys += ["top_5_accuracy", "kappa", "roc_auc", "brier"] if self.is_turned else []
        rows = self.rows(text.make_score_rows(self.comparison, keys))
        notes = [f"{model['name']}: accuracy {text.format_score(model['accuracy'])}." for model in self.models]
        slide = add_slide(self.deck, "Results on the test images", [*notes, "Brackets are 95 % intervals."])
        add_table(slide, rows, BODY._replace(height=4.7), "Scores of each model")
        add_text(slide, ["Brackets are 95 % intervals over test images."], UNDER._replace(top=6.3, height=0.5), 16)

    def add_verdict(self) -> None:
        """Accuracies, and what may be concluded from them."""
        sentences = text.summarize(self.comparison)
        slide = add_slide(self.deck, "Who is better?" if len(self.models) > 1 else "How good is it?", sentences)
        values, errors = get_errors([model["accuracy"] for model in self.models])
        lowest = max(0, 5 * int(((values - errors[0]).min() - 1) // 5))
        is_wide = len(self.models) > 3
        series = [Series("test accuracy", values.tolist(), errors)]
        add_bar_chart(
            slide, self.names, series, TOP if is_wide else LEFT, "test accuracy (%)",
            "Test accuracy of each model with 95 % intervals", lowest, digits=2,
        )  # fmt: skip
        shown = self.shorten(sentences)[: 2 if is_wide else 4]
        add_text(slide, shown, UNDER if is_wide else RIGHT, 18)

    def add_classes(self) -> None:
        """F1 per class."""
        scores = {
            model["name"]: {name: row["f1"] for name, row in found.results["metrics"]["test"]["per_class"].items()}
            for model in self.models
            if (found := self.runs.get(model["name"]))
        }
        classes = list(next(iter(scores.values())))
        means = {name: sum(each[name]["value"] for each in scores.values()) / len(scores) for name in classes}
        weakest, strongest = min(means, key=means.get), max(means, key=means.get)
        if len(classes) > MAX_CLASSES:
            classes = sorted(classes, key=means.get)[:MAX_CLASSES]
        sentences = [f"Hardest: {weakest}, mean F1 {100 * means[weakest]:.1f} %."]
        if strongest != weakest:
            sentences.append(f"Easiest: {strongest}, {100 * means[strongest]:.1f} %.")
        if len(classes) < len(means):
            sentences.append(f"Shown are the {MAX_CLASSES} hardest of {len(means)} classes.")
        slide = add_slide(self.deck, "Class by class", sentences)
        series = [
            Series(self.short[name], [100 * each[key]["value"] for key in classes]) for name, each in scores.items()
        ]
        lowest = max(0, 10 * int(min(min(each.values) for each in series) // 10) - 10)
        labels = [name if len(name) <= 14 else f"{name[:13]}…" for name in classes]
        add_bar_chart(slide, labels, series, TOP, "F1 (%)", "F1 of each class and model", lowest, digits=0)
        add_text(slide, sentences, UNDER, 18)

    def add_errors(self) -> None:
        """A picture of mistakes, and the most frequent ones in words."""
        sentences = [
            f"{model['name']}: "
            + "; ".join(f"{count} × {truth} taken for {guess}" for truth, guess, count in pairs)
            + "."
            for model in self.models
            if (pairs := model["most_confused"][:2])
        ] or ["No classes are mistaken for each other."]
        slide = add_slide(self.deck, "Mistakes", sentences)
        ranked = (name for part in PICTURES for name in self.figures if part in name)
        name = next(ranked, next(iter(self.figures), None))
        if name:
            add_picture(slide, enlarge_labels(self.figures[name], 16), LEFT, name.replace("_", " ").capitalize())
            add_text(slide, self.shorten(sentences), RIGHT, 18)
        else:
            add_text(slide, self.shorten(sentences), BODY, 22)

    def add_robustness(self) -> None:
        """Corrupted images and the number of labels, whichever was measured; else calibration."""
        curve = self.comparison["data_efficiency"]
        measured = [model for model in self.models if model["robustness"]]
        if curve and not measured:
            slide = add_slide(self.deck, "How many labels does it take?", curve["sentences"])
            add_text(slide, self.shorten(curve["sentences"][:SENTENCES]), UNDER, 18)
            self.add_curve(slide, curve, TOP)
            return
        box = HALVES[0] if curve else TOP
        if measured:
            topic = "Corrupted images"
            families = list(dict.fromkeys(family for model in measured for family in model["robustness"]["families"]))
            series = []
            for part in (model["robustness"] for model in measured):
                shares = [part["clean_accuracy"], *(part["families"].get(family) for family in families)]
                values = [None if share is None else 100 * share for share in shares]
                series.append(Series(self.short[measured[len(series)]["name"]], values))
            title = "accuracy (%)" if len(series) > 1 else f"accuracy of {series[0].name} (%)"
            categories, sentences = ["clean", *families], self.quote("robustness")
        else:
            topic, categories = "Are the confidences right?", self.names
            keys = {"calibration_error": "as trained", "calibration_error_scaled": "temperature-scaled"}
            series = [
                Series(
                    label,
                    [100 * each["value"] if (each := model["scores"].get(key)) else None for model in self.models],
                )
                for key, label in keys.items()
            ]
            series = [each for each in series if any(value is not None for value in each.values)]
            title = "expected calibration error (%)"
            sentences = [*self.quote("calibration"), "Robustness to corrupted images was not measured."]
        shown = [*sentences[:1], *curve["sentences"][: SENTENCES - 1]] if curve else sentences
        sentences += curve["sentences"] if curve else []
        slide = add_slide(self.deck, topic + (", and fewer labels" if curve else ""), sentences)
        if series:
            add_bar_chart(slide, categories, series, box, title, f"{topic}: {title}")
        add_text(slide, self.shorten(shown), UNDER if series or curve else BODY, 18)
        if curve:
            self.add_curve(slide, curve, HALVES[1])

    def add_curve(self, slide, curve: dict, box: Box) -> None:
        """Accuracy against labels."""
        series = []
        groups = list(dict.fromkeys(point["group"] for point in curve["points"]))
        names = text.shorten_names(groups, 24)
        for group in groups:
            points = sorted((p for p in curve["points"] if p["group"] == group), key=lambda point: point["images"])
            values, errors = get_errors([point["accuracy"] for point in points])
            series.append(Series(names[group], values.tolist(), errors, [point["images"] for point in points]))
        titles = ("labelled images", "accuracy (%)")
        add_scatter_chart(slide, series, box, titles, "Test accuracy by labelled training images", is_log=True)

    def add_cost(self) -> None:
        """Accuracy against latency, or training time where latency was not measured."""
        has_latency = all(get_cost(model, "latency_ms") for model in self.models)
        key, title = (
            ("latency_ms", "latency of one image (ms)") if has_latency else ("train_seconds", "training time (s)")
        )
        sentences = self.quote("training_cost", "latency", "size")
        slide = add_slide(self.deck, "What accuracy costs", sentences)
        series = []
        for model in self.models:
            values, errors = get_errors([model["accuracy"]])
            series.append(Series(self.short[model["name"]], values.tolist(), errors, [get_cost(model, key)]))
        costs = [get_cost(model, key) for model in self.models]
        add_scatter_chart(
            slide, series, LEFT, (title, "test accuracy (%)"), f"Test accuracy against {title}", has_lines=False,
            is_log=max(costs) > 10 * min(costs) > 0,
        )  # fmt: skip
        add_text(slide, self.shorten(sentences), RIGHT, 18)

    def add_tradeoffs(self) -> None:
        """Who wins on each axis."""
        axes = self.comparison["tradeoffs"]
        rows = [["", "wins", "why"]]
        rows += [[axis["label"], axis["winner"] or "not decided", axis["sentence"]] for axis in axes]
        slide = add_slide(self.deck, "Trade-offs", self.comparison["discussion"])
        add_table(
            slide, [[text.shorten_in(cell, self.short) for cell in row] for row in rows], BODY, "Who wins on each axis"
        )

    def add_measuring(self) -> None:
        """Test set, statistics, hardware, limits."""
        data = self.comparison["data"]
        hardware = "; ".join(dict.fromkeys(model["cost"]["hardware"] for model in self.models))
        sentences = [
            f"Test set: {data['num_images']:,} images, SHA-256 {data['test_sha256'][:12]}…, the same for all models.",
            "Intervals: 10,000 bootstrap resamples. Verdicts: McNemar's exact test, Holm's correction.",
            f"Trained on {hardware}.",
            *text.list_limits(self.comparison),
        ]
        self.add_list("How it was measured", sentences)


def enlarge_labels(figure: Figure, size: int) -> Figure:
    """A figure of pictures with labels that can be read from afar."""
    for axes in figure.axes:
        if axes.images:
            axes.title.set_fontsize(size)
            axes.tick_params(labelsize=size)
    return figure
