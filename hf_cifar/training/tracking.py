"""Owns experiment tracking by `report_to`: what else than the Trainer's own arguments a tracker is told of a run."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from ..errors import UserError

# Of the trackers whose package is called otherwise.
PACKAGES = {"azure_ml": "azureml", "flyte": "flytekit", "kubeflow": "transformers"}


class TrackedArguments(TrainingArguments):
    """`TrainingArguments` whose dictionary has also what else describes a run, once `facts` are set.

    The Trainer's callback for each tracker records that dictionary when training begins, on the main process alone.
    """

    facts = {}  # without a type, lest it be a field, of which HfArgumentParser makes an option

    def __post_init__(self) -> None:
        """Take several trackers too, as in trackio,tensorboard: HfArgumentParser reads one text."""
        if isinstance(self.report_to, str) and "," in self.report_to:
            self.report_to = self.report_to.split(",")
        super().__post_init__()

    def to_dict(self) -> dict[str, Any]:
        """All arguments by name, then the facts, as "data/hashes/train/images"."""
        return super().to_dict() | self.facts


def flatten(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, whose keys are paths: trackers have columns, and MLflow drops long values."""
    flat = {}
    for key, value in mapping.items():
        path = f"{prefix}{key}"
        flat |= flatten(value, f"{path}/") if isinstance(value, dict) and value else {path: value}
    return flat


def check_trackers(names: Iterable[str]) -> None:
    """Refuse trackers that the Trainer does not know or whose package is missing, before a run begins.

    Raises:
        UserError: Names the tracker, and what to install.
    """
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            allowed = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise UserError(f"report_to={name!r}; allowed: none, all, or some of {allowed}")
        package = PACKAGES.get(name, name)
        found = find_spec(package) or name == "tensorboard" and find_spec("tensorboardX")
        if not found:
            raise UserError(
                f"report_to={name!r}: the package {package} is not installed; pip install {package}, or --report_to "
                "none"
            )
