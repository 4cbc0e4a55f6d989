"""Owns the run folder: who may write into it, where its checkpoints lie, and how a model is put there."""

import shutil
from pathlib import Path

from transformers import PreTrainedModel

from ..data.transforms import Preprocessing
from ..errors import UserError
from ..files import check_output_folder, is_scratch
from ..models.image_processors import build_image_processor

CHECKPOINTS = "checkpoints"
# Never published: the Trainer's own, and a format that holds a pickle.
LOCAL = (CHECKPOINTS, "torch_export")
# Everything that a run writes; nothing else in a folder is ever deleted.
RUN_FILES = (
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "configuration_cifar_cnn.py",
    "modeling_cifar_cnn.py",
    "README.md",
    ".eval_results",
    "results.json",
    "predictions",
    "figures",
    "onnx",
    *LOCAL,
)


def check_run_folder(folder: Path, overwrite: bool, resume: str | None) -> str | None:
    """Check that a run may be written to `folder`, before anything is.

    Args:
        folder: need not exist.
        overwrite: whether a run there may be replaced.
        resume: a checkpoint's folder, or "true" for the last one of this run.

    Returns:
        The checkpoint to go on from, or None.

    Raises:
        UserError: It holds another run or other files, or there is no such checkpoint.
    """
    check_output_folder(folder, RUN_FILES)
    found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    checkpoint = find_checkpoint(folder, resume) if resume and resume.lower() != "false" else None
    goes_on = checkpoint is not None and folder.resolve() in Path(checkpoint).resolve().parents
    if goes_on and "results.json" in found and not overwrite:
        raise UserError(
            f"output_dir={str(folder)!r} holds a finished run; --overwrite_run true goes on and replaces it"
        )
    if goes_on:
        return checkpoint
    if found and not overwrite:
        state = "a finished run" if "results.json" in found else "an unfinished run"
        remedy = "" if "results.json" in found else ", --resume_from_checkpoint true to go on with it"
        raise UserError(
            f"output_dir={str(folder)!r} holds {state}; give another --output_dir, or --overwrite_run true to replace "
            f"it{remedy}"
        )
    return checkpoint


def find_checkpoint(folder: Path, resume: str) -> str:
    """The checkpoint that `resume` names: a folder, or "true" for the last one of the run in `folder`.

    Raises:
        UserError: There is none that is complete.
    """
    is_last = resume.lower() == "true"
    candidates = (folder / CHECKPOINTS).glob("checkpoint-*") if is_last else [Path(resume)]
    complete = [path for path in candidates if (path / "trainer_state.json").is_file()]  # the Trainer writes it late
    if not complete:
        where = folder / CHECKPOINTS if is_last else resume
        raise UserError(f"resume_from_checkpoint={resume!r}: there is no checkpoint in {where}; leave it out")
    return str(max(complete, key=lambda path: path.stat().st_mtime))


def clear_run_folder(folder: Path, keep_checkpoints: bool) -> None:
    """Delete what an earlier run wrote; results.json first, lest a half-deleted run be taken for a finished one."""
    litter = [path.name for path in folder.iterdir() if is_scratch(path.name)] if folder.is_dir() else []
    for name in ("results.json", *RUN_FILES, *litter):
        path = folder / name
        if path.is_dir() and not (name == CHECKPOINTS and keep_checkpoints):
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def save_model(model: PreTrainedModel, preprocessing: Preprocessing, folder: Path) -> None:
    """Save weights, config, remote code (CifarCnn) and image processor, as a Hub repository has them."""
    model.save_pretrained(folder)
    build_image_processor(preprocessing).save_pretrained(folder)
