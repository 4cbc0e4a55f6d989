"""Owns dataset cards: generated from the data and what was found in it."""

from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData

from ..arguments import DataArguments
from ..data.verdict import describe_content
from ..files import write_text
from ..reporting.explore_page import NEAR, Exploration, describe_data, describe_findings
from ..reporting.formatting import make_templates
from .card_metadata import find_hub_id

TEMPLATES = make_templates("hf_cifar.publishing")
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def render_dataset_card(exploration: Exploration, args: DataArguments) -> str:
    """A dataset card as Markdown with its metadata.

    Args:
        exploration: the data, and what was found in it.
        args: how it was split.
    """
    facts = describe_data(exploration) | describe_findings(exploration)
    total = len(exploration.data.train) + len(exploration.data.test)
    hub_id = find_hub_id(exploration.data.name)
    metadata = DatasetCardData(
        pretty_name=exploration.data.name if hub_id is None else facts["title"].replace("\\", ""),
        task_categories=["image-classification"],
        size_categories=next((text for limit, text in SIZES if total < limit), "n>1M"),
        source_datasets=[f"extended|{hub_id}"] if hub_id else ["original"],
    )
    body = TEMPLATES.get_template("dataset_card.md.j2").render(
        **facts,
        name=exploration.data.name,
        near=NEAR,
        split_seed=args.split_seed,
        verdict=describe_content(exploration.data, exploration.exact_duplicates),
    )
    return str(DatasetCard(f"---\n{metadata.to_yaml()}\n---\n\n{body}"))


def write_dataset_card(folder: Path, exploration: Exploration, args: DataArguments) -> Path:
    """Write `README.md` beside the page, as a dataset repository has it; returns its path."""
    write_text(folder / "README.md", render_dataset_card(exploration, args))
    return folder / "README.md"
