"""Owns the first steps of a selection: each candidate is loaded and timed, then probed, within the budget."""

import time

import datasets

from ..data.store import read_column
from ..errors import UserError
from ..training.frozen import get_features
from .finalists import fine_tune_finalists
from .probe import probe_features, time_probe
from .selection import MARGIN, plan
from .speed import measure_cost
from .trial import CANDIDATE_ERRORS, Setting, load_candidate, pack_hits, take_subset

LOADING_SHARE, PROBE_SHARE = 0.25, 0.5  # of the budget, and of what loading leaves of it


def try_candidates(setting: Setting) -> dict:
    """All steps; what the record already has is not done again.

    Returns:
        The record.

    Raises:
        UserError: No candidate can be used.
    """
    if "probe" not in setting.record["plans"]:
        setting.record["left_out"] = {}  # what could not be loaded before may be there now
        measure_candidates(setting)
    probe_candidates(setting)
    if setting.options.finalists:
        fine_tune_finalists(setting)
    return setting.record


def measure_candidates(setting: Setting) -> None:
    """Load each candidate once and measure what it costs."""
    known, budget = setting.record["candidates"], 60 * setting.options.budget_minutes
    for name in setting.options.candidates:
        if name in known:
            continue
        if known and setting.spent > LOADING_SHARE * budget:
            setting.leave_out(name, f"not loaded, as a quarter of the budget was spent after {setting.spent:.0f} s")
            continue
        started = time.monotonic()
        try:
            model, preprocessing, base_model = load_candidate(setting, name)
            seconds = time.monotonic() - started
            place = (setting.device, setting.precision)
            limit = min(10.0, budget / 40)
            cost = measure_cost(model, preprocessing.image_size, *place, setting.options.batch_size, limit)
        except CANDIDATE_ERRORS as error:
            setting.leave_out(name, str(error))
            continue
        cost["load_seconds"] = seconds
        known[name] = {"base_model": base_model, "image_size": preprocessing.image_size, "cost": cost}
        setting.save()
    if not known:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in setting.record["left_out"].items())
        raise UserError(f"none of the candidates can be used ({reasons}); give others")


def probe_candidates(setting: Setting) -> None:
    """Cross-validate a linear classifier on each candidate's features, the fastest candidates first."""
    known, plans = setting.record["candidates"], setting.record["plans"]
    wanted = min(setting.options.subset, len(setting.train))
    probing = time_probe(wanted, len(setting.class_names)) / wanted
    per_image = {name: 1 / each["cost"]["images_per_second"] + probing for name, each in known.items()}
    fixed = {name: each["cost"]["load_seconds"] for name, each in known.items()}
    if "probe" not in plans:
        order = sorted(known, key=per_image.get)
        share = PROBE_SHARE if setting.options.finalists else 1
        names, images = plan(order, per_image, fixed, wanted, setting.least, share * setting.left)
        if not names:  # there is to be a result, whatever the budget
            names, images = order[:1], min(setting.least, wanted)
        if images < wanted:
            setting.note(f"the budget allows features of {images:,} images, not of {wanted:,}")
        plans["probe"] = {"names": names, "images": images}
    names, images = plans["probe"]["names"], plans["probe"]["images"]
    table = take_subset(setting, setting.train, images)
    for name in known:
        if name not in names:
            setting.leave_out(name, f"its features of {images:,} images do not fit in the budget")
    for name in names:
        needed = MARGIN * (per_image[name] * len(table) + fixed[name])
        if name in setting.record["hits"]["probe"]:
            continue
        if setting.record["hits"]["probe"] and needed > setting.left:
            setting.leave_out(name, f"its probe would take {needed:.0f} s of the {setting.left:.0f} s left")
            continue
        try:
            probe_candidate(setting, name, table)
        except CANDIDATE_ERRORS as error:
            setting.leave_out(name, str(error))
    if not setting.record["hits"]["probe"]:
        raise UserError(
            f"no candidate could be probed ({next(iter(setting.record['left_out'].values()))}); give others"
        )


def probe_candidate(setting: Setting, name: str, table: datasets.Dataset) -> None:
    """Features, from the cache where it has them, and the probe on them."""
    model, preprocessing, _ = load_candidate(setting, name)
    started = time.monotonic()
    features = get_features(model, table, preprocessing, setting.cache_dir, setting.device, setting.precision)
    extracted = time.monotonic()
    probe = probe_features(features, read_column(table, "label"), setting.options.seed)
    each = setting.record["candidates"][name]
    each["probe"] = {
        "accuracy": probe.accuracy,
        "standard_error": probe.standard_error,
        "inverse_strength": probe.inverse_strength,
        "images": len(table),
        "features": features[0].numel(),
    }
    each["cost"] |= {"feature_seconds": extracted - started, "probe_seconds": time.monotonic() - extracted}
    setting.record["hits"]["probe"][name] = pack_hits(probe.hits)
    setting.record["left_out"].pop(name, None)  # of a first try
    setting.save()
