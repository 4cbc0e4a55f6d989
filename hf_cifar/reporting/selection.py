"""Owns how the choice of a backbone is shown: a table, a page in Markdown, and a figure of accuracy against cost."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ..evaluation.selection import COSTS
from ..files import write_json, write_text
from .figures import COLORS, save_figure
from .formatting import format_count, format_seconds, make_templates

RECORD = "progress.json"  # of an unfinished selection
SELECTION_FILES = ("selection.json", "selection.md", "figures", RECORD)
MARKERS = "osD^vP"
STEPS = ("feature_seconds", "fine_tuning_seconds")
TEMPLATES = make_templates("hf_cifar.reporting")
TEMPLATES.filters["label"] = lambda name: shorten_name(name)


def write_selection(folder: Path, result: dict) -> None:
    """Write `figures/selection.png`, `selection.md` and, as the last, `selection.json`.

    Args:
        folder: see `check_output_folder`.
        result: `summarize`'s, with `data` (name, source, hashes), `environment` and `command`.
    """
    save_figure(draw_selection(result), folder / "figures/selection.png")
    text = TEMPLATES.get_template("selection.md.j2").render(
        **result, rows=make_rows(result), unit=COSTS[result["options"]["cheaper_by"]]
    )
    write_text(folder / "selection.md", text)
    write_json(folder / "selection.json", result)


def shorten_name(name: str) -> str:
    """A folder without its path, a Hub id as it is."""
    return Path(name).name if Path(name).is_dir() else name


def format_accuracy(scores: dict | None) -> str:
    """As in "94.1 ± 0.3 %": accuracy and its standard error."""
    return f"{100 * scores['accuracy']:.1f} ± {100 * scores['standard_error']:.1f} %" if scores else "–"


def rank(result: dict) -> list[str]:
    """Candidates with a result, the chosen one first, then by how far they came and how well they did there."""

    def key(name: str) -> tuple:
        each = result["candidates"][name]
        scores = (each.get(step, {}).get("accuracy", -1) for step in ("fine_tuning", "probe"))
        return (name != result["choice"], *(-score for score in scores))

    return sorted(result["candidates"], key=key)


def make_rows(result: dict) -> list[tuple[str, ...]]:
    """The table: a heading, and a row for each candidate that could be loaded."""
    rows = [
        (
            "", "linear probe", "fine-tuned", "input", "latency", "images/s", "FLOPs", "parameters", "training memory",
            "features", "fine-tuning",
        )
    ]  # fmt: skip
    for name in rank(result):
        each = result["candidates"][name]
        cost = each["cost"]
        batch = cost["throughput_batch_size"]
        rows.append(
            (
                shorten_name(name) + (" (chosen)" if name == result["choice"] else ""),
                format_accuracy(each.get("probe")),
                format_accuracy(each.get("fine_tuning")),
                f"{each['image_size']} px",
                f"{1000 * cost['latency_seconds']:.3g} ms",
                f"{cost['images_per_second']:.3g}" + (f" (batch {batch})" if batch != 64 else ""),
                format_count(cost["flops_per_image"]),
                format_count(cost["parameters"]),
                f"{cost['training_memory_bytes'] / 2**30:.2f} GiB",
                *(format_seconds(cost[key]) if key in cost else "–" for key in STEPS),
            )
        )
    return rows


def format_selection(result: dict) -> str:
    """The table as plain text, without the columns that make it too wide for a terminal."""
    left_out = {"input", "FLOPs", "features", "fine-tuning"}
    columns = [position for position, name in enumerate(make_rows(result)[0]) if name not in left_out]
    rows = [[row[position] for position in columns] for row in make_rows(result)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def draw_selection(result: dict) -> Figure:
    """Accuracy against time per image, a colour and marker per candidate: hollow by probe, filled if fine-tuned."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    for position, name in enumerate(rank(result)):
        each, is_chosen = result["candidates"][name], name == result["choice"]
        color, marker = COLORS[position % len(COLORS)], MARKERS[position // len(COLORS) % len(MARKERS)]
        milliseconds, last, steps = 1000 / each["cost"]["images_per_second"], None, ("probe", "fine_tuning")
        for step, shift, face in zip(steps, (0.98, 1.02), ("white", color), strict=True):  # bars side by side
            if scores := each.get(step):
                last = (milliseconds * shift, 100 * scores["accuracy"])
                style = {"fmt": marker, "color": color, "markerfacecolor": face, "markersize": 8, "capsize": 3}
                axes.errorbar(*last, 196 * scores["standard_error"], **style)
        if last:
            label = shorten_name(name) + (" (chosen)" if is_chosen else "")
            axes.plot([], [], marker, color=color, label=label)
            if is_chosen:
                axes.plot(*last, "o", markersize=18, color="none", markeredgecolor="black")
    axes.set(xscale="log", xlabel="time per image (ms, in batches)", ylabel="accuracy (%)", title="Accuracy and cost")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.margins(0.15)
    heading = "hollow: linear probe\nfilled: fine-tuned\nbars: 95 %\n"
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), title=heading, alignment="left")
    return figure
