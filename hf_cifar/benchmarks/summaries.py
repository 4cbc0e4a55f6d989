"""Owns how a benchmark's figures look on the terminal, and `transfer`'s in the documentation."""

from ..reporting.formatting import format_count, format_estimate, format_range


def describe_data(environment: dict, results: dict) -> str:
    """`benchmark.py data`'s figures as lines."""
    lines = ["{hardware}, {date}; medians (min to max)".format(**environment)]
    for name, case in results["pipelines"].items():
        lines.append(
            f"{name:<36} usual {format_range(case['usual'])}/s  ours {format_range(case['ours'])}/s  "
            f"{format_range(case['speedup'], 1)} times"
        )
    step, memory = results["training_step"], results["memory"]["added_bytes"]
    lines.append(
        f"share of a training step ({step['batch_size']} images): {format_range(step['share'], 1, percent=True)}"
    )
    lines.append(f"memory added by loading the training images and reading all of them: {memory / 1e6:.0f} MB")
    return "\n".join(lines)


def describe_training(environment: dict, results: dict) -> str:
    """`benchmark.py train`'s figures as lines."""
    flops, peak = results["flops_per_image"], results["matmul_flops"]["median"]
    lines = [
        "{hardware}, {precision}, {date}; images/s, medians (min to max)".format(**environment),
        f"a matrix product reaches {peak / 1e12:.2f} TFLOP/s; an image's step takes {flops / 1e9:.2f} GFLOP "
        "(of direct convolution)",
    ]
    for name, rate in results["ways"].items():
        speed = rate["median"] * flops
        lines.append(
            f"{name:<16} {format_range(rate)}: {speed / 1e12:.2f} TFLOP/s, {speed / peak:.0%} of the matrix product's"
        )
    lines.append(f"Trainer's overhead over the bare loop: {format_range(results['overhead'], 1, percent=True)}")
    for name, ratio in results["speedup"].items():
        lines.append(f"Trainer recipe against {name}: {format_range(ratio, 2)} times as fast")
    for size, rate in results["sizes"].items():
        lines.append(f"bare loop at {size} px: {format_range(rate)}")
    return "\n".join(lines)


def describe_transfer(environment: dict, results: dict) -> str:
    """`benchmark.py transfer`'s figures as lines."""
    lines = ["{hardware}, {precision}, {date}; images/s, medians (min to max)".format(**environment)]
    for name, case in results["architectures"].items():
        ways = case["ways"]
        lines += [
            f"{name}, {case['image_size']} px:",
            f"  features {format_range(ways['features'])}, bare inference {format_range(ways['inference'])}: "
            f"{format_range(case['features'], 2)} of it",
            f"  head, 10 epochs: {format_range(ways['head_seconds'], 1)} s, the usual way "
            f"{format_range(ways['usual_head_seconds'], 1)} s: {format_range(case['head'], 1)} times as fast",
            f"  full fine-tuning {format_range(ways['full'], 1)}, the usual way "
            f"{format_range(ways['usual_full'], 1)}: {format_range(case['full'], 1)} times as fast",
        ]
    return "\n".join(lines)


def format_transfer_benchmark(figures: dict) -> str:
    """docs/transfer.md's table of `benchmark.py transfer --json`, in Markdown."""
    rows = [
        "| | features: share of bare inference | a head, 10 epochs: times as fast | full fine-tuning: times as fast |",
        "|---|---|---|---|",
    ]
    for name, case in figures["architectures"].items():
        median = {way: values["median"] for way, values in case["ways"].items()}
        cells = (
            f"{name}, {case['image_size']} px",
            f"{format_range(case['features'], 2)}; {median['features']:.0f} images/s",
            f"{format_range(case['head'], 1)}; {median['head_seconds']:.1f} s",
            f"{format_range(case['full'], 2)}; {median['full']:.1f} images/s",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + (
        "\n\nRatios within rounds, medians (min to max), and median rates here. Measured by `recipes/benchmark.py "
        "transfer` on {hardware}, {precision} (the usual way: fp32), {date:.10}.".format(**figures["environment"])
    )


def format_size_trade(figures: dict) -> str:
    """docs/transfer.md's table of frozen features by input size, from `choose_backbone.py` at each, in Markdown."""
    names = list(next(iter(figures["sizes"].values())))
    rows = [f"| input size | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for size, cases in figures["sizes"].items():
        cells = (
            f"{case['accuracy']:.1%} ± {case['standard_error']:.1%}, {format_count(case['flops_per_image'])}FLOPs"
            for case in (cases[name] for name in names)
        )
        rows.append(f"| {size} px | {' | '.join(cells)} |")
    return "\n".join(rows) + (
        "\n\nCross-validated accuracy of a linear probe on frozen features of {images:,} training images (± standard "
        "error over folds), and FLOPs per image. Measured by `{command}` on {hardware}, {precision}, {date:.10}."
    ).format(images=figures["images"], command=figures["command"], **figures["environment"])


def format_label_curve(figures: dict) -> str:
    """docs/comparing.md's table of accuracy by number of labels, in Markdown, from committed runs of `--curve`."""
    sizes = sorted({point["images"] for point in figures["points"]})
    cells = {(point["group"], point["images"]): format_estimate(point["accuracy"]) for point in figures["points"]}
    rows = ["| labels | " + " | ".join(figures["groups"]) + " |", "|---" * (1 + len(figures["groups"])) + "|"]
    for size in sizes:
        rows.append(f"| {size:,} | " + " | ".join(cells.get((group, size), "") for group in figures["groups"]) + " |")
    place = "{hardware}, {precision}, {date:.10}".format(**figures["environment"])
    return "\n".join(rows) + f"\n\n{' '.join(figures['sentences'])} One seed each, on {place}."


def format_label_sentence(figures: dict) -> str:
    """The README's answer to when transfer learning is worth it: the verdicts of `format_label_curve`."""
    return " ".join(figures["sentences"][:-1])
