"""Reaching the Hub: asked once, offline means no; its dataset is fetched from a loopback server."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hf_cifar.data.sources import SAMPLE_FOLDER
from hf_cifar.hub import is_hub_reachable

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {f"plain_text/{path.name}": path.read_bytes() for path in (SAMPLE_FOLDER / "plain_text").iterdir()}
PROGRAM = """
from hf_cifar.data.sources import fetch_from_hub, read_parquet_folder
from hf_cifar.hub import is_hub_reachable
splits = read_parquet_folder(fetch_from_hub(), "cifar10").splits
print(is_hub_reachable(), {name: len(raw.labels) for name, raw in splits.items()})
"""


class DatasetServer(BaseHTTPRequestHandler):
    """As much of the Hub as `snapshot_download` of uoft-cs/cifar10 needs, with the sample's files."""

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        name = next((name for name in FILES if path.endswith(f"/resolve/{COMMIT}/{name}")), None)
        headers, body, status = {"X-Repo-Commit": COMMIT}, b"", 200
        if name is not None:
            body = FILES[name]
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
        elif path.startswith("/api/datasets/uoft-cs/cifar10/tree/"):
            rows = [{"type": "file", "path": name, "size": len(FILES[name]), "oid": "0" * 40} for name in FILES]
            body = json.dumps(rows).encode()
        elif path.startswith("/api/datasets/uoft-cs/cifar10"):
            siblings = [{"rfilename": name} for name in FILES]
            body = json.dumps({"id": "uoft-cs/cifar10", "sha": COMMIT, "siblings": siblings}).encode()
        elif path != "/":
            status = 404
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def run_program(endpoint: str, home: str, **environment: str) -> subprocess.CompletedProcess:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    variables |= {"HF_ENDPOINT": endpoint, "HF_HOME": home, "HF_HUB_DISABLE_XET": "1", **environment}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True)


def test_the_hubs_dataset_is_downloaded_then_found_in_its_cache(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), DatasetServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        online = run_program(endpoint, str(tmp_path))
    finally:
        server.shutdown()
        server.server_close()
    expected = "{'train': 1000, 'test': 500}"
    assert online.stdout.strip() == f"True {expected}", online.stderr[-1500:]
    assert run_program(endpoint, str(tmp_path)).stdout.strip() == f"False {expected}"  # the server is gone
    offline = run_program(endpoint, str(tmp_path / "empty"))
    assert offline.returncode and "no answer, and no copy in its cache" in offline.stderr


def test_offline_is_not_reachable():
    is_hub_reachable.cache_clear()
    assert is_hub_reachable() is False


@pytest.fixture(autouse=True)
def forget_the_answer():
    yield
    is_hub_reachable.cache_clear()
