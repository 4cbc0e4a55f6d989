"""What the doctor says of the Hub, the token, caches and data, when they are fine and when they are not."""

import http.server
import json
import shutil
import threading
import time

import numpy as np
import pytest
from huggingface_hub import constants

from hf_cifar.data.integrity import hash_array
from hf_cifar.data.sources import SAMPLE_FOLDER
from hf_cifar.data.store import read_column, read_images
from hf_cifar.files import get_cache_dir
from hf_cifar.guidance import stores
from hf_cifar.guidance.findings import format_findings, make_report
from hf_cifar.guidance.stores import check_cifar10_tables, check_folder, check_hub, check_sample, check_token

SECRET = "hf_" + "x" * 34


def test_a_hub_that_hangs_is_not_waited_for(clean):
    clean.setattr(stores, "is_hub_reachable", lambda: time.sleep(5))
    started = time.perf_counter()
    found = check_hub(has_data=True, timeout=0.2)
    assert time.perf_counter() - started < 2
    assert (found.status, found.entry) == ("warn", "hub-unreachable") and "cached one is there" in found.value


def test_a_hub_that_refuses_is_a_warning_and_offline_is_not(clean):
    clean.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert check_hub(has_data=False).status == "warn"
    clean.setattr(constants, "HF_HUB_OFFLINE", True)
    assert check_hub(has_data=False).status == "ok"


def test_a_hub_that_answers_is_sent_no_token(clean):
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            seen.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    clean.setenv("HF_TOKEN", SECRET)
    clean.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    found = check_hub(has_data=False)
    server.shutdown()
    assert found.status == "ok" and len(seen) == 1
    assert SECRET not in str(seen)


@pytest.mark.parametrize(
    ("variable", "file", "status", "words"),
    [
        (None, None, "ok", "none"),
        (SECRET, None, "ok", "environment variable HF_TOKEN"),
        (None, SECRET + "\n", "ok", "file "),
        (SECRET, SECRET, "warn", "wins over"),
        (f'"{SECRET}"', None, "warn", "does not look like one"),
        (f"{SECRET} ", None, "warn", "does not look like one"),
        (None, "password", "warn", "does not look like one"),
    ],
)
def test_a_token_is_placed_and_never_shown(clean, tmp_path, variable, file, status, words):
    if variable:
        clean.setenv("HF_TOKEN", variable)
    if file:
        (tmp_path / "token").write_text(file)
    found = check_token()
    assert found.status == status and words in found.value
    for text in (format_findings([found]), json.dumps(make_report([found]))):
        assert "xxx" not in text and "password" not in text


def test_caches_are_measured_and_tried(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    found = check_folder("project cache", tmp_path)
    assert found.status == "ok" and found.numbers == {"bytes": 5, "files": 1}
    below_a_file = tmp_path / "file" / "cache"
    assert check_folder("project cache", below_a_file).status == "fail"
    assert check_folder("Hub cache", below_a_file).entry == "cache-not-writable"


def test_an_altered_sample_is_found(tmp_path):
    assert check_sample().status == "ok"
    folder = tmp_path / "plain_text"
    shutil.copytree(SAMPLE_FOLDER / "plain_text", folder)
    path = folder / "test-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert "test-00000-of-00001.parquet has SHA-256" in check_sample(folder).value
    path.unlink()
    assert check_sample(folder).status == "fail"


def test_cached_tables_of_cifar10_are_checked_block_by_block(data, tmp_path, monkeypatch):
    """On the sample, whose table is taken for one of blocks of 100 images."""
    assert check_cifar10_tables(tmp_path)[0].value.startswith("not cached yet")
    source = next(path.parent for path in (get_cache_dir() / "tables").glob("*/table.json"))
    folder = tmp_path / "tables" / "0123456789"
    shutil.copytree(source, folder)
    facts = json.loads((folder / "table.json").read_text())
    (folder / "table.json").write_text(json.dumps(facts | {"name": "cifar10"}))
    monkeypatch.setattr(stores, "BLOCK_SIZE", 100)
    for split, name in (("train", "TRAIN_BLOCK_SHA256"), ("test", "TEST_BLOCK_SHA256")):
        table = getattr(data, split)
        blocks = np.array_split(read_images(table), len(table) // 100)
        monkeypatch.setattr(stores, name, {f"block {i}": hash_array(each) for i, each in enumerate(blocks)})
        labels = hash_array(read_column(table, "label").astype("uint8"))
        monkeypatch.setitem(stores.LABELS_SHA256, split, labels)
    assert check_cifar10_tables(tmp_path)[0].status == "ok"
    content = bytearray((folder / "train.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "train.arrow").write_bytes(content)
    (found,) = check_cifar10_tables(tmp_path)
    assert found.status == "fail" and "differs from CIFAR-10's" in found.value
    assert (folder / "train.arrow").exists()  # it only looks
    (folder / "test.arrow").write_bytes(b"")
    (folder / "train.arrow").write_bytes(b"")
    assert "cannot be read" in check_cifar10_tables(tmp_path)[0].value
