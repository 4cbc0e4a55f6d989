"""Owns what others have found out about CIFAR-10's test images, read from a folder of files that they publish."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .constants import CLASS_NAMES

NUM_TEST, NUM_TRAIN = 10_000, 50_000
HUMAN_LABELS_FILE, DISPUTES_FILE, DUPLICATES_FILE = (
    "cifar10h-probs.npy",
    "cifar10_mturk.json",
    "duplicates_cifar10.csv",
)
VOTES = ("given", "guessed", "neither", "both")


@dataclass(frozen=True)
class Dispute:
    """A test image whose label people were asked about.

    Attributes:
        index: the test image's canonical index.
        guessed: the class number that an algorithm holds to be right instead.
        votes: how many people chose "given" (the dataset's label), "guessed", "neither" or "both".
    """

    index: int
    guessed: int
    votes: dict[str, int]


@dataclass(frozen=True)
class ReferenceData:
    """What was found in the folder; None for what is not there.

    Attributes:
        human_labels: see `read_human_labels`.
        disputes: see `read_disputes`.
        duplicates: see `read_duplicates`.
    """

    human_labels: np.ndarray | None = None
    disputes: list[Dispute] | None = None
    duplicates: list[tuple[int, int]] | None = None


def read_reference_data(folder: str | Path) -> ReferenceData:
    """Read those of `cifar10h-probs.npy`, `cifar10_mturk.json` and `duplicates_cifar10.csv` that a folder has.

    Raises:
        UserError: There is no such folder, none of them is in it, or one is not what it should be.
    """
    folder = Path(folder)
    readers: dict[str, tuple[str, Callable]] = {
        "human_labels": (HUMAN_LABELS_FILE, read_human_labels),
        "disputes": (DISPUTES_FILE, read_disputes),
        "duplicates": (DUPLICATES_FILE, read_duplicates),
    }
    names = ", ".join(name for name, _ in readers.values())
    if not folder.is_dir():
        raise UserError(f"reference_data={str(folder)!r} is not a folder; give one with any of {names}")
    found = {part: read(folder / name) for part, (name, read) in readers.items() if (folder / name).exists()}
    if not found:
        raise UserError(f"reference_data={str(folder)!r} has none of {names}; put at least one there")
    return ReferenceData(**found)


def read_human_labels(path: Path) -> np.ndarray:
    """CIFAR-10H: how about 50 people labelled each test image (Peterson et al. 2019).

    Returns:
        float64 (10000, 10): shares that sum to 1, in canonical order.

    Raises:
        UserError: It is not such an array.
    """
    shape = (NUM_TEST, len(CLASS_NAMES))
    try:
        shares = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _refuse(path, f"cannot be read as an array ({error})") from error
    if not isinstance(shares, np.ndarray):  # an archive of arrays
        raise _refuse(path, "is not a single array")
    if shares.shape != shape or shares.dtype.kind != "f":
        raise _refuse(path, f"has shape {shares.shape} and type {shares.dtype}; allowed: floats of shape {shape}")
    shares = shares.astype(np.float64)
    # A comparison with NaN is false.
    if not ((shares >= 0).all() and (np.abs(shares.sum(1) - 1) < 0.01).all()):
        raise _refuse(path, "has rows that are not shares; allowed: 0 to 1, of sum 1")
    return shares


def read_disputes(path: Path) -> list[Dispute]:
    """Labels that confident learning doubts, with the votes of five people each (Northcutt et al. 2021).

    Raises:
        UserError: It is not JSON of that form.
    """
    try:
        disputes = [
            Dispute(
                _to_integer(entry["id"], NUM_TEST),
                _to_integer(entry["our_guessed_label"], len(CLASS_NAMES)),
                {vote: _to_integer(entry["mturk"][vote], 1000) for vote in VOTES},
            )
            for entry in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, RecursionError) as error:
        raise _refuse(path, f"cannot be read as JSON ({error})") from error
    except (KeyError, TypeError) as error:
        raise _refuse(path, f"is not a list with id, our_guessed_label and mturk's votes ({error!r})") from error
    if not disputes:
        raise _refuse(path, "is empty")
    return disputes


def read_duplicates(path: Path) -> list[tuple[int, int]]:
    """Test images with a near-duplicate among the training images, found by eye (Barz & Denzler 2020, ciFAIR).

    Returns:
        Canonical indices of the test image and of the training image.

    Raises:
        UserError: It is not a CSV file with such columns.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            pairs = [
                (_to_integer(row["TestID"], NUM_TEST), _to_integer(row["TrainID"], NUM_TRAIN))
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, csv.Error) as error:
        raise _refuse(path, f"cannot be read as a table of image numbers ({error})") from error
    except (KeyError, TypeError) as error:
        raise _refuse(path, "lacks the columns TestID and TrainID") from error
    if not pairs:
        raise _refuse(path, "is empty")
    return pairs


def _to_integer(value: str | int, limit: int) -> int:
    number = int(value)
    if not 0 <= number < limit:
        raise ValueError(f"{number} is not from 0 to {limit - 1}")
    return number


def _refuse(path: Path, reason: str) -> UserError:
    reason = " ".join(reason.split())
    return UserError(f"{path}: {reason}. Fetch it again from its authors, or take it out of the folder")
