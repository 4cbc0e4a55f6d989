"""Check the numbers that a model was published with.

    python recipes/verify.py MODEL [--revision v1] [--subset 1000] [--dataset auto]

MODEL is a Hub id, of which a fresh copy is fetched into an empty cache, or a folder. It is loaded in a process that
has neither this package nor your token, and evaluated on the published test images, whose content is checked. The
exit code is 0 only if every published number is reproduced; docs/publishing.md says how closely.
"""

import sys

from hf_cifar.arguments import SourceArguments
from hf_cifar.errors import UserError
from hf_cifar.parser import RecipeParser, complain, run_recipe
from hf_cifar.publishing.agreement import find_failures, format_checks
from hf_cifar.publishing.hub_calls import TIMEOUT
from hf_cifar.publishing.verify import verify_model


@run_recipe
def main() -> None:
    """Fetch, load, measure, compare."""
    parser = RecipeParser(SourceArguments, description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="Hub id, or folder of a run.")
    parser.add_argument("--revision", help="Branch, tag or commit of a Hub id.")
    parser.add_argument("--subset", type=int, help="Predict the first N test images only, and compare those.")
    parser.add_argument(
        "--exactness", choices=("auto", "exact", "rounded"), default="auto",
        help="How closely predictions must agree; auto: exactly on the published hardware, precision and versions.",
    )  # fmt: skip
    parser.add_argument("--trust_remote_code", action="store_true", help="Run Python files that are not our own.")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="Seconds that the Hub may be silent.")
    source, options = parser.parse()
    if options.subset is not None and options.subset < 1:
        raise UserError(f"subset={options.subset} is out of range; allowed: 1 or more")
    checks = verify_model(
        options.model, options.revision, source, options.subset, options.trust_remote_code, options.exactness,
        options.timeout,
    )  # fmt: skip
    print(format_checks(checks))
    if failures := find_failures(checks):
        sys.exit(complain(f"{options.model} is not reproduced: {failures}", 1))
    print(f"{options.model}: all of {len(checks):,} checks are reproduced")


if __name__ == "__main__":
    main()
