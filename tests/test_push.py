"""Pushing a run to a loopback Hub: what arrives, and what is said and left behind when something goes wrong."""

import logging
import os
import re
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from hf_cifar.errors import HubError, UserError
from hf_cifar.publishing import hub_calls, push
from hf_cifar.publishing.checks import check_run

from .hub_server import READ, WRITE, Fault, Repository, connect, open_here, start_hub

NAME = "user/cnn"
# Loads by the repository's name, from the Hub, as the card says.
PROGRAM = """
import sys
from PIL import Image
from transformers import AutoModelForImageClassification, pipeline
sys.modules["hf_cifar"] = None
name, image = sys.argv[1], Image.new("RGB", (32, 32))
model = AutoModelForImageClassification.from_pretrained(name, trust_remote_code=True)
classify = pipeline("image-classification", model=name, trust_remote_code=True, revision="v1")
print(type(model).__name__, len(classify(image, top_k=10)))
"""


@pytest.fixture(scope="module")
def run(cnn_run, tmp_path_factory):
    """A run as it is published, without checkpoints."""
    folder = tmp_path_factory.mktemp("published") / "run"
    shutil.copytree(cnn_run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    return folder


@pytest.fixture(scope="module")
def checked(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hf_cifar.publishing.checks.open_stranger", open_here)
        return check_run(run)


@pytest.fixture
def hub():
    with start_hub() as server:
        yield server


def is_loadable(server) -> bool:
    """Whether any revision of any repository has a file of a run."""
    commits = [files for repository in server.repositories.values() for files in repository.commits.values()]
    return any("config.json" in files or "model.safetensors" in files for files in commits)


def test_a_run_is_pushed_in_one_commit_tagged_verified_and_loaded_by_its_name(recipe, run, hub, checked, tmp_path):
    with connect(hub):
        code, out, err = recipe("push.py", run, f"--repo_id={NAME}", "--private")
    assert code == 0, err
    repository = hub.repositories[NAME]
    assert repository.private and len(repository.commits) == 2
    assert repository.tags == {"v1": repository.branches["main"]}
    files = repository.commits[repository.tags["v1"]]
    assert sorted(set(files) - {".gitattributes"}) == checked[1]
    assert all(files[path] == (run / path).read_bytes() for path in checked[1])
    assert "tagged v1" in out and "metrics.test.accuracy.value" in out and WRITE not in out + err
    assert re.search(rf"{(run / 'config.json').stat().st_size:,}  config.json", out)
    variables = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    variables |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": READ}
    done = subprocess.run([sys.executable, "-I", "-c", PROGRAM, NAME], env=variables, capture_output=True, text=True)
    assert done.stdout.split() == ["CifarCnnForImageClassification", "10"], done.stderr[-1500:]


def test_a_dry_run_sends_nothing(recipe, run, hub):
    with connect(hub):
        code, out, _ = recipe("push.py", run, f"--repo_id={NAME}", "--dry_run")
    assert code == 0 and "model.safetensors" in out and not hub.lines


def test_pushed_again_nothing_changes_and_changed_the_next_number_is_its_tag(run, checked, hub, tmp_path):
    with connect(hub):
        first, again = (push.push_run(run, NAME, checked=checked) for _ in range(2))
        assert (again.commit, again.tag) == (first.commit, "v1")
        changed = tmp_path / "run"
        shutil.copytree(run, changed)
        (changed / "figures" / "learning_curves.png").unlink()
        paths = [path for path in checked[1] if path != "figures/learning_curves.png"]
        second = push.push_run(changed, NAME, checked=(checked[0], paths))
        assert (
            second.tag == "v2" and "figures/learning_curves.png" not in hub.repositories[NAME].commits[second.commit]
        )
        with pytest.raises(UserError, match="tag='v1' exists in user/cnn"):
            push.push_run(run, NAME, checked=checked, tag="v1")
        with pytest.raises(UserError, match="exists and is public"):
            push.push_run(run, NAME, checked=checked, private=True)
    assert len(hub.repositories[NAME].commits) == 3


def test_a_pull_request_and_a_branch_leave_main_as_it_was(run, checked, hub):
    hub.repositories[NAME] = Repository()
    first = hub.repositories[NAME].add({"README.md": b"mine"})
    with connect(hub):
        opened = push.push_run(run, NAME, checked=checked, create_pr=True)
        branched = push.push_run(run, NAME, checked=checked, revision="next")
    repository = hub.repositories[NAME]
    assert repository.branches == {"main": first, "next": branched.commit}
    assert repository.pull_requests == {"refs/pr/1": opened.commit} and opened.pull_request.endswith("discussions/1")
    assert opened.tag is None and repository.tags == {"v1": branched.commit}


def change_main(server) -> None:
    server.repositories[NAME].add({"README.md": b"by somebody else"})


FAILURES = {
    "no token": (None, [], "401: not logged in, .*to create repositories in 'user'"),
    "a token that may not create": (READ, [], "making the repository: 403: .*not allowed to create repositories"),
    "a token that may not write": (
        READ,
        [Fault("", times=0)],
        "committing: 403: the token is not allowed to write to 'user/cnn' .*write access to its contents",
    ),
    "404": (WRITE, [Fault("POST .*/commit/", status=404)], "committing: 404: there is no such repository"),
    "409": (WRITE, [Fault("POST .*/commit/", status=409)], "committing: 409: somebody else changed it"),
    "413": (WRITE, [Fault("PUT /lfs", status=413, times=9)], "committing: 413: the Hub finds it too large"),
    "429 for ever": (WRITE, [Fault("POST .*/commit/", status=429, times=99)], "429: too many requests"),
    "500 for ever": (WRITE, [Fault("POST .*/lfs/objects", status=500, times=99)], "500: the Hub has a problem, after"),
    "cut": (WRITE, [Fault("PUT /lfs", cut=True, times=99)], "committing: the connection broke"),
    "slow": (WRITE, [Fault("POST .*/preupload", stall=True, times=99)], "committing: no answer in time"),
    "a changed parent": (WRITE, [Fault("POST .*/commit/")], "committing: 412: another commit was made"),
    "a wrong checksum": (
        WRITE,
        [Fault("PUT /lfs", corrupt=True, times=9)],
        "400: the Hub refuses .*SHA-256 is another",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line_and_leaves_nothing_to_load(name, run, checked, hub, caplog, capfd):
    token, faults, pattern = FAILURES[name]
    hub.faults += [Fault(**vars(fault)) for fault in faults]
    if name == "a token that may not write":
        hub.repositories[NAME] = Repository()
        change_main(hub)
    if name == "a changed parent":
        hub.faults[0].before = lambda: change_main(hub)
    caplog.set_level(logging.DEBUG)
    with connect(hub, token), pytest.raises(HubError, match=pattern) as caught:
        try:
            push.push_run(run, NAME, checked=checked, timeout=0.4 if name == "slow" else 10)
        finally:
            hub.released.set()
    assert "\n" not in str(caught.value) and not is_loadable(hub)
    said = caplog.text + "".join(capfd.readouterr()) + "".join(traceback.format_exception(caught.value))
    assert not re.search(r"hf_(www|rrr)|signature=secret", said)


@pytest.mark.parametrize(
    ("fault", "waited"),
    [
        (Fault("PUT /lfs", status=429, headers={"Retry-After": "30"}), 31),  # the client's own retry adds one
        (Fault("POST .*/commit/", status=429, headers={"Retry-After": "30"}), 30),
        (Fault("GET .*/api/models", status=500, times=3), 4),
        (Fault("POST .*/lfs/objects", status=500, times=3), 4),
        (Fault("PUT /lfs", cut=True), 1),
    ],
)
def test_what_passes_is_waited_for(fault, waited, run, checked, hub):
    hub.faults.append(Fault(**vars(fault)))
    with connect(hub) as waits:
        pushed = push.push_run(run, NAME, checked=checked)
    assert waited in waits and hub.faults[0].times == 0
    assert hub.repositories[NAME].tags == {"v1": pushed.commit} and len(hub.repositories[NAME].commits) == 2


def test_a_commit_whose_answer_was_lost_is_not_made_twice(run, checked, hub, monkeypatch):
    send, calls = push.HfApi.create_commit, []

    def lose_answer(api, *arguments, **options):
        calls.append(options)
        commit = send(api, *arguments, **options)
        if len(calls) == 1:
            for operation in arguments[1]:
                operation._is_committed = False
            raise hub_calls.HTTPError("cut")
        return commit

    monkeypatch.setattr(push.HfApi, "create_commit", lose_answer)
    with connect(hub):
        pushed = push.push_run(run, NAME, checked=checked)
    assert hub.repositories[NAME].branches["main"] == pushed.commit and len(hub.repositories[NAME].commits) == 2


def test_a_tag_that_fails_says_that_the_commit_is_there(run, checked, hub):
    hub.faults.append(Fault("POST .*/tag/", status=403))
    with connect(hub), pytest.raises(HubError, match="tagging commit .*, which is published: 403"):
        push.push_run(run, NAME, checked=checked)


def test_the_recipe_fails_with_1_for_the_hub_and_2_for_the_user(recipe, run, hub):
    hub.faults.append(Fault("POST .*/commit/", status=413))
    with connect(hub):
        code, _, err = recipe("push.py", run, f"--repo_id={NAME}")
        assert code == 1 and err.strip().splitlines()[-1].startswith("error: user/cnn at http")
        for options in (["--repo_id=cnn"], [f"--repo_id={NAME}", "--create_pr", "--revision=next"]):
            code, _, err = recipe("push.py", run, *options)
            assert code == 2 and len(err.strip().splitlines()) == 1 and "allowed" in err or "leave out" in err
    with connect(hub), pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_calls.constants, "HF_HUB_OFFLINE", True)
        code, _, err = recipe("push.py", run, f"--repo_id={NAME}")
        assert code == 1 and "cannot be reached" in err
    assert not is_loadable(hub) and Path(run).is_dir()
