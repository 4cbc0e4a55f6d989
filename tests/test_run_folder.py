"""The run folder: never overwritten by accident, and only what a run wrote is deleted."""

import pytest

from hf_cifar.errors import UserError
from hf_cifar.training.run_folder import check_run_folder, clear_run_folder


@pytest.fixture
def finished(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints/checkpoint-3").mkdir(parents=True)
    (folder / "predictions").mkdir()
    for name in ("results.json", "model.safetensors", "predictions/test.parquet"):
        (folder / name).write_text("old")
    (folder / "checkpoints/checkpoint-3/trainer_state.json").write_text("{}")
    return folder


def test_a_new_or_empty_folder_is_fine(tmp_path):
    assert check_run_folder(tmp_path / "new", False, None) is None
    assert check_run_folder(tmp_path, False, None) is None


def test_a_finished_run_is_refused_unless_it_may_be_replaced(finished):
    with pytest.raises(UserError, match="holds a finished run; .*--overwrite_run true"):
        check_run_folder(finished, False, None)
    assert check_run_folder(finished, True, None) is None
    assert (finished / "results.json").read_text() == "old"  # checking deletes nothing


def test_an_unfinished_run_can_be_resumed(finished):
    (finished / "results.json").unlink()
    with pytest.raises(UserError, match="holds an unfinished run; .*--resume_from_checkpoint true"):
        check_run_folder(finished, False, None)
    assert check_run_folder(finished, False, "true").endswith("checkpoint-3")


def test_a_finished_run_is_not_resumed_by_accident(finished):
    with pytest.raises(UserError, match="holds a finished run"):
        check_run_folder(finished, False, "true")


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_never_touched(finished, overwrite):
    (finished / "thesis.tex").write_text("dear")
    with pytest.raises(UserError, match="holds other files, as 'thesis.tex'"):
        check_run_folder(finished, overwrite, None)


@pytest.mark.parametrize("resume", ["true", "nowhere/checkpoint-1"])
def test_a_missing_checkpoint_is_said(tmp_path, resume):
    with pytest.raises(UserError, match="there is no checkpoint in"):
        check_run_folder(tmp_path, False, resume)


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="is not a folder that can be written"):
        check_run_folder(tmp_path / "run", False, None)


def test_clearing_keeps_checkpoints_when_asked(finished):
    clear_run_folder(finished, keep_checkpoints=True)
    assert [path.name for path in finished.iterdir()] == ["checkpoints"]
    clear_run_folder(finished, keep_checkpoints=False)
    assert not list(finished.iterdir())


def test_half_written_checkpoints_are_passed_over(finished):
    (finished / "results.json").unlink()
    (finished / "checkpoints/checkpoint-6").mkdir()  # killed before trainer_state.json
    assert check_run_folder(finished, False, "true").endswith("checkpoint-3")
    with pytest.raises(UserError, match="there is no checkpoint"):
        check_run_folder(finished, True, str(finished / "checkpoints/checkpoint-6"))


def test_a_killed_writes_litter_is_no_obstacle_and_is_cleared(finished):
    (finished / "results.json").unlink()
    (finished / ".results.json.ab12cd34").mkdir()
    check_run_folder(finished, True, None)
    clear_run_folder(finished, keep_checkpoints=False)
    assert not list(finished.iterdir())


def test_another_runs_checkpoint_does_not_open_an_unfinished_run(finished, tmp_path):
    elsewhere = tmp_path / "elsewhere/checkpoint-1"
    elsewhere.mkdir(parents=True)
    (elsewhere / "trainer_state.json").write_text("{}")
    (finished / "results.json").unlink()
    with pytest.raises(UserError, match="holds an unfinished run"):
        check_run_folder(finished, False, str(elsewhere))
    assert check_run_folder(tmp_path / "new", False, str(elsewhere)) == str(elsewhere)
