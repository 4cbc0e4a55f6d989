"""Publish a finished run on the Hugging Face Hub.

    python recipes/push.py RUN --repo_id USER/NAME [--private] [--revision BRANCH] [--create_pr] [--dry_run]
    python recipes/push.py RUN [RUN] --space DIR [--repo_id USER/NAME [USER/NAME]]

Checks the run, shows what is sent, pushes it in one commit, tags that, then fetches a fresh copy and checks every
number of it (see recipes/verify.py). The token is that of `hf auth login`, or HF_TOKEN; never give it as an option.
With --space, nothing is sent: DIR becomes the folder of a Space, the demo of one or two runs. It loads them from the
Hub where --repo_id says under which names they were pushed; else they are copied into it.
"""

from pathlib import Path

from hf_cifar.arguments import SourceArguments
from hf_cifar.errors import UserError
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.publishing.checks import check_run
from hf_cifar.publishing.hub_calls import TIMEOUT
from hf_cifar.publishing.publish import publish_run
from hf_cifar.publishing.push import check_options
from hf_cifar.publishing.space import make_space


@run_recipe
def main() -> None:
    """Check, show, push, verify."""
    parser = RecipeParser(SourceArguments, description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="Folder of a finished run; two for a Space.")
    parser.add_argument("--repo_id", nargs="+", default=[], help="USER/NAME; made if it does not exist.")
    parser.add_argument(
        "--space", metavar="DIR", help="New folder for a Space, the demo of the runs; nothing is sent."
    )
    parser.add_argument("--private", action="store_true", help="Make a new repository private.")
    parser.add_argument("--revision", help="Branch, made from main if it does not exist; default: main.")
    parser.add_argument("--create_pr", action="store_true", help="Open a pull request instead of committing to main.")
    parser.add_argument("--tag", default="auto", help="Of the new commit; auto: next of v1, v2, ...; none: no tag.")
    parser.add_argument("--dry_run", action="store_true", help="Check and show only; the Hub is not asked.")
    parser.add_argument("--no_verify", action="store_true", help="Do not fetch and check a copy afterwards.")
    parser.add_argument("--trust_remote_code", action="store_true", help="Run Python files that are not our own.")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="Seconds that the Hub may be silent.")
    source, options = parser.parse()
    folder, code = Path(options.runs[0]), options.trust_remote_code
    if options.space:
        paths = make_space(Path(options.space), [Path(run) for run in options.runs], options.repo_id, source)
        print(f"{options.space}: {len(paths)} files; nothing was sent. Try it by python {options.space}/app.py")
        return
    if len(options.runs) != 1 or len(options.repo_id) != 1:
        raise UserError("one RUN and one --repo_id USER/NAME are needed, or --space DIR")
    repo_id, tag = options.repo_id[0], None if options.tag == "none" else options.tag
    check_options(repo_id, options.revision, options.create_pr, tag)
    results, paths = check_run(folder, code)
    sizes = {path: (folder / path).stat().st_size for path in paths}
    print(f"{results['model']['name']}: {len(paths)} files, {sum(sizes.values()):,} bytes, to {repo_id}")
    for path, size in sizes.items():
        print(f"{size:>14,}  {path}")
    if options.dry_run:
        print("Dry run: nothing was sent")
        return
    for line in publish_run(
        folder, repo_id, None if options.no_verify else source, options.private, options.revision,
        options.create_pr, tag, code, (results, paths), options.timeout,
    ):  # fmt: skip
        print(line)


if __name__ == "__main__":
    main()
