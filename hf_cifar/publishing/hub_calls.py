"""Owns how publishing calls the Hub: with patience, without showing tokens, and what is said when it fails."""

import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub.utils._http as hub_http  # set_client_factory wants a whole client; the default's is in here
from huggingface_hub import HfApi, constants, get_token, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile

from ..errors import HubError, UserError
from ..hub import is_hub_reachable

TIMEOUT = 60.0  # seconds without a byte from the Hub or to it; the client's own is never
WAITS = (1, 2, 4, 8)  # seconds before each retry of what the client itself does not retry
TRANSIENT = (408, 429, 500, 502, 503, 504)
LOGGERS = ("huggingface_hub.utils._http", "huggingface_hub.file_download", "huggingface_hub.hf_api", "httpx", "httpx2")
# What a token must be allowed, by what is being done: fine-grained permissions as the Hub's settings name them.
PERMISSIONS = {
    "making the repository": "to create repositories in {owner!r} (role write, or fine-grained: write access to "
    "contents of all repositories of {owner!r})",
    "opening a pull request": "to open pull requests (role write, or fine-grained: interact with discussions of "
    "{repo_id!r})",
    "reading": "to read {repo_id!r} (role read, or fine-grained: read access to its contents)",
    "downloading": "to read {repo_id!r} (role read, or fine-grained: read access to its contents)",
}
WRITING = "to write to {repo_id!r} (role write, or fine-grained: write access to its contents)"


@dataclass
class Place:
    """Where a push or a fetch is: for messages.

    Attributes:
        repo_id, revision: of the repository.
        doing: what is being done, in words that fit after "while".
    """

    repo_id: str
    revision: str | None = None
    doing: str = "reading"


@contextlib.contextmanager
def talk_to_hub(place: Place, timeout: float = TIMEOUT) -> Iterator[None]:
    """Within this, the Hub's client gives up after `timeout` seconds of silence and logs no secrets.

    Raises:
        HubError: Instead of all that the client raises.
    """
    if not is_hub_reachable():
        raise HubError(f"the Hub at {constants.ENDPOINT} cannot be reached, or HF_HUB_OFFLINE is set")

    def make_client() -> Any:
        client = hub_http.default_client_factory()
        client.timeout = timeout
        return client

    set_client_factory(make_client)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(hide_in_record)
    try:
        yield
    except (UserError, HubError):
        raise
    except (HTTPError, OfflineModeIsEnabled, RuntimeError, OSError, ValueError) as error:
        if (reason := explain(error, place)) is None:
            raise
        # Not "from error": its text and its request hold what is hidden here.
        raise HubError(reason) from None
    finally:
        for logger in loggers:
            logger.removeFilter(hide_in_record)
        set_client_factory(hub_http.default_client_factory)


def explain(error: Exception, place: Place) -> str | None:
    """One line that says why a call failed and what to do; None for an error that is not the Hub's."""
    cause, seen = error, []
    while not isinstance(cause, HTTPError | OfflineModeIsEnabled):
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
        if cause is None or cause in seen:
            # The client's own OSErrors, as of a download that is too short, have no number; the system's have.
            is_clients = isinstance(error, OSError) and error.errno is None
            return hide(f"{place.repo_id}, while {place.doing}: {str(error).splitlines()[0]}") if is_clients else None
    where, names = f"{place.repo_id} at {constants.ENDPOINT}, while {place.doing}", vars(place)
    names = names | {"owner": place.repo_id.split("/")[0]}
    if not isinstance(cause, HfHubHTTPError):
        kind = type(cause).__name__
        slow = "no answer in time" if "Timeout" in kind else "the connection broke"
        return hide(f"{where}: {slow} ({kind}), after retries; run the same command again")
    status = cause.response.status_code
    permission = PERMISSIONS.get(place.doing, WRITING).format(**names)
    remedies = {
        401: "not logged in, or the token is not valid; log in by `hf auth login` or set HF_TOKEN, with a token that "
        f"is allowed {permission}",
        403: f"the token is not allowed {permission}; see {constants.ENDPOINT}/settings/tokens",
        404: "there is no such repository or revision, or the token may not see it; check their spelling",
        409: "somebody else changed it at the same time; run the same command again",
        412: "another commit was made in the meantime; look at it, then run the same command again",
        413: "the Hub finds it too large; publish smaller files",
        429: "too many requests, after waiting as long as the Hub asked; try again later",
    }
    remedy = remedies.get(status)
    if remedy is None:
        remedy = "the Hub has a problem, after retries; try again later" if status >= 500 else "the Hub refuses"
    said = " ".join((cause.server_message or "").split())[:200]
    return hide(f"{where}: {status}: {remedy}" + (f" (the Hub says: {said})" if said else ""))


def hide(text: str) -> str:
    """Text without tokens and without the queries of addresses, which may be signed."""
    token = get_token()
    text = text.replace(token, "***") if token else text
    return re.sub(r"\bhf_[A-Za-z0-9]{8,}", "hf_***", re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]*", r"\1?***", text))


def hide_in_record(record: logging.LogRecord) -> bool:
    """A filter that hides secrets and lets every record pass."""
    record.msg, record.args = hide(record.getMessage()), ()
    return True


def retry(function: Callable, *arguments, **options) -> Any:
    """Call the Hub, again after a failure that may pass: the client retries uploads, but not these calls."""
    for wait in (*WAITS, None):
        try:
            return function(*arguments, **options)
        except HfHubHTTPError as error:
            if wait is None or error.response.status_code not in TRANSIENT:
                raise
            after = error.response.headers.get("Retry-After", "")
            wait = int(after) if after.isdigit() else wait
        except HTTPError:  # no answer at all
            if wait is None:
                raise
        time.sleep(wait)
    raise AssertionError("not reached")


def list_remote(api: HfApi, repo_id: str, revision: str) -> dict[str, RepoFile]:
    """The files of a commit, by path."""
    tree = api.list_repo_tree(repo_id, recursive=True, revision=revision)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def find_difference(folder: Path, paths: list[str], remote: dict[str, RepoFile]) -> str | None:
    """The first of our files that a commit does not have byte for byte, by the checksums that the Hub gives."""
    return next((path for path in paths if path not in remote or not has_checksum(folder / path, remote[path])), None)


def has_checksum(path: Path, entry: RepoFile) -> bool:
    """Whether a file is what the Hub says of it: SHA-256 of a large one, git's SHA-1 of a small one."""
    if entry.lfs is not None:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == entry.blob_id
