"""Publishing at the end of a training, on a loopback Hub."""

import json

import pytest

from hf_cifar.errors import HubError
from hf_cifar.publishing import publish

from .hub_server import WRITE, connect, start_hub

NAME = "user/cnn"


def test_a_training_ends_with_a_push_that_is_fetched_and_checked(recipe, tiny_config, tmp_path):
    options = ["--config", tiny_config, f"--output_dir={tmp_path}/run", "--num_train_epochs=1", "--tta=none"]
    with start_hub() as hub, connect(hub):
        code, out, err = recipe("train.py", *options, "--push_to_hub", "true", f"--hub_model_id={NAME}")
    assert code == 0, err
    repository = hub.repositories[NAME]
    assert len(repository.commits) == 2 and repository.tags == {"v1": repository.branches["main"]}
    assert "tagged v1" in out and "metrics.test.accuracy.value" in out and WRITE not in out + err
    published = json.loads(repository.commits[repository.tags["v1"]]["results.json"])["recipe"]
    assert "hub" not in published["command"] and published["command"].endswith("--tta=none")
    assert not any(name.startswith("checkpoints") for name in repository.commits[repository.tags["v1"]])


def test_a_copy_that_differs_is_an_error(monkeypatch, tmp_path):
    pushed = publish.push_run.__annotations__["return"]("c" * 40, "https://hub/c", "v1", None)
    monkeypatch.setattr(publish, "push_run", lambda *_: pushed)
    monkeypatch.setattr(publish, "verify_model", lambda *_, **__: [publish_check(ok=False)])
    lines = publish.publish_run(tmp_path, NAME, object())
    assert next(lines) == "Pushed: https://hub/c, tagged v1"
    with pytest.raises(HubError, match="user/cnn is published, but not reproduced: .*accuracy"):
        list(lines)


def publish_check(ok: bool):
    from hf_cifar.publishing.agreement import Check

    return Check("accuracy", 0.9, 0.8, 0.0, ok)


def test_who_repeats_a_run_does_not_push_it():
    given = (
        "--config a.yaml --push_to_hub --hub_model_id u/n --seed 1 --hub_private_repo=true --push_to_hub true --bf16"
    )
    assert publish.drop_hub_options(given.split()) == "--config a.yaml --seed 1 --bf16".split()
