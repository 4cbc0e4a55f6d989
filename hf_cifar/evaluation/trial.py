"""Owns what all candidates of a selection share, and the record of what was done, by which a killed one goes on."""

import json
import logging
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import PreTrainedModel, set_seed

from ..arguments import DataArguments, ModelArguments
from ..data.split import choose_subset, hash_indices
from ..data.store import read_column
from ..data.transforms import Preprocessing
from ..errors import UserError
from ..files import write_json
from ..models.loading import find_classifier, load_for_fine_tuning
from .selection import COSTS, SIGNIFICANCE, SelectionArguments, choose, get_cost

logger = logging.getLogger(__name__)

IMAGES_PER_CLASS = 20  # with fewer, no result is worth its time
# What a candidate that cannot be used raises: it shall not end the others' selection.
CANDIDATE_ERRORS = (UserError, RuntimeError)  # too little memory, and what a network's own code stumbles over


@dataclass
class Setting:
    """What all candidates share, and the record of what was done, which is written after every step.

    Attributes:
        options, data_args: of the command.
        train, validation: image tables.
        cache_dir: for features and converted weights.
        device, precision: how to run.
        path: of the record.
        record: `seconds` spent, `candidates`, `plans`, `hits` by step, `left_out` with reasons, `notes`.
        started: on `time.monotonic`'s clock.
    """

    options: SelectionArguments
    data_args: DataArguments
    train: datasets.Dataset
    validation: datasets.Dataset
    cache_dir: Path
    device: torch.device
    precision: str
    path: Path
    record: dict = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        empty = {"candidates": {}, "plans": {}, "hits": {"probe": {}, "fine_tuning": {}}, "left_out": {}, "notes": []}
        self.record = {"seconds": 0.0} | empty | self.record
        self.spent_before = self.record["seconds"]

    @property
    def class_names(self) -> list[str]:
        """In the labels' order."""
        return self.train.features["label"].names

    @property
    def least(self) -> int:
        """Images below which a result says too little."""
        return IMAGES_PER_CLASS * len(self.class_names)

    @property
    def spent(self) -> float:
        """Seconds, those before an interruption included."""
        return self.spent_before + time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return 60 * self.options.budget_minutes - self.spent

    def save(self) -> None:
        """Write the record."""
        self.record["seconds"] = self.spent
        write_json(self.path, self.record)

    def leave_out(self, name: str, reason: str) -> None:
        """Record why a candidate goes no further, and say it."""
        self.record["left_out"][name] = " ".join(reason.split())
        logger.warning("%s goes no further: %s", name, self.record["left_out"][name])

    def note(self, text: str) -> None:
        """Record what the budget did, and say it."""
        self.record["notes"].append(text)
        logger.warning("%s", text)


def load_candidate(setting: Setting, name: str) -> tuple[PreTrainedModel, Preprocessing, dict]:
    """A candidate with a fresh head, which depends on the seed alone; see `load_for_fine_tuning`."""
    options = setting.options
    set_seed(options.seed)
    arguments = ModelArguments(name, trust_remote_code=options.trust_remote_code, image_size=options.image_size)
    model, preprocessing, base_model = load_for_fine_tuning(arguments, setting.class_names, setting.cache_dir)
    if find_classifier(model) is None:
        raise UserError(f"{type(model).__name__} has no `classifier` module, so it has no features to probe")
    return model, preprocessing, base_model


def take_subset(setting: Setting, table: datasets.Dataset, count: int) -> datasets.Dataset:
    """About `count` images, of which each class has its share; the whole table where it is no larger."""
    if count >= len(table):
        return table
    labels, indices = read_column(table, "label"), read_column(table, "index")
    return table.select(choose_subset(labels, indices, count / len(table), seed=setting.data_args.split_seed))


def pack_hits(hits: np.ndarray) -> str:
    """Booleans as a string of 0 and 1, for JSON."""
    return "".join("01"[int(hit)] for hit in hits)


def unpack_hits(text: str) -> np.ndarray:
    """What `pack_hits` packed."""
    return np.frombuffer(text.encode(), dtype=np.uint8) == ord("1")


def open_record(path: Path, identity: dict, overwrite: bool) -> dict:
    """The record of an interrupted selection by the same command on the same data, or a fresh one.

    Args:
        path: of the record, see `Setting`.
        identity: options and hashes; where to and whether to overwrite make no difference.
        overwrite: whether another command's record may be replaced.

    Raises:
        UserError: It is another command's, or damaged.
    """
    options = {name: value for name, value in identity["options"].items() if name not in ("output_dir", "overwrite")}
    identity = json.loads(json.dumps(identity | {"options": options}))  # as it comes back from the file
    fresh = {"identity": identity}
    if not path.is_file():
        return fresh
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict) and record.get("identity") == identity:
            return record
        state = "an unfinished selection with other options, or of other data"
    except ValueError:
        state = "a damaged record of an unfinished selection"
    if not overwrite:
        raise UserError(
            f"{path.parent} holds {state}; give another --output_dir, the same options to go on, or --overwrite true"
        )
    return fresh


def summarize(setting: Setting) -> dict[str, object]:
    """The choice, the rule behind it and all numbers, for selection.json; see `choose`."""
    record, options = setting.record, setting.options
    stage = "fine_tuning" if record["hits"]["fine_tuning"] else "probe"
    hits = {name: unpack_hits(text) for name, text in record["hits"][stage].items()}
    costs = {name: get_cost(record["candidates"][name]["cost"], options.cheaper_by) for name in hits}
    images = len(next(iter(hits.values())))
    where = "validation images, after fine-tuning" if stage == "fine_tuning" else "training images, each held out once"
    rule = (
        f"The most accurate on {images:,} {where}, wins, unless others cannot be told from it on these images "
        f"(McNemar's exact test, p of {SIGNIFICANCE} or more) and are at most {100 * options.tolerance:g} points "
        f"behind: of them all, the cheapest wins, by {COSTS[options.cheaper_by]}."
    )
    subset = take_subset(setting, setting.train, record["plans"]["probe"]["images"])
    return {
        **choose(hits, costs, options.tolerance),
        "stage": stage,
        "rule": rule,
        "seconds": setting.spent,
        "options": asdict(options),
        **{key: record[key] for key in ("candidates", "left_out", "notes", "plans")},
        "train_sha256": hash_indices(read_column(subset, "index")),
        "validation_sha256": hash_indices(read_column(setting.validation, "index")),
    }
