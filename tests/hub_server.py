"""A loopback Hub: what loading and publishing need of its protocol, repositories in memory, and faults on order."""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

from hf_cifar.hub import is_hub_reachable
from hf_cifar.publishing import checks, hub_calls, stranger, verify

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of the repositories that are there from the start
LARGE = (".safetensors", ".parquet", ".png")  # suffixes of files that are kept apart, by their SHA-256
WRITE, READ = "hf_" + "w" * 34, "hf_" + "r" * 34  # tokens; the second may not write


@dataclass
class Fault:
    """What goes wrong, a number of times, with requests whose "METHOD /path" matches.

    Attributes:
        pattern: a regular expression, searched for.
        times: how often.
        status, headers: of the answer; without a status see below.
        cut: close the connection in the middle of the request's body.
        stall: say nothing, until the client has gone.
        corrupt: answer with one wrong byte.
        before: called first, as to change the repository in the meantime.
    """

    pattern: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    stall: bool = False
    corrupt: bool = False
    before: Callable[[], None] | None = None


@dataclass
class Repository:
    """Commits (contents by path), and the branches, pull requests and tags that name them."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    pull_requests: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, bytes], branch: str = "main", sha: str | None = None) -> str:
        """Commit files to a branch, or a pull request."""
        sha = sha or hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[sha] = files
        (self.pull_requests if branch.startswith("refs/") else self.branches)[branch] = sha
        return sha

    def find(self, revision: str) -> str | None:
        """The commit that a branch, pull request, tag or SHA names."""
        names = self.branches | self.pull_requests | self.tags | {sha: sha for sha in self.commits}
        return names.get(revision)


def describe_file(path: str, content: bytes) -> dict:
    """An entry of a tree."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": git}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


