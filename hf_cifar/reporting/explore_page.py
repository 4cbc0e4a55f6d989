"""Owns the page that shows a dataset: what was found in it, the figures, and a text that says what is seen."""

from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
from matplotlib.figure import Figure

from ..arguments import AugmentationArguments
from ..data.batches import ImageBatches
from ..data.duplicates import Pair
from ..data.reference import ReferenceData
from ..data.store import read_column
from ..data.table import ImageData
from ..data.transforms import ImageTransform, Preprocessing
from ..files import write_text, write_then_rename
from . import explore, explore_augmentation, explore_labels
from .figures import save_figure
from .formatting import escape, get_dataset_title
from .image_grids import MAX_CLASSES
from .report import TEMPLATES, render_html

EXPLORE_FILES = ("index.html", "figures", "README.md")  # the dataset card is the last
NEAR = 0.85  # similarity of near-duplicates: seen one by one, hardly a pair in CIFAR-10 above it is not the same photo
MIN_PAIRS, MAX_PAIRS = 8, 24  # to show


@dataclass
class Exploration:
    """What the page is about.

    Attributes:
        data: the dataset.
        tables: "train", "validation" (None for none) and "test".
        pairs: the nearest image of `data.train` for each of `data.test`, as `find_near_duplicates` returns them.
        exact_duplicates: how many of `data.test` are in `data.train` byte for byte.
        reference: what is known about the test images; CIFAR-10 only.
        backbone: whose features are mapped.
        features: float (N, D); None for no map.
        feature_labels: integers (N,).
        intensities: by split, int64 (3, 256): how often each value occurs in each channel.
    """

    data: ImageData
    tables: dict[str, datasets.Dataset | None]
    pairs: list[Pair]
    exact_duplicates: int
    reference: ReferenceData = field(default_factory=ReferenceData)
    backbone: str = ""
    features: np.ndarray | None = None
    feature_labels: np.ndarray | None = None
    intensities: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = {split: table for split, table in self.tables.items() if table is not None}
        self.intensities = {split: explore.count_intensities(table) for split, table in self.tables.items()}


def draw_figures(
    exploration: Exploration, preprocessing: Preprocessing, augmentation: AugmentationArguments, seed: int = 0
) -> dict[str, Figure]:
    """Every figure of the page by name.

    Args:
        exploration: what is known about the data.
        preprocessing: of a network from scratch, at the stored size.
        augmentation: the user's own.
        seed: of the augmentation.
    """
    data, train, reference = exploration.data, exploration.tables["train"], exploration.reference
    shown = min(max(MIN_PAIRS, sum(pair.similarity >= NEAR for pair in exploration.pairs)), MAX_PAIRS)
    batches = ImageBatches(train, ImageTransform(preprocessing, seed=seed))
    drawings = {
        "classes": explore.draw_classes(train),
        "class_balance": explore.draw_balance(explore.count_classes(exploration.tables), data.class_names),
        "intensities": explore.draw_intensities(exploration.intensities),
        "mean_images": explore.draw_mean_images(train),
        "each_augmentation": explore_augmentation.draw_each_augmentation(batches),
        "presets": explore_augmentation.draw_presets(batches),
        "augmentations": explore_augmentation.draw_augmentations(batches, augmentation),
        "duplicates": explore_labels.draw_duplicates(data.test, data.train, exploration.pairs[:shown]),
    }
    if exploration.features is not None:
        drawings["feature_map"] = explore.draw_feature_map(
            exploration.features, exploration.feature_labels, data.class_names, exploration.backbone
        )
    if reference.human_labels is not None:
        drawings["disagreement"] = explore_labels.draw_disagreement(data.test, reference.human_labels)
    if reference.disputes is not None:
        drawings["disputes"] = explore_labels.draw_disputes(data.test, reference.disputes)
    return {name: figure for name, figure in drawings.items() if figure is not None}


