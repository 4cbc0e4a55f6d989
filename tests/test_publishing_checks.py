"""What is checked before a run is published: each thing that must not be sent, and each that must be right."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hf_cifar.errors import UserError
from hf_cifar.evaluation.results import read_results
from hf_cifar.publishing import checks
from hf_cifar.publishing.checks import check_run, find_card_problems, is_published

from .conftest import ROOT
from .hub_server import open_here


@pytest.fixture
def copy(cnn_run, tmp_path, monkeypatch):
    """A run that may be altered, checkpoints and all; its model is loaded in a thread."""
    monkeypatch.setattr(checks, "open_stranger", open_here)
    return shutil.copytree(cnn_run, tmp_path / "copy")


def test_a_finished_run_is_sent_without_its_checkpoints(copy):
    results, paths = check_run(copy)
    assert results["model"]["type"] == "cifar_cnn"
    assert {"config.json", "model.safetensors", "modeling_cifar_cnn.py", "predictions/test.parquet"} <= set(paths)
    assert not any("checkpoint" in path for path in paths) and (copy / "checkpoints").is_dir()


def test_what_is_published_is_a_list_of_names():
    assert is_published("figures/confusion_matrix.png") and is_published("config.json")
    for path in (
        "figures/a/b.png",
        "figures/x.svg",
        "training_args.bin",
        "checkpoints/a",
        "predictions/x.pkl",
        ".env",
    ):
        assert not is_published(path)


@pytest.mark.parametrize(
    "name", ["notes.txt", "training_args.bin", "figures/notes.txt", ".config.json.a1b2c3d4", ".env"]
)
def test_a_stray_file_is_refused(name, copy):
    (copy / name).write_text("x")
    with pytest.raises(
        UserError, match=f"{name.split('/')[-1]}' is (no file of a run|a half-written file); take it away"
    ):
        check_run(copy)


def test_a_link_to_elsewhere_is_refused(copy, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n")
    (copy / "figures" / "secret.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match="figures/secret.png' is a link to elsewhere"):
        check_run(copy)


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "modeling_cifar_cnn.py", "results.json"])
def test_a_missing_file_is_named(name, copy):
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name}"):
        check_run(copy)


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        ("model.safetensors", b"\x80\x04\x95pickle", "model.safetensors: not safetensors"),
        ("model.safetensors", b"", "model.safetensors: 0 bytes"),
        ("predictions/test.parquet", b"\x80\x04\x95pickle", "test.parquet: cannot be read"),
        ("figures/x.png", b"<svg/>", "figures/x.png: not a PNG"),
        ("README.md", b"x" * (10 * 2**20 + 1), "README.md: 10,485,761 bytes"),
        ("results.json", b"{}", "schema_version is None"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(name, content, pattern, copy):
    (copy / name).write_bytes(content)
    with pytest.raises(UserError, match=pattern):
        check_run(copy)


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        ("hf_" + "A1b2" * 9, "a Hugging Face token"),
        ("ghp_" + "a1B2" * 9, "a GitHub token"),
        ("sk-proj-" + "a1B2" * 9, "an API key"),
        ("AKIA" + "A1B2" * 4, "an API key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
        ("https://me:pass@example.org/x", "a password in an address"),
        ("wandb_api_key = '0123456789abcdef0123456789'", "a secret by its name"),
        ('"hub_token": "0123456789abcdef0123456789"', "a secret by its name"),
    ],
)
@pytest.mark.parametrize("name", ["README.md", "config.json"])
def test_what_looks_like_a_secret_is_refused_and_not_repeated(name, secret, kind, copy):
    with (copy / name).open("a") as file:
        file.write(f"\n{secret}\n")
    with pytest.raises(UserError, match=rf"{name}, line \d+: looks like {kind}") as caught:
        check_run(copy)
    assert secret not in str(caught.value)


def test_the_token_in_use_is_found_in_any_file(copy, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "my-own-token")
    with (copy / "figures" / "confusion_matrix.png").open("ab") as file:
        file.write(b"my-own-token")
    with pytest.raises(UserError, match="confusion_matrix.png holds your token"):
        check_run(copy)


def test_weights_that_are_not_those_measured_are_refused(copy):
    weights = load_file(copy / "model.safetensors")
    doubled = {name: np.asarray(2 * value, value.dtype) for name, value in weights.items()}
    save_file(doubled, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="model.safetensors: the weights' SHA-256 is"):
        check_run(copy)
    name, *_ = weights
    save_file(
        {key: value for key, value in weights.items() if key != name}, copy / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(UserError, match=f"does not load without this package: .*missing keys, as {name}"):
        check_run(copy)


def test_code_of_others_is_not_run_without_leave(copy):
    (copy / "modeling_cifar_cnn.py").write_text("raise SystemExit")
    with pytest.raises(UserError, match="modeling_cifar_cnn.py is not this version's own; .*--trust_remote_code"):
        check_run(copy)


@pytest.mark.parametrize(
    ("old", "new", "pattern"),
    [
        ("pipeline_tag: image-classification", "pipeline_tag: text-generation", "pipeline_tag is 'text-generation'"),
        ("license: apache-2.0\n", "", "has no license"),
        ("---\n", "---\nmodel-index: 3\n", "metadata cannot be read"),
        ("---\n", "---\n: [\n", "metadata cannot be read"),
        (" % [", " % (", "does not say"),
    ],
)
def test_a_card_that_is_not_right_is_refused(old, new, pattern, copy):
    card = (copy / "README.md").read_text()
    assert old in card
    (copy / "README.md").write_text(card.replace(old, new, 1) if "%" not in old else card.replace(old, new))
    with pytest.raises(UserError, match=f"README.md: .*{pattern}"):
        check_run(copy)


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "model_cards").glob("*/results.json")), ids=lambda path: path.parent.name
)
def test_committed_cards_are_valid_and_hold_no_secrets(folder):
    folder = folder.parent
    assert not list(find_card_problems(folder, read_results(folder)))
    checks.check_secrets(folder, ["README.md", "results.json"])
