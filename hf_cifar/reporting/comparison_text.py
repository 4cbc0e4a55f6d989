"""Owns how a comparison reads: the rows of its tables, and sentences, alike in report, slides and terminal."""

from collections.abc import Callable, Iterable

from ..evaluation.tradeoffs import get_cost, join
from .formatting import escape, format_count, format_estimate, format_seconds

Rows = list[list[str]]  # the heading first
MISSING = "–"
KINDS = {"cnn": "from scratch", "transfer": "transfer"}
VERDICTS = {"better": "first is better", "worse": "second is better", "tie": "tie", "identical": "identical"}
SCORES = {  # key of comparison.json: name, and whether it is a share, shown in percent
    "top_5_accuracy": ("top-5 accuracy", True),
    "balanced_accuracy": ("balanced accuracy", True),
    "macro_precision": ("macro precision", True),
    "macro_recall": ("macro recall", True),
    "macro_f1": ("macro F1", True),
    "kappa": ("Cohen's kappa", False),
    "matthews": ("Matthews correlation", False),
    "roc_auc": ("ROC AUC, one against rest", False),
    "negative_log_likelihood": ("negative log-likelihood", False),
    "brier": ("Brier score", False),
    "calibration_error": ("calibration error", True),
    "calibration_error_scaled": ("calibration error, temperature-scaled", True),
}


def shorten_names(names: Iterable[str], length: int = 26) -> dict[str, str]:
    """Names that fit, each another one: head and tail, as names of one recipe often differ at the end."""
    result: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        text = " ".join(name.split())
        if len(text) > length:
            tail = (length - 1) // 2
            text = f"{text[: length - 1 - tail].rstrip()}…{text[-tail:].lstrip()}"
        if text in result.values():
            text = f"{text[: length - 4]} ({number})"
        result[name] = text
    return result


def format_score(estimate: dict | None, percent: bool = True) -> str:
    """A number with its interval, as in "94.01 % [93.5, 94.5]" or "0.213 [0.201, 0.225]"."""
    if estimate is None or estimate.get("value") is None:
        return MISSING
    if percent:
        return format_estimate(estimate)
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**estimate)


def format_value(value: dict | float | None, unit: str) -> str:
    """A trade-off's or a cost's number with its unit: shares in percent, seconds and counts as people say them."""
    number = value.get("value") if isinstance(value, dict) else value
    if number is None:
        return MISSING
    if unit == "%":
        return format_score(value) if isinstance(value, dict) else f"{100 * number:.2f} %"
    if unit in ("s", "seconds"):
        return format_seconds(number)
    if abs(number) >= 1000:
        return f"{format_count(number)} {unit}"
    return f"{number:.3g} {unit}"


def make_rows(comparison: dict, lines: Iterable[tuple[str, Callable[[dict], str]]]) -> Rows:
    """A column per model and a line per (name, how to show it); lines that no model has are left out."""
    models = comparison["models"]
    rows = [["", *(model["name"] for model in models)]]
    for name, show in lines:
        cells = [show(model) for model in models]
        if any(cell != MISSING for cell in cells):
            rows.append([name, *cells])
    return rows


def make_score_rows(comparison: dict, keys: Iterable[str] = tuple(SCORES)) -> Rows:
    """Accuracy, with test-time augmentation and over seeds where measured, and the other scores."""

    def show_seeds(model: dict) -> str:
        seeds = model["seed_summary"]
        if not seeds or seeds.get("standard_deviation") is None:
            return MISSING
        mean, deviation = 100 * seeds["mean"], 100 * seeds["standard_deviation"]
        return f"{mean:.2f} ± {deviation:.2f} % ({seeds['count']})"

    lines = [
        ("accuracy", lambda model: format_score(model["accuracy"])),
        ("with test-time augmentation", lambda model: format_score(model["accuracy_tta"])),
        ("mean ± deviation (seeds)", show_seeds),
    ]
    for key in keys:
        name, percent = SCORES[key]
        lines.append((name, lambda model, key=key, percent=percent: format_score(model["scores"].get(key), percent)))
    return make_rows(comparison, lines)


