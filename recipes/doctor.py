"""Find out what is wrong before a training does.

    python recipes/doctor.py [--json FILE]
    python recipes/doctor.py --config recipes/cnn/fast.yaml [--option value ...]

Without a config: Python, libraries, processor, precision, disk, memory, the Hub, caches and data. With one also what
it describes, with the options of train.py: initial loss, gradients, one batch by heart, random labels, the data
loader's share, a learning-rate range test. Each finding says why it matters and what to do. Figures go to
--figures_dir. Exit code 0 without a failure, 1 with one, 2 for bad input.
"""

import json
import sys
from pathlib import Path

from hf_cifar.guidance.findings import Finding, format_findings, make_report, summarize
from hf_cifar.guidance.installation import check_installation


def examine(options) -> list[Finding]:
    """Everything beyond the installation; imported here, since a broken installation is what it may find."""
    from hf_cifar.guidance.environment import check_environment

    data_args, model_args, recipe, args, extra = options
    findings = check_environment(data_args.cache_dir)
    if extra.config is None:
        return findings
    from hf_cifar.guidance.learning_rate import draw_range_test
    from hf_cifar.guidance.model_checks import draw_samples, examine_subject
    from hf_cifar.guidance.subject import build_subject
    from hf_cifar.reporting.figures import save_figure

    subject = build_subject(data_args, model_args, recipe, args)
    found, test = examine_subject(subject)
    folder = Path(extra.figures_dir)
    save_figure(draw_range_test(test, args.learning_rate), folder / "learning_rate.png", has_svg=False)
    save_figure(draw_samples(subject), folder / "augmented_samples.png", has_svg=False)
    print(f"Figures: {folder}/learning_rate.png, augmented_samples.png", file=sys.stderr)
    return findings + found


def parse():
    """The options of train.py and the doctor's own."""
    from transformers import TrainingArguments

    from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
    from hf_cifar.parser import RecipeParser
    from hf_cifar.training.trainer import get_training_defaults

    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrainingArguments, description=__doc__)
    parser.set_defaults(**get_training_defaults())
    parser.add_argument("--json", help="File for the findings as JSON; - prints them instead of the text.")
    parser.add_argument("--figures_dir", default="runs/doctor", help="Where the figures of a config go.")
    return parser.parse()


def main() -> None:
    """Check, report, and say by the exit code whether anything failed."""
    findings = check_installation()
    target = None
    if findings[-1].status == "ok":  # everything imports
        from hf_cifar.parser import run_recipe

        @run_recipe
        def go_on() -> None:
            nonlocal target
            options = parse()
            target = options[-1].json
            findings.extend(examine(options))

        go_on()
    report = json.dumps(make_report(findings), indent=2)
    if target not in (None, "-"):
        from hf_cifar.files import write_text

        write_text(target, report + "\n")
    print(report if target == "-" else f"{format_findings(findings)}\n{summarize(findings)}")
    sys.exit(any(each.status == "fail" for each in findings))


if __name__ == "__main__":
    main()
