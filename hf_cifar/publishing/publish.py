"""Owns publishing a run as recipes do it: pushed, fetched back and checked; also at the end of a training."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from huggingface_hub import get_token
from transformers import TrainingArguments

from ..arguments import SourceArguments
from ..errors import HubError, UserError
from ..hub import is_hub_reachable
from .agreement import find_failures, format_checks
from .hub_calls import TIMEOUT
from .push import check_options, push_run
from .verify import verify_model

# The Trainer's options that would be ignored, and what to do instead.
NOT_USED = {
    "hub_token": "log in by `hf auth login`, or set HF_TOKEN",
    "hub_strategy": "the finished run is pushed, once",
    "hub_always_push": "the finished run is pushed, once",
}


def publish_run(
    folder: Path,
    repo_id: str,
    source: SourceArguments | None,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    tag: str | None = "auto",
    run_code: bool = False,
    checked: tuple[dict, list[str]] | None = None,
    timeout: float = TIMEOUT,
) -> Iterator[str]:
    """Push a run, then fetch a fresh copy and check every number of it; what happens, line by line.

    Args:
        source: the test data to check with; None for no check.
        folder, repo_id, private, revision, create_pr, tag, run_code, checked, timeout: see `push_run`.

    Raises:
        UserError: See `push_run`.
        HubError: The Hub failed, or the copy does not reproduce a number.
    """
    pushed = push_run(folder, repo_id, private, revision, create_pr, tag, run_code, checked, timeout)
    yield f"Pushed: {pushed.pull_request or pushed.url}" + (f", tagged {pushed.tag}" if pushed.tag else "")
    if source is None:
        return
    checks = verify_model(repo_id, pushed.commit, source, run_code=run_code, timeout=timeout)
    yield format_checks(checks)
    if failures := find_failures(checks):
        raise HubError(f"{repo_id} is published, but not reproduced: {failures}")


def take_hub_options(args: TrainingArguments) -> dict | None:
    """Take the Hub's options out of the Trainer's, which would publish checkpoints and a card of its own.

    Returns:
        What `publish_run` takes; None where nothing is to be pushed.

    Raises:
        UserError: The push would fail, or an option has no meaning here: before anything is trained.
    """
    defaults = {field.name: field.default for field in fields(TrainingArguments)}
    for name, remedy in NOT_USED.items():
        if getattr(args, name) != defaults[name]:
            raise UserError(f"{name} has no effect here; leave it out ({remedy})")
    given = [name for name in ("hub_model_id", "hub_private_repo", "hub_revision") if getattr(args, name) is not None]
    if not args.push_to_hub:
        if given:
            raise UserError(f"{given[0]} needs push_to_hub: true; allowed otherwise: leave it out")
        return None
    if args.hub_model_id is None:
        raise UserError("push_to_hub=true needs --hub_model_id USER/NAME")
    check_options(args.hub_model_id, args.hub_revision, create_pr=False, tag=None)
    if not is_hub_reachable() or get_token() is None:
        raise UserError(
            "push_to_hub=true: the Hub cannot be reached, or you are not logged in (`hf auth login`, or HF_TOKEN); "
            "leave it out, and publish the finished run by recipes/push.py"
        )
    options = {"repo_id": args.hub_model_id, "private": bool(args.hub_private_repo), "revision": args.hub_revision}
    args.push_to_hub, args.hub_model_id, args.hub_private_repo, args.hub_revision = False, None, None, None
    return options


def drop_hub_options(arguments: list[str]) -> list[str]:
    """Command-line arguments without those that publish: whoever repeats a run does not push to its repository."""
    kept, is_value = [], False
    for argument in arguments:
        if argument.startswith(("--push_to_hub", "--hub_")):
            is_value = "=" not in argument
        elif not is_value or argument.startswith("--"):
            kept.append(argument)
            is_value = False
        else:
            is_value = False
    return kept