def write_explore_page(
    folder: Path, exploration: Exploration, figures: dict[str, Figure], augmentation: AugmentationArguments
) -> Path:
    """Write `index.html` (self-contained) and `figures/`.

    Args:
        folder: replaced as a whole when everything is written; see `check_output_folder` and `EXPLORE_FILES`.
        exploration: what the text says.
        figures: by name, see `draw_figures`; the text says only what they show.
        augmentation: the user's own, named in the text.

    Returns:
        The path of `index.html`.
    """
    text = TEMPLATES.get_template("explore.md.j2").render(
        **describe_data(exploration),
        **describe_findings(exploration),
        figures=set(figures),
        options=describe_options(augmentation),
        max_classes=MAX_CLASSES,
        near=NEAR,
    )
    with write_then_rename(folder, replace_folder=True) as temporary:
        for name, figure in figures.items():
            save_figure(figure, temporary / "figures" / f"{name}.png")
        write_text(temporary / "index.html", render_html(text, temporary))
    return folder / "index.html"


def describe_data(exploration: Exploration) -> dict:
    """The facts about the dataset that the template names."""
    data, names = exploration.data, [escape(name) for name in exploration.data.class_names]
    splits = []
    for split, counts in explore.count_classes(exploration.tables).items():
        mean, std = explore.measure_intensities(exploration.intensities[split])
        splits.append(
            {
                "name": split,
                "images": sum(counts),
                "smallest": (names[int(np.argmin(counts))], min(counts)),
                "largest": (names[int(np.argmax(counts))], max(counts)),
                "mean": mean,
                "std": std,
            }
        )
    return {
        "title": escape(get_dataset_title(data.name)),
        "source": escape(data.source),
        "is_sample": data.is_sample,
        "hashes": data.hashes,
        "image_size": data.image_size,
        "class_names": names,
        "splits": splits,
    }


def describe_findings(exploration: Exploration) -> dict:
    """The facts about duplicates and labels that the template names."""
    data, reference = exploration.data, exploration.reference
    near = [pair for pair in exploration.pairs if pair.similarity >= NEAR]
    test_labels, train_labels = (read_column(table, "label") for table in (data.test, data.train))
    indices = read_column(data.test, "index")
    facts = {
        "near_duplicates": len(near),
        "mirrored": sum(pair.is_mirrored for pair in near),
        "contradicting": sum(test_labels[pair.query] != train_labels[pair.reference] for pair in near),
        "exact_duplicates": exploration.exact_duplicates,
        "num_test": len(data.test),
        "num_train": len(data.train),
        "listed": None,
        "mapped": 0 if exploration.features is None else len(exploration.features),
        "backbone": escape(exploration.backbone),
    }
    if reference.duplicates is not None:
        known = set(read_column(data.train, "index").tolist())
        listed = {test for test, train in reference.duplicates if train in known} & set(indices.tolist())
        facts["listed"] = len(listed)
        facts["listed_found"] = sum(indices[pair.query] in listed for pair in near)
    if reference.human_labels is not None:
        own = reference.human_labels[indices]
        facts["outvoted"] = int(explore_labels.find_outvoted(own, test_labels).sum())
        facts["unanimous"] = int((own.max(1) == 1).sum())
    if reference.disputes is not None:
        found = [dispute for _, dispute in explore_labels.find_disputes(data.test, reference.disputes)]
        facts["disputes"] = len(found)
        facts["overruled"] = sum(dispute.votes["guessed"] > dispute.votes["given"] for dispute in found)
    return facts


def describe_options(augmentation: AugmentationArguments) -> str:
    """The augmentation that is on, as in "flip: random, translate: 4"."""
    names = [name for name in AugmentationArguments.__dataclass_fields__ if name != "augmentation"]
    off = AugmentationArguments()
    return ", ".join(
        f"{each}: {getattr(augmentation, each)}" for each in names if getattr(augmentation, each) != getattr(off, each)
    )
