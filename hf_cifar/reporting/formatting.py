"""Owns how numbers look to people, and the templates that show them."""

import re

import jinja2

from ..data.table import ImageData


def format_estimate(estimate: dict[str, float], digits: int = 2) -> str:
    """As in "94.01 % [93.5, 94.5]"."""
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.{digits}f} % [{low:.1f}, {high:.1f}]"


def format_spread(spread: dict[str, float]) -> str:
    """As in "94.05 ± 0.11 %": mean and standard deviation over seeds."""
    return f"{100 * spread['mean']:.2f} ± {100 * spread['deviation']:.2f} %"


def format_seconds(seconds: float) -> str:
    """As in "0.3 s", "42 s" or "6.4 min"."""
    if seconds < 0.95:
        return f"{seconds:.1g} s"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in a table too, changed as little as that allows."""
    return re.sub(r"([\\`*_|<&]|\](?=[(\[:]))", r"\\\1", " ".join(text.split()))


def format_count(value: float) -> str:
    """As in "4.65 M" or "1.2 G"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def format_range(values: dict[str, float], digits: int = 0, percent: bool = False) -> str:
    """As in "1,234 (1,100 to 1,300)": median, minimum, maximum."""
    kind = f",.{digits}{'%' if percent else 'f'}"
    return f"{values['median']:{kind}} ({values['min']:{kind}} to {values['max']:{kind}})"


def format_benchmark(figures: dict) -> str:
    """The README's table of `benchmark.py data --json`, in Markdown: medians (min to max)."""
    rows = ["| one process, one thread, images/s | the usual way | here | times |", "|---|---|---|---|"]
    for name, case in figures["pipelines"].items():
        rows.append(
            f"| {name} | {format_range(case['usual'])} | {format_range(case['ours'])} | "
            f"{format_range(case['speedup'], 1)} |"
        )
    share, memory = figures["training_step"]["share"]["median"], figures["memory"]["added_bytes"]
    place = "{hardware}, {date:.10}".format(**figures["environment"])
    return "\n".join(rows) + (
        f"\n\nMeasured by `recipes/benchmark.py data` on {place}, both ways in alternation, medians (min to max). On "
        f"that CPU the pipeline is {share:.1%} of a training step of `cnn/fast`, and loading CIFAR-10's training "
        f"images and reading all of them adds {memory / 1e6:.0f} MB of memory, the mapped file included."
    )


def format_training_benchmark(figures: dict) -> str:
    """docs/speed.md's table of `benchmark.py train --json`, in Markdown: medians (min to max)."""
    flops, peak = figures["flops_per_image"], figures["matmul_flops"]["median"]
    rows = [
        "| way | images/s | TFLOP/s, counted as direct convolution | share of a matrix product's |",
        "|---|---|---|---|",
    ]
    for name, rate in figures["ways"].items():
        speed = rate["median"] * flops
        rows.append(f"| {name} | {format_range(rate)} | {speed / 1e12:.2f} | {speed / peak:.0%} |")
    sizes = ", ".join(f"{size} px {format_range(rate)}" for size, rate in figures["sizes"].items())
    times = {name: format_range(ratio, 2) for name, ratio in figures["speedup"].items()}
    return "\n".join(rows) + (
        f"\n\nThe Trainer takes {format_range(figures['overhead'], 1, percent=True)} longer than the bare loop of the "
        f"same step; the recipe is {times['plain loop']} times as fast as the plain loop and {times['usual Trainer']} "
        f"times as the usual Trainer way. The bare loop by image size, images/s: {sizes}. "
        "Measured by `recipes/benchmark.py train` on {hardware}, {precision}, {date:.10}.".format(
            **figures["environment"]
        )
    )


def get_dataset_title(name: str) -> str:
    """What people call a dataset whose results.json has this name."""
    titles = {"cifar10": "CIFAR-10", "cifar10-sample": "a sample of CIFAR-10", "cifar100": "CIFAR-100"}
    return titles.get(name, name)


def make_templates(package: str) -> jinja2.Environment:
    """The templates of a package, with the formats above as filters; an undefined name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; HTML in it is escaped when it is rendered to a page
    )
    environment.filters |= {"estimate": format_estimate, "seconds": format_seconds, "count": format_count}
    environment.filters["spread"] = format_spread
    environment.filters["dataset_title"] = get_dataset_title
    return environment


def format_exports(exports: dict) -> str:
    """The model in other formats beside PyTorch, a Markdown table that the terminal and the card show."""
    names = {"pytorch": "PyTorch", "onnx": "ONNX, by onnxruntime", "torch_export": "torch.export"}
    rows = [
        "| format | size | one image | in batches of 64 | probabilities against PyTorch's |",
        "|---|---|---|---|---|",
    ]
    for name, title in names.items():
        if (each := exports.get(name)) is None:
            continue
        size, parity = "", ""
        if "file" in each:
            size = f"{each['size_bytes'] / 1e6:.1f} MB"
            parity = f"at most {each['largest_difference']:.1g} apart, {each['other_classes']} of "
            parity += f"{each['num_images']:,} images of another class"
        rows.append(
            f"| {title} | {size} | {each['latency_ms']:.1f} ms | {each['throughput']:,.0f} images/s | {parity} |"
        )
    return "\n".join(rows) + "\n\nfp32, timed in turn on {hardware}, {date:.10}.".format(**exports)


def describe_start(data: ImageData, train: int, validation: int, environment: dict) -> str:
    """What a run trains on and where, in lines for the terminal; `train` and `validation` count images."""
    lines = [
        f"Data: {data.name} from {data.source}: {train:,} train, {validation:,} validation, {len(data.test):,} test",
        "Hardware: {hardware}; precision {precision}; {world_size} process(es)".format(**environment),
    ]
    if data.is_sample:
        lines.append("NOTE: this is the bundled sample, not CIFAR-10; its accuracy says nothing about the model")
    return "\n".join(lines)
