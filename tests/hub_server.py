"""A loopback Hub: as much of its protocol as loading models and datasets needs, for repositories held in memory."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubHandler(BaseHTTPRequestHandler):
    """Answers for `server.repositories` (id to {path: content}, on main only) and `server.gated` ids."""

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        is_api = parts[0] == "api"
        if is_api:  # api/models/OWNER/NAME/revision/main
            parts = parts[2:]
        elif parts[0] == "datasets":  # datasets/OWNER/NAME/resolve/main/FILE; a model's files are at OWNER/NAME/...
            parts = parts[1:]
        name, revision = "/".join(parts[:2]), (parts[3:4] or ["main"])[0]
        files = self.server.repositories.get(name, {})
        if self.path == "/":
            self.answer(200)
        elif name in self.server.gated:
            message = f"Access to model {name} is restricted. You must have access to it and be authenticated"
            self.answer(401, headers={"X-Error-Code": "GatedRepo", "X-Error-Message": message})
        elif not files:
            self.answer(401, headers={"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif revision not in ("main", COMMIT):
            self.answer(404, headers={"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        elif is_api and parts[2:3] == ["tree"]:
            rows = [{"type": "file", "path": path, "size": len(files[path]), "oid": "0" * 40} for path in files]
            self.answer(200, json.dumps(rows).encode())
        elif is_api:
            siblings = [{"rfilename": path} for path in files]
            self.answer(200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings, "tags": []}).encode())
        elif (content := files.get("/".join(parts[4:]))) is not None:
            self.answer(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'})
        else:
            self.answer(404, headers={"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"X-Repo-Commit": COMMIT, **(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serve_hub(repositories: dict[str, Path], gated: tuple[str, ...] = ()) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve folders as repositories; yields the endpoint, and what ends the service before the context does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    server.gated = gated
    server.repositories = {
        name: {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for name, folder in repositories.items()
    }
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    try:
        yield f"http://127.0.0.1:{server.server_port}", stop
    finally:
        stop()
