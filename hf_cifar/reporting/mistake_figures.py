"""Owns the facts and pictures of mistakes: confused classes, confident and shared mistakes, doubtful labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..data.reference import ReferenceData
from ..evaluation.comparison import Run
from ..evaluation.mistakes import (
    find_confident_mistakes,
    find_confused_pairs,
    find_label_suspects,
    find_shared_mistakes,
)
from .image_grids import draw_galleries, shorten

if TYPE_CHECKING:
    from .understanding import Subject, Understanding

PICTURES = 8  # in a row
PAIRS = 3  # of confused classes that are shown for each model
LISTED = 50  # suspects in the facts


def add_mistakes(result: "Understanding", subject: "Subject") -> None:
    """The most confused classes and the most confident mistakes of each run."""
    names, count = subject.data.class_names, len(subject.labels)
    confused, confident, galleries, rows = {}, {}, [], []
    for run in subject.runs:
        values = run.probabilities
        pairs = find_confused_pairs(values, subject.labels)
        mistakes = find_confident_mistakes(values, subject.labels)
        confused[run.name] = [
            {"true": names[each.true], "predicted": names[each.predicted], "images": len(each.rows)} for each in pairs
        ]
        confident[run.name] = [
            {
                "index": int(subject.indices[row]),
                "true": names[subject.labels[row]],
                "predicted": names[values[row].argmax()],
                "probability": float(values[row].max()),
            }
            for row in mistakes[:PICTURES]
        ]
        if run not in subject.shown:
            continue
        title = subject.titles[run.name]
        for place, pair in enumerate(pairs[:PAIRS]):
            chosen = pair.rows[:PICTURES]
            images = "1 image" if len(pair.rows) == 1 else f"{len(pair.rows):,} images"
            text = f"{subject.classes[pair.true]} taken for {subject.classes[pair.predicted]}: {images}"
            heading = f"{title} (of {count:,} test images): {text}" if place == 0 else text
            galleries.append((heading, subject.read(chosen), [f"{values[row].max():.0%}" for row in chosen]))
        chosen = mistakes[:PICTURES]
        rows.append(
            (f"{title}: {len(mistakes):,} mistakes", subject.read(chosen), caption_images(subject, chosen, [run]))
        )
    result.facts |= {"most_confused": confused, "confident_mistakes": confident}
    if galleries:
        result.add(
            "confident_mistakes",
            draw_galleries(rows, "Most confident mistakes: the label, and what was predicted"),
            f"Of each model, the test images that it is most sure of and wrong about.{subject.note}",
        )
        result.add(
            "confused_pairs",
            draw_galleries(galleries, "Most confused classes, with the probability of the wrong class"),
            f"Of each model, the pairs of classes that it confuses most often, and its most confident cases."
            f"{subject.note}",
        )


def caption_images(subject: "Subject", rows: np.ndarray, runs: Sequence[Run]) -> list[str]:
    """The label of each image, and what runs predict, with one run's probability."""
    lines = []
    for row in rows:
        predicted = dict.fromkeys(subject.classes[run.probabilities[row].argmax()] for run in runs)
        text = " / ".join(predicted) if len(predicted) < 3 else f"{len(predicted)} other classes"
        sure = f" {runs[0].probabilities[row].max():.0%}" if len(runs) == 1 else ""
        lines.append("\n".join([subject.classes[subject.labels[row]], f"→ {shorten(text, 24)}{sure}"]))
    return lines


def add_shared_mistakes(result: "Understanding", subject: "Subject") -> None:
    """Images that all runs miss, and those that only one does."""
    shared, only = find_shared_mistakes(subject.probabilities, subject.labels)
    everyone = "both" if len(subject.runs) == 2 else f"all {len(subject.runs)}"
    right = np.all([values.argmax(1) == subject.labels for values in subject.probabilities.values()], axis=0)
    result.facts["shared_mistakes"] = {
        "all_right": int(right.sum()),
        "all_miss": len(shared),
        "only": {name: len(rows) for name, rows in only.items()},
    }
    parts = [(f"Missed by {everyone}", shared, subject.runs)]
    parts += [(f"Missed only by {subject.titles[run.name]}", only[run.name], [run]) for run in subject.shown]
    galleries = [
        (f"{heading}: {len(rows):,}", subject.read(rows[:PICTURES]), caption_images(subject, rows[:PICTURES], runs))
        for heading, rows, runs in parts
    ]
    title = f"Which of {len(subject.labels):,} test images are missed: the label, and what was predicted"
    text = f"Test images that {everyone} models miss, and those that only one misses, the most confident first."
    result.add("shared_mistakes", draw_galleries(galleries, title), text + subject.note)


def add_suspects(result: "Understanding", subject: "Subject", reference: ReferenceData | None) -> None:
    """Suspected label errors, those first that most models doubt."""
    names, suspects = subject.data.class_names, find_label_suspects(subject.probabilities, subject.labels)
    agreed = [suspect for suspect in suspects if len(suspect.models) == len(subject.runs)]
    result.facts["label_suspects"] = facts = {
        "method": "confident learning (cleanlab) on test predictions; these are suspects, not errors",
        "images": {run.name: sum(run.name in suspect.models for suspect in suspects) for run in subject.runs},
        "doubted_by_any": len(suspects),
        "doubted_by_all": len(agreed),
        "first": [
            {
                "index": int(subject.indices[each.row]), "label": names[subject.labels[each.row]],
                "suggested": names[each.suggested], "models": list(each.models), "label_probability": each.quality,
            }
            for each in suspects[:LISTED]
        ],
    }  # fmt: skip
    people = ""
    rows = np.array([suspect.row for suspect in agreed], dtype=int)
    if reference and reference.human_labels is not None:
        shares = reference.human_labels[subject.indices]
        outvoted = shares.argmax(1) != subject.labels
        facts["people_choose_another_class"] = {"doubted_by_all": int(outvoted[rows].sum()), "of": len(rows)}
        people = f" Of the {len(rows):,} that every model doubts, most people, too, choose another class on "
        people += f"{outvoted[rows].sum():,} (CIFAR-10H)."
    if suspects:
        galleries = []
        for start in range(0, min(len(suspects), 3 * PICTURES), PICTURES):
            chosen = suspects[start : start + PICTURES]
            texts = [
                f"label: {subject.classes[subject.labels[each.row]]}\nmodels: {subject.classes[each.suggested]}\n"
                + (f"{len(each.models)} of {len(subject.runs)} doubt it" if len(subject.runs) > 1 else "")
                for each in chosen
            ]
            heading = f"Suspects {start + 1} to {start + len(chosen)} of {len(suspects):,}"
            galleries.append((heading, subject.read(np.array([each.row for each in chosen])), texts))
        result.add(
            "label_suspects",
            draw_galleries(galleries, "Labels that models doubt: suspects, not errors"),
            "Test images whose label confident learning (cleanlab) doubts, those first that most models doubt. They "
            f"are suspects: many are labelled rightly and only hard.{people}",
        )
