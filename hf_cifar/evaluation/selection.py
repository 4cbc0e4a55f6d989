"""Owns the rules by which a backbone is chosen: who is tried on how much within a budget, and who wins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.stats import binomtest

from ..errors import UserError

SIGNIFICANCE = 0.05
MARGIN = 1.15  # estimates are taken so much higher than they are
DEFAULT_CANDIDATES = (
    "offline:efficientnet-lite0",
    "offline:resnet50",
    "facebook/convnextv2-atto-1k-224",
    "facebook/deit-tiny-patch16-224",
    "facebook/dinov2-small",
    "timm/resnet18.a1_in1k",
)
# What "cheaper" may mean: the cost that is compared, and how it is called.
COSTS = {"time": "seconds per image", "flops": "FLOPs per image", "parameters": "parameters"}


@dataclass
class SelectionArguments:
    """Which backbones are tried, how, and for how long."""

    candidates: list[str] = field(
        default_factory=lambda: list(DEFAULT_CANDIDATES),
        metadata={"help": "Hub ids, folders and offline: names; one that cannot be loaded is left out and said so."},
    )
    budget_minutes: float = field(
        default=20.0, metadata={"help": "Time for all of it; steps that do not fit are shortened or left out."}
    )
    image_size: int | None = field(
        default=None, metadata={"help": "Input size of all candidates in pixels; default: each one's own."}
    )
    subset: int = field(default=5000, metadata={"help": "Training images, at most; each class has its share."})
    finalists: int = field(
        default=2, metadata={"help": "How many of the best by linear probe are fine-tuned; 0: the probe decides."}
    )
    epochs: float = field(default=3.0, metadata={"help": "Of each finalist's fine-tuning on the subset."})
    learning_rate: float = field(default=1e-4, metadata={"help": "Of the finalists' AdamW, once the head is trained."})
    batch_size: int = field(default=50, metadata={"help": "Of the finalists' fine-tuning."})
    cheaper_by: Literal["time", "flops", "parameters"] = field(
        default="time", metadata={"help": "What is cheap, where accuracies are within noise; time is measured here."}
    )
    tolerance: float = field(
        default=0.02, metadata={"help": "A cheaper one may score at most so much less, even where noise excuses more."}
    )
    seed: int = field(default=0, metadata={"help": "Of folds, new heads and fine-tuning."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run Python files that come with a model."})
    output_dir: str = field(default="runs/choice", metadata={"help": "Where the selection goes."})
    overwrite: bool = field(default=False, metadata={"help": "Replace the selection that output_dir holds."})

    def __post_init__(self) -> None:
        if not self.candidates or len(set(self.candidates)) < len(self.candidates):
            raise UserError(f"candidates={' '.join(self.candidates)!r}: give one or more, each of them once")
        limits = {
            "budget_minutes": (0.01, 100_000), "image_size": (8, 1024), "subset": (10, 10_000_000),
            "finalists": (0, 100), "epochs": (0.01, 1000), "learning_rate": (0, 10), "batch_size": (2, 100_000),
            "tolerance": (0, 1), "seed": (0, 2**32 - 1),
        }  # fmt: skip
        for name, (lowest, highest) in limits.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:  # NaN too
                raise UserError(f"{name}={value} is out of range; allowed: {lowest} to {highest}")


def compare_hits(hits: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Two models on the same images, by McNemar's exact test (Dietterich 1998).

    Args:
        hits, other: whether each image was classified rightly, bool (N,).

    Returns:
        `difference` of the accuracies, its paired `standard_error`, and the two-sided `p_value`.
    """
    gaps = hits.astype(float) - other.astype(float)
    only, only_other = int((gaps > 0).sum()), int((gaps < 0).sum())
    p_value = binomtest(only, only + only_other).pvalue if only + only_other else 1.0
    return {
        "difference": float(gaps.mean()),
        "standard_error": float(gaps.std() / len(gaps) ** 0.5),
        "p_value": float(p_value),
    }


def choose(hits: dict[str, np.ndarray], costs: dict[str, float], tolerance: float = 0.02) -> dict[str, object]:
    """The cheapest of those whose accuracy cannot be told from the best one's, and is close to it.

    On few images a test finds hardly any difference, which does not mean that there is none.

    Args:
        hits: by candidate, whether each image was classified rightly; bool (N,), the same images for all.
        costs: of each, in any unit.
        tolerance: how much less accurate than the best one the choice may be, as a share of the images.

    Returns:
        `choice`; `best`, the most accurate; `tied`, all that are so close to it, itself included, cheapest
        first; `comparisons` of the best with each other one, see `compare_hits`.
    """
    best = min(hits, key=lambda name: (-hits[name].mean(), costs[name]))
    comparisons = {name: compare_hits(hits[best], hits[name]) for name in hits if name != best}
    tied = [
        name
        for name, each in comparisons.items()
        if each["p_value"] >= SIGNIFICANCE and each["difference"] <= tolerance
    ]
    tied = sorted([best, *tied], key=lambda name: (costs[name], -hits[name].mean()))
    return {"choice": tied[0], "best": best, "tied": tied, "comparisons": comparisons}


def get_cost(cost: dict[str, float], cheaper_by: str) -> float:
    """The number that says who is cheaper; `cost` is `measure_cost`'s."""
    values = {"time": 1 / cost["images_per_second"], "flops": cost["flops_per_image"]}
    return values.get(cheaper_by, cost["parameters"])


def plan(
    names: Sequence[str],
    per_image: dict[str, float],
    fixed: dict[str, float],
    images: int,
    least: int,
    budget: float,
) -> tuple[list[str], int]:
    """Who is tried, and on how many images, so that a step ends within its budget; all on the same images.

    First there are fewer images; where even `least` are too many, the last candidate is left out.

    Args:
        names: the last is left out first.
        per_image, fixed: estimated seconds of each candidate; both are taken `MARGIN` times as high.
        images: wanted.
        least: below which a result says too little.
        budget: seconds.

    Returns:
        Who is left, and the number of images; none and 0 if not even the first one fits.
    """
    for count in range(len(names), 0, -1):
        chosen = list(names[:count])
        left = budget / MARGIN - sum(fixed[name] for name in chosen)
        possible = int(min(left / sum(per_image[name] for name in chosen), images))
        if possible >= min(least, images):
            return chosen, possible
    return [], 0
