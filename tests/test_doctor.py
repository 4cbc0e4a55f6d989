"""doctor.py as a user runs it."""

import json

WHOLE = {
    "run folder",
    "data loading",
    "initial loss",
    "gradients",
    "one batch by heart",
    "random labels",
    "learning rate",
}


def read(path) -> dict[str, str]:
    return {each["check"]: each["status"] for each in json.loads(path.read_text())["findings"]}


def test_a_healthy_config_has_nothing_but_ok(recipe, tiny_config, tmp_path):
    json_file, figures = tmp_path / "findings.json", tmp_path / "figures"
    options = ["--json", json_file, "--figures_dir", figures, f"--output_dir={tmp_path}/run"]
    options += ["--per_device_train_batch_size=32"]
    code, out, err = recipe("doctor.py", "--config", tiny_config, *options)
    assert code == 0, out + err
    found = read(json_file)
    assert WHOLE <= set(found)
    machine = {"processor", "precision", "compiled kernels"}  # whatever runs the tests
    assert {check for check, status in found.items() if status != "ok"} <= machine, out
    assert {path.name for path in figures.iterdir()} == {"learning_rate.png", "augmented_samples.png"}
    assert out.splitlines()[-1].endswith("0 fail")


def test_without_a_config_json_alone_goes_to_stdout(recipe, data):
    for words in (["--json", "-"], ["--json=-"]):
        code, out, _ = recipe("doctor.py", *words)
        report = json.loads(out)
    assert code == 0 and report["status"] in ("ok", "warn") and len(report["findings"]) > 12


def test_a_failure_is_exit_code_1_with_the_fix(recipe, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    code, out, _ = recipe("doctor.py", f"--cache_dir={tmp_path}/file/cache")
    assert code == 1
    assert "fail project cache: " in out and "it cannot be written" in out
    assert "see: docs/troubleshooting.md#cache-not-writable" in out and out.rstrip().endswith("1 fail")


def test_bad_input_is_one_line_and_exit_code_2(recipe, tmp_path):
    code, _, err = recipe("doctor.py", "--config", tmp_path / "none.yaml")
    assert code == 2 and err.startswith("error: config ")
    code, _, err = recipe("doctor.py", "--learnin_rate", "1")
    assert code == 2 and "did you mean 'learning_rate'" in err
