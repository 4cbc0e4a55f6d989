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
from collections.abc import Callable
from pathlib import Path

from hf_cifar.files import write_text
from hf_cifar.guidance.findings import Finding, format_findings, make_report, summarize
from hf_cifar.guidance.installation import check_installation


def parse_options() -> tuple:
    """The options of train.py and the doctor's own; imported here, for a broken installation is what may be found."""
    from transformers import TrainingArguments

    from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
    from hf_cifar.parser import RecipeParser
    from hf_cifar.training.trainer import get_training_defaults

    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrainingArguments, description=__doc__)
    parser.set_defaults(**get_training_defaults())
    parser.add_argument("--json", help="File for the findings as JSON; - prints them instead of the text.")
    parser.add_argument("--figures_dir", default="runs/doctor", help="Where the figures of a config go.")
    return parser.parse()


def examine_config(options: tuple, report: Callable[[Finding], object]) -> None:
    """Build what a config describes, check it, draw."""
    from hf_cifar.guidance.learning_rate import draw_range_test
    from hf_cifar.guidance.model_checks import draw_samples, examine_subject
    from hf_cifar.guidance.subject import build_subject
    from hf_cifar.reporting.figures import save_figure

    data_args, model_args, recipe, args, extra = options
    subject = build_subject(data_args, model_args, recipe, args)
    test = examine_subject(subject, report)
    folder = Path(extra.figures_dir)
    save_figure(draw_range_test(test, args.learning_rate), folder / "learning_rate.png", has_svg=False)
    save_figure(draw_samples(subject), folder / "augmented_samples.png", has_svg=False)
    print(f"Figures: {folder}/learning_rate.png, {folder}/augmented_samples.png", file=sys.stderr)


def main() -> None:
    """Check, report, and say by the exit code whether anything failed."""
    findings: list[Finding] = []
    words = [*sys.argv[1:], ""]  # looked through by hand, since the parser may not import
    given = (i for i, word in enumerate(words) if word.partition("=")[0] == "--json")
    target = next((words[i].partition("=")[2] or words[i + 1] for i in given), None)

    def report(finding: Finding) -> None:
        findings.append(finding)
        if target != "-":
            print(format_findings([finding]), flush=True)

    for finding in check_installation():
        report(finding)
    if findings[-1].status == "ok":  # everything imports
        from hf_cifar.guidance.environment import check_environment
        from hf_cifar.parser import run_recipe

        @run_recipe
        def go_on() -> None:
            nonlocal target
            options = parse_options()
            target = options[-1].json
            for finding in check_environment(options[0].cache_dir):
                report(finding)
            if options[-1].config is not None:
                examine_config(options, report)

        go_on()
    text = json.dumps(make_report(findings), indent=2)
    print(text if target == "-" else summarize(findings))
    if target not in (None, "-"):
        write_text(target, text + "\n")
    sys.exit(any(each.status == "fail" for each in findings))


if __name__ == "__main__":
    main()