def make_cost_rows(comparison: dict) -> Rows:
    """What each model costs to train, to keep and to use."""

    def show(section: str, key: str, form: Callable[[float], str]) -> Callable[[dict], str]:
        def find(model: dict) -> str:
            value = (model.get(section) or {}).get(key)
            return MISSING if value is None else form(value)

        return find

    def memory(value: float) -> str:
        return f"{value / 2**30:.2f} GiB"

    lines = [
        ("kind", lambda model: KINDS.get(model["kind"], model["kind"])),
        ("starts from", lambda model: get_base_name(model) or "random weights"),
        ("training images", show("cost", "train_images", "{:,.0f}".format)),
        ("training time", lambda model: format_seconds(get_cost(model, "train_seconds"))),
        ("of which frozen features", show("cost", "feature_seconds", lambda v: format_seconds(v) if v else MISSING)),
        ("epochs", show("cost", "epochs", "{:g}".format)),
        ("training, images/s", show("cost", "train_images_per_second", "{:,.0f}".format)),
        ("peak memory in training", show("cost", "peak_memory_bytes", memory)),
        ("trained on", show("cost", "hardware", str)),
        ("trained on (date)", show("cost", "date", lambda date: date[:10])),
        ("input size", show("model", "image_size", "{} px".format)),
        ("parameters", show("model", "parameters", format_count)),
        ("FLOPs per image", show("model", "flops_per_image", format_count)),
        ("size on disk", show("inference", "size_bytes", lambda value: f"{value / 1e6:.1f} MB")),
        ("latency, one image", show("inference", "latency_ms", "{:.3g} ms".format)),
        ("inference, images/s in batches of 64", show("inference", "throughput", "{:,.0f}".format)),
        ("peak memory in inference", show("inference", "peak_memory_bytes", memory)),
        ("energy per image", show("inference", "energy_joules_per_image", "{:.3g} J".format)),
        ("inference measured on", show("inference", "hardware", str)),
        ("inference precision", show("inference", "precision", str)),
    ]
    return make_rows(comparison, lines)


def get_base_name(model: dict) -> str | None:
    """What a model's weights began as; None for random ones."""
    base = model["model"].get("base_model")
    return base.get("name") if isinstance(base, dict) else base


def make_pair_rows(comparison: dict) -> Rows:
    """Each pair of models: difference with its interval, images that only one classified rightly, verdict."""
    rows = [["first", "second", "difference in points", "only first", "only second", "p (Holm)", "verdict", "needed"]]
    for pair in comparison["pairs"]:
        value, low, high = (100 * pair["difference"][key] for key in ("value", "low", "high"))
        needed = pair["images_needed"]
        rows.append(
            [
                pair["first"], pair["second"], f"{value:+.2f} [{low:.2f}, {high:.2f}]", f"{pair['only_first']:,}",
                f"{pair['only_second']:,}", f"{pair['p_adjusted']:.2g}", VERDICTS[pair["verdict"]],
                MISSING if needed is None else f"{needed:,}",
            ]
        )  # fmt: skip
    return rows


def make_tradeoff_rows(comparison: dict) -> Rows:
    """Each axis: every model's number, and who wins."""
    names = [model["name"] for model in comparison["models"]]
    short = shorten_names(names, 34)  # in the last column, which a phone shows narrow
    rows = [["", *names, "wins"]]
    for axis in comparison["tradeoffs"]:
        winner = short.get(axis["winner"], axis["winner"]) or (
            "not measured" if len(axis["values"]) < len(names) else MISSING
        )
        cells = [format_value(axis["values"].get(name), axis["unit"]) for name in names]
        rows.append([f"{axis['label']} ({axis['better']} is better)", *cells, winner])
    return rows


def make_robustness_rows(comparison: dict) -> Rows:
    """Accuracy on clean and on corrupted images, by family; a heading alone where none was measured."""
    parts = [model["robustness"] for model in comparison["models"] if model["robustness"]]
    families = dict.fromkeys(family for part in parts for family in part["families"])

    def show(family: str) -> Callable[[dict], str]:
        def find(model: dict) -> str:
            value = (model["robustness"] or {}).get("families", {}).get(family)
            return MISSING if value is None else f"{100 * value:.1f} %"

        return find

    lines = [
        ("clean", lambda model: format_value((model["robustness"] or {}).get("clean_accuracy"), "%")),
        *((family, show(family)) for family in families),
        ("mean over corruptions", lambda model: format_score((model["robustness"] or {}).get("mean_accuracy"))),
    ]
    return make_rows(comparison, lines)