class HubHandler(BaseHTTPRequestHandler):
    """Answers for `server.repositories`, `server.gated` ids, `server.blobs` by SHA-256 and `server.faults`."""

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        line, self.query = f"{self.command} {self.path}", parse_qs(url.query)
        self.server.lines.append(line)
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        fault = next((each for each in self.server.faults if each.times and re.search(each.pattern, line)), None)
        self.fault = fault or Fault("")
        if fault is not None:
            fault.times -= 1
            if fault.before:
                fault.before()
            if fault.stall:
                self.server.released.wait(20)
            if fault.cut:
                self.rfile.read(20)
            if fault.stall or fault.cut:
                self.connection.close()
                return
        self.body = self.read_body()
        if self.fault.status is not None:
            self.answer(self.fault.status, {"error": f"fault {self.fault.status}"}, self.fault.headers)
            return
        path = unquote(url.path)
        for pattern, method in ROUTES.items():
            if match := re.fullmatch(pattern, path):
                getattr(self, method)(**match.groupdict())
                return
        self.refuse(404, "NotImplemented", path)

    do_HEAD = do_POST = do_PUT = do_GET

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def answer(self, status: int, body: object = b"", headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})

    def find_repository(self, name: str) -> Repository | None:
        """The repository, or None after an answer that says why not."""
        repository = self.server.repositories.get(name)
        if name in self.server.gated:
            message = f"Access to model {name} is restricted. You must have access to it and be authenticated"
            self.refuse(401, "GatedRepo", message)
        elif repository is None or (repository.private and self.token not in (WRITE, READ)):
            self.refuse(401, "RepoNotFound", "Repository not found")
        else:
            return repository
        return None

    def find_commit(self, name: str, revision: str) -> tuple[Repository, str] | tuple[None, None]:
        repository = self.find_repository(name)
        if repository is None:
            return None, None
        if (sha := repository.find(revision)) is None:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
            return None, None
        return repository, sha

    def may_write(self) -> bool:
        if self.token == WRITE:
            return True
        status, message = (403, "Forbidden: pass a token with write access") if self.token else (401, "Log in first")
        self.answer(status, {"error": message}, {"X-Error-Message": message})
        return False

    def get_root(self) -> None:
        self.answer(200)

    def validate_card(self) -> None:
        self.answer(200, {"errors": [], "warnings": []})

    def create(self) -> None:
        if not self.may_write():
            return
        request = json.loads(self.body)
        name = f"{request['organization']}/{request['name']}"
        if name in self.server.repositories:
            self.answer(409, {"error": "You already created this model repo", "url": f"{self.server.endpoint}/{name}"})
            return
        repository = self.server.repositories[name] = Repository(private=request.get("visibility") == "private")
        repository.add({".gitattributes": b"*.safetensors filter=lfs\n"})
        self.answer(200, {"url": f"{self.server.endpoint}/{name}", "name": name, "id": "1"})

    def get_info(self, name: str, revision: str | None = None) -> None:
        repository, sha = self.find_commit(name, revision or "main")
        if repository is not None:
            siblings = [{"rfilename": path} for path in repository.commits[sha]]
            facts = {"id": name, "sha": sha, "siblings": siblings, "tags": [], "private": repository.private}
            self.answer(200, facts, {"X-Repo-Commit": sha})

    def get_tree(self, name: str, revision: str) -> None:
        repository, sha = self.find_commit(name, revision)
        if repository is not None:
            self.answer(200, [describe_file(*item) for item in repository.commits[sha].items()])

    def get_refs(self, name: str) -> None:
        if (repository := self.find_repository(name)) is not None:
            answer = {"converts": [], "pullRequests": []}
            for key, kind, names in (("branches", "heads", repository.branches), ("tags", "tags", repository.tags)):
                rows = names.items()
                answer[key] = [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": sha} for n, sha in rows]
            self.answer(200, answer)

    def get_file(self, name: str, revision: str, path: str) -> None:
        repository, sha = self.find_commit(name, revision)
        if repository is None:
            return
        content = repository.commits[sha].get(path)
        if content is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": sha}
            self.answer(404, {"error": "Entry not found"}, headers)
            return
        entry = describe_file(path, content)
        tag = entry.get("lfs", entry)["oid"]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{tag}"'}
        if "lfs" in entry:
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{tag}"'}
        if self.fault.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.answer(200, content, headers)

    def prepare_upload(self, name: str, revision: str) -> None:
        repository, sha = self.find_commit(name, revision)
        if repository is None or not self.may_write():
            return
        rows, files = [], repository.commits[sha]
        for path in (each["path"] for each in json.loads(self.body)["files"]):
            row = {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}
            if path in files:
                entry = describe_file(path, files[path])
                row["oid"] = entry.get("lfs", entry)["oid"]
            rows.append(row)
        self.answer(200, {"files": rows})

    def list_uploads(self, name: str) -> None:
        objects = []
        for row in json.loads(self.body)["objects"]:
            row = {"oid": row["oid"], "size": row["size"], "authenticated": True}
            if row["oid"] not in self.server.blobs:
                base = f"{self.server.endpoint}/lfs"
                row["actions"] = {
                    "upload": {"href": f"{base}/put/{row['oid']}?signature=secret", "header": {}},
                    "verify": {"href": f"{base}/verify/{row['oid']}", "header": {}},
                }
            objects.append(row)
        self.answer(200, {"transfer": "basic", "objects": objects})

    def put_blob(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid or self.fault.corrupt:
            self.answer(400, {"error": "the content's SHA-256 is another"})
            return
        self.server.blobs[oid] = self.body
        self.answer(200)

    def verify_blob(self, oid: str) -> None:
        self.answer(200 if oid in self.server.blobs else 404, {})

    def commit(self, name: str, revision: str) -> None:
        repository, head = self.find_commit(name, revision)
        if repository is None or not self.may_write():
            return
        files, parent = dict(repository.commits[head]), None
        for row in map(json.loads, self.body.splitlines()):
            key, value = row["key"], row["value"]
            if key == "header":
                parent = value.get("parentCommit")
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        if parent not in (None, head):
            self.answer(412, {"error": "a commit has happened since"})
            return
        answer = {"success": True, "hookOutput": ""}
        branch = revision
        if "create_pr" in self.query:
            number = len(repository.pull_requests) + 1
            branch = f"refs/pr/{number}"
            answer["pullRequestUrl"] = f"{self.server.endpoint}/{name}/discussions/{number}"
        sha = repository.add(files, branch)
        self.answer(200, answer | {"commitOid": sha, "commitUrl": f"{self.server.endpoint}/{name}/commit/{sha}"})

    def add_branch(self, name: str, revision: str) -> None:
        if (repository := self.find_repository(name)) is not None and self.may_write():
            repository.branches[revision] = repository.branches["main"]
            self.answer(200, {})

    def add_tag(self, name: str, revision: str) -> None:
        repository, sha = self.find_commit(name, revision)
        if repository is not None and self.may_write():
            tag = json.loads(self.body)["tag"]
            if tag in repository.tags:
                self.answer(409, {"error": "Tag reference exists already"})
                return
            repository.tags[tag] = sha
            self.answer(200, {})


NAME, API = r"(?P<name>[^/]+/[^/]+)", r"/api/(?:models|datasets)/"
ROUTES = {
    "/": "get_root",
    "/api/validate-yaml": "validate_card",
    "/api/repos/create": "create",
    rf"{API}{NAME}": "get_info",
    rf"{API}{NAME}/revision/(?P<revision>.+)": "get_info",
    rf"{API}{NAME}/refs": "get_refs",
    rf"{API}{NAME}/tree/(?P<revision>refs/pr/\d+|[^/]+)": "get_tree",
    rf"{API}{NAME}/preupload/(?P<revision>.+)": "prepare_upload",
    rf"{API}{NAME}/commit/(?P<revision>.+)": "commit",
    rf"{API}{NAME}/branch/(?P<revision>.+)": "add_branch",
    rf"{API}{NAME}/tag/(?P<revision>.+)": "add_tag",
    rf"/{NAME}\.git/info/lfs/objects/batch": "list_uploads",
    r"/lfs/put/(?P<oid>\w+)": "put_blob",
    r"/lfs/verify/(?P<oid>\w+)": "verify_blob",
    rf"/(?:datasets/)?{NAME}/resolve/(?P<revision>refs/pr/\d+|[^/]+)/(?P<path>.+)": "get_file",
}


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by path."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@contextmanager
def start_hub(repositories: dict[str, Path] | None = None, gated: tuple[str, ...] = ()) -> Iterator:
    """A server, with folders as its first repositories; see `HubHandler` for what it holds, and `stop` to end it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    server.daemon_threads, server.endpoint = True, f"http://127.0.0.1:{server.server_port}"
    server.gated, server.repositories = gated, {}
    server.blobs, server.faults, server.lines, server.released = {}, [], [], threading.Event()
    for name, folder in (repositories or {}).items():
        server.repositories[name] = Repository()
        server.repositories[name].add(read_folder(folder), sha=COMMIT)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop() -> None:
        server.released.set()
        server.shutdown()
        server.server_close()

    server.stop = stop
    try:
        yield server
    finally:
        stop()


@contextmanager
def serve_hub(repositories: dict[str, Path], gated: tuple[str, ...] = ()) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve folders as repositories; yields the endpoint, and what ends the service before the context does."""
    with start_hub(repositories, gated) as server:
        yield server.endpoint, server.stop


@contextmanager
def connect(server, token: str | None = WRITE) -> Iterator[list[float]]:
    """Within this, this process's client talks to the server, and models are loaded in a thread, not in a process.

    Yields the seconds that were waited for, without waiting.
    """
    waits: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        settings = {
            "ENDPOINT": server.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
        }
        for name, value in settings.items():
            patch.setattr(constants, name, value)
        patch.setattr(hub_calls.time, "sleep", waits.append)
        patch.setenv("HF_TOKEN", token) if token else patch.delenv("HF_TOKEN", raising=False)
        for module in (checks, verify):
            patch.setattr(module, "open_stranger", open_here)
        is_hub_reachable.cache_clear()
        yield waits
    is_hub_reachable.cache_clear()


@contextmanager
def open_here(folder: Path, precision: str = "fp32", run_code: bool = False) -> Iterator[stranger.Stranger]:
    """`open_stranger` with its far end in a thread, which takes no seconds to begin."""
    (far_in, near_out), (near_in, far_out) = os.pipe(), os.pipe()
    files = [os.fdopen(far_in, "rb"), os.fdopen(far_out, "wb"), os.fdopen(near_out, "wb"), os.fdopen(near_in, "rb")]
    thread = threading.Thread(target=stranger.serve, args=files[:2], daemon=True)
    thread.start()
    try:
        yield stranger.Stranger(*files[2:], stranger.make_options(folder, precision, run_code))
    finally:
        files[2].close()
        thread.join(10)
        for file in files:
            file.close()
