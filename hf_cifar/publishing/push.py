"""Owns pushing a run to the Hub: one commit, on top of what was there, and its tag."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from ..errors import HubError, UserError
from .checks import check_run, is_published
from .hub_calls import TIMEOUT, Place, find_difference, list_remote, retry, talk_to_hub


@dataclass(frozen=True)
class Push:
    """What was pushed: the commit, its address, the tag, and the pull request's address if there is one."""

    commit: str
    url: str
    tag: str | None
    pull_request: str | None


def push_run(
    folder: Path,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    tag: str | None = "auto",
    run_code: bool = False,
    checked: tuple[dict, list[str]] | None = None,
    timeout: float = TIMEOUT,
) -> Push:
    """Check a run and push it, all files in one commit on top of the one that was there at the start.

    Args:
        folder: a finished run.
        repo_id: USER/NAME; made if it does not exist.
        private: whether a new repository is. An existing one is never changed.
        revision: branch, made from main if it does not exist; None for main.
        create_pr: open a pull request instead of committing to main.
        tag: of the new commit; "auto" for the next free of v1, v2, ...; None for none.
        run_code: see `check_run`.
        checked: what `check_run` gave, where it has just been called.
        timeout: seconds that the Hub may be silent.

    Raises:
        UserError: The run or the options are not right; nothing was sent.
        HubError: The Hub failed. Readers see the old state or the new one; the message says which.
    """
    check_options(repo_id, revision, create_pr, tag)
    results, paths = checked or check_run(folder, run_code)
    api, place = HfApi(endpoint=constants.ENDPOINT), Place(repo_id, revision)
    with talk_to_hub(place, timeout), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")  # predictions: intended
        parent = find_parent(api, place, private, tag)
        remote = list_remote(api, repo_id, parent)
        stale = [path for path in remote if is_published(path) and path not in paths]
        operations = [CommitOperationAdd(path, str(folder / path)) for path in paths]
        operations += [CommitOperationDelete(path) for path in stale]
        title = f"{results['model']['name']}, measured {results['environment']['date'][:10]}"
        place.doing = "opening a pull request" if create_pr else "committing"
        commit = commit_files(api, place, operations, parent, title, create_pr, folder, paths)
        if create_pr:
            return Push(commit.oid, commit.commit_url, None, commit.pr_url)
        place.doing = f"looking at commit {commit.oid[:8]}, which is published"
        if different := find_difference(folder, paths, retry(list_remote, api, repo_id, commit.oid)):
            raise HubError(f"{repo_id} has another {different} than was sent, in commit {commit.oid[:8]}; push again")
        tag = put_tag(api, place, commit.oid, tag)
    return Push(commit.oid, commit.commit_url, tag, None)


def check_options(repo_id: str, revision: str | None, create_pr: bool, tag: str | None) -> None:
    """Refuse what the Hub would refuse, before anything is sent.

    Raises:
        UserError: With the remedy.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"repo_id={repo_id!r} is not valid ({error}); allowed: USER/NAME") from error
    if repo_id.count("/") != 1:
        raise UserError(f"repo_id={repo_id!r}; allowed: USER/NAME, with your user's or organisation's name")
    if create_pr and revision not in (None, "main"):
        raise UserError(f"revision={revision!r}: a pull request is made to main; leave out one of the two")
    for name, value in (("revision", revision), ("tag", tag)):
        if value is not None and not re.fullmatch(r"[A-Za-z0-9][\w./-]*", value):
            raise UserError(f"{name}={value!r}; allowed: letters, digits, and . _ - / after the first")
    if create_pr and tag not in (None, "auto"):
        raise UserError(f"tag={tag!r}: a pull request is tagged when it has been merged; leave it out")


def find_parent(api: HfApi, place: Place, private: bool, tag: str | None) -> str:
    """The commit to push on top of; repository and branch are made where they do not exist.

    Raises:
        UserError: The tag is taken, or a public repository is there and a private one was asked for.
    """
    repo_id, branch = place.repo_id, place.revision or "main"
    try:
        info = retry(api.model_info, repo_id)
    except RepositoryNotFoundError:
        place.doing = "making the repository"
        retry(api.create_repo, repo_id, private=private, exist_ok=True)
        info = retry(api.model_info, repo_id)
    if private and not info.private:
        raise UserError(f"repo_id={repo_id!r} exists and is public; leave out --private, or give another name")
    refs = retry(api.list_repo_refs, repo_id)
    if tag not in (None, "auto") and any(each.name == tag for each in refs.tags):
        raise UserError(f"tag={tag!r} exists in {repo_id}; give another, or leave it out for the next number")
    place.doing = f"making the branch {branch}"
    if all(each.name != branch for each in refs.branches):
        retry(api.create_branch, repo_id, branch=branch, exist_ok=True)
    place.doing = "reading"
    return retry(api.model_info, repo_id, revision=branch).sha


def commit_files(
    api: HfApi,
    place: Place,
    operations: list,
    parent: str,
    title: str,
    create_pr: bool,
    folder: Path,
    paths: list[str],
) -> CommitInfo:
    """One commit of all operations; a retry of one whose answer was lost finds that it is there already."""
    options = {"commit_message": title, "revision": place.revision, "parent_commit": parent, "create_pr": create_pr}
    # Apart from the commit, because the client retries this itself.
    additions = [each for each in operations if isinstance(each, CommitOperationAdd)]
    api.preupload_lfs_files(
        place.repo_id, additions, revision=place.revision or "main", create_pr=create_pr, free_memory=False
    )
    if create_pr:  # a second try might open a second pull request
        return api.create_commit(place.repo_id, operations, **options)
    try:
        return retry(api.create_commit, place.repo_id, operations, **options)
    except HfHubHTTPError as error:
        if error.response.status_code not in (409, 412):
            raise
        head = retry(api.model_info, place.repo_id, revision=place.revision or "main").sha
        if head == parent or find_difference(folder, paths, retry(list_remote, api, place.repo_id, head)):
            raise
        url = f"{constants.ENDPOINT}/{place.repo_id}/commit/{head}"
        return CommitInfo(commit_url=url, commit_message=title, commit_description="", oid=head)


def put_tag(api: HfApi, place: Place, commit: str, tag: str | None) -> str | None:
    """Tag a commit; an "auto" tag is the next number, or the one that the commit has."""
    if tag is None:
        return None
    place.doing = f"tagging commit {commit[:8]}, which is published"
    tags = {each.name: each.target_commit for each in retry(api.list_repo_refs, place.repo_id).tags}
    if tag == "auto":
        if commit in tags.values():
            return next(name for name, target in tags.items() if target == commit)
        numbers = [int(name[1:]) for name in tags if re.fullmatch(r"v\d+", name)]
        tag = f"v{max(numbers, default=0) + 1}"
    retry(api.create_tag, place.repo_id, tag=tag, revision=commit)
    return tag
