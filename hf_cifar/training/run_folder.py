"""Owns the run folder: who may write into it, where its checkpoints lie, and how a model is put there."""

import shutil
from pathlib import Path

from transformers import PreTrainedModel
from transformers.trainer_utils import get_last_checkpoint

from ..data.transforms import Preprocessing
from ..errors import UserError
from ..models.image_processors import build_image_processor

CHECKPOINTS = "checkpoints"
# Everything that a run writes; nothing else in a folder is ever deleted.
RUN_FILES = (
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "configuration_cifar_cnn.py",
    "modeling_cifar_cnn.py",
    "README.md",
    "results.json",
    "predictions",
    "figures",
    CHECKPOINTS,
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
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir={str(folder)!r} is a file; give a folder")
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if foreign := [name for name in found if name not in RUN_FILES]:
        raise UserError(f"output_dir={str(folder)!r} holds other files, as {foreign[0]!r}; give a new folder")
    if resume and resume.lower() != "false":
        is_last = resume.lower() == "true"
        checkpoints = folder / CHECKPOINTS
        path = resume
        if is_last:
            path = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
        if path is None or not Path(path).is_dir():
            where = checkpoints if is_last else resume
            raise UserError(f"resume_from_checkpoint={resume!r}: there is no checkpoint in {where}; leave it out")
        if (folder / "results.json").exists() and not overwrite:
            raise UserError(
                f"output_dir={str(folder)!r} holds a finished run; --overwrite_run true goes on and replaces it"
            )
        return path
    if found and not overwrite:
        state = "a finished run" if "results.json" in found else "an unfinished run"
        remedy = "" if "results.json" in found else ", --resume_from_checkpoint true to go on with it"
        raise UserError(
            f"output_dir={str(folder)!r} holds {state}; give another --output_dir, or --overwrite_run true to replace "
            f"it{remedy}"
        )
    return None


def clear_run_folder(folder: Path, keep_checkpoints: bool) -> None:
    """Delete what an earlier run wrote; results.json first, lest a half-deleted run be taken for a finished one."""
    for name in ("results.json", *RUN_FILES):
        path = folder / name
        if path.is_dir() and not (name == CHECKPOINTS and keep_checkpoints):
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def save_model(model: PreTrainedModel, preprocessing: Preprocessing, folder: Path) -> None:
    """Save weights, config, remote code (CifarCnn) and image processor, as a Hub repository has them."""
    model.save_pretrained(folder)
    build_image_processor(preprocessing).save_pretrained(folder)