def make_curve_rows(comparison: dict) -> Rows:
    """Accuracy by number of labels; a heading alone where no curve was measured."""
    rows = [["recipe", "labels", "accuracy"]]
    for point in sorted(
        (comparison["data_efficiency"] or {}).get("points", []), key=lambda p: (p["group"], p["images"])
    ):
        rows.append([point["group"], f"{point['images']:,}", format_score(point["accuracy"])])
    return rows


def format_markdown(rows: Rows) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(map(escape, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def format_plain(rows: Rows) -> str:
    """Aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def make_title(comparison: dict, length: int = 40) -> str:
    """As in "CNN against ViT", or "5 models compared"."""
    names = list(shorten_names([model["name"] for model in comparison["models"]], length).values())
    return " against ".join(names) if len(names) < 3 else f"{len(names)} models compared"


def shorten_in(text: str, names: dict[str, str]) -> str:
    """A text with long names replaced by short ones; see `shorten_names`."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text


def summarize(comparison: dict) -> list[str]:
    """Who has the highest accuracy, and what may be concluded: the sentences of the pairs with it."""
    models = sorted(comparison["models"], key=lambda model: -model["accuracy"]["value"])
    best, others = models[0], models[1:]
    accuracy = format_score(best["accuracy"])
    if not others:
        return [f"{best['name']} classifies {accuracy} of the test images correctly; there is no other model here."]
    tied = best["accuracy"]["value"] == others[0]["accuracy"]["value"]
    first = f"{best['name']} has {'one of the highest accuracies' if tied else 'the highest accuracy'}: {accuracy}."
    pairs = {frozenset((pair["first"], pair["second"])): pair["sentence"] for pair in comparison["pairs"]}
    found = (pairs.get(frozenset((best["name"], other["name"]))) for other in others)
    return [first, *filter(None, found)]


def list_limits(comparison: dict) -> list[str]:
    """What these numbers do not say."""
    models, data = comparison["models"], comparison["data"]
    limits = []
    if data["is_sample"]:
        limits.append("This is the bundled sample, not CIFAR-10: the numbers say nothing about the models.")
    if any(model["seeds"] < 2 for model in models):
        limits.append("Intervals are over test images. A model with one seed may do better or worse with another.")
    limits.append(
        f"There are {data['num_images']:,} test images; smaller differences than the intervals are not seen."
    )
    if any(model["kind"] == "transfer" for model in models):
        limits.append("A pretrained model inherits other data, its cost and its biases, which are not counted here.")
    limits.append("Times hold for the hardware that is named, and vary with what else it does.")
    return limits


def list_next_steps(comparison: dict) -> list[str]:
    """What would tell more, from what is missing and what was found."""
    models, steps = comparison["models"], []
    ties = [pair for pair in comparison["pairs"] if pair["verdict"] == "tie" and pair["images_needed"]]
    if ties:
        pair = min(ties, key=lambda each: each["images_needed"])
        steps.append(
            f"Settle {pair['first']} against {pair['second']}: it takes about {pair['images_needed']:,} test images."
        )
    if alone := [model["name"] for model in models if model["seeds"] < 2]:
        steps.append(f"Train more seeds (recipes/train.py --seed) of {join(alone)}.")
    if not all(model["robustness"] for model in models):
        steps.append("Measure robustness to corrupted images: recipes/eval.py RUN --robustness quick.")
    if not comparison["data_efficiency"]:
        steps.append("Find out how many labels each needs: train with --train_fraction, recipes/compare.py --curve.")
    if not all(model["inference"] for model in models):
        steps.append("Measure latency and memory on one machine: recipes/compare.py without --no_models.")
    for model in models:
        if model["most_confused"]:
            truth, predicted, images = model["most_confused"][0]
            steps.append(f"Look at {model['name']}'s most frequent mistake: {images} × {truth} taken for {predicted}.")
            break
    return steps or ["Use the models on images of your own: recipes/eval.py MODEL --dataset FOLDER."]
