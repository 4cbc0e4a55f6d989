"""Owns what a search leaves: study.json, figures, and a recipe with the best values."""

import shlex
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from ..data.split import prepare_tables
from ..files import write_json, write_text
from ..parser import find_given, find_reset, read_yaml
from ..reporting.figures import COLORS, make_panels, place_legend, save_figure
from ..reporting.formatting import format_seconds, get_dataset_title
from .space import merge_values
from .storage import REASON, REPLACES, WORKER, is_lost
from .trials import Search, show_value

RECIPE, STUDY, JOURNAL = "best.yaml", "study.json", "journal.log"
SEARCH_FILES = (RECIPE, STUDY, JOURNAL, "figures")
NOT_KEPT = {"output_dir", "cache_dir", "disable_tqdm"}  # of the command line: they say how it was run
STATES = {"complete": ("o", "trained to the end"), "pruned": ("v", "pruned: the best until then")}


def write_result(folder: Path, search: Search, study: optuna.Study, command: str, environment: dict) -> dict:
    """Write all of `SEARCH_FILES` but the journal; study.json as the last.

    Args:
        folder: see `check_output_folder`.
        search, study: when all trials are done.
        command: that made it.
        environment: see `describe_environment`.

    Returns:
        What study.json holds.
    """
    result = describe_study(search, study, command, environment)
    save_figure(draw_history(result), folder / "figures/history.png")
    if result["importances"]:
        save_figure(draw_importances(result), folder / "figures/importances.png")
    save_figure(draw_values(result), folder / "figures/values.png")
    write_text(folder / RECIPE, render_recipe(search, result, folder))
    write_json(folder / STUDY, result)
    return result


def describe_study(search: Search, study: optuna.Study, command: str, environment: dict) -> dict:
    """What study.json holds: all trials, which of them count, the best, and where it was measured."""
    trials = sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number)
    counted = [trial for trial in trials if not is_lost(trial)][: search.options.n_trials]
    described = [describe_trial(trial, search, trial in counted) for trial in trials if trial.state.is_finished()]
    states = [trial["state"] for trial in described if trial["counts"]]
    sign = 1 if search.direction == "maximize" else -1
    complete = [trial for trial in described if trial["counts"] and trial["state"] == "complete"]
    best = max(complete, key=lambda trial: (sign * trial["value"], -trial["number"]))
    train, validation = prepare_tables(search.data.train, search.base.data)
    return {
        "study": study.study_name,
        "command": command,
        "metric": f"validation {search.metric}",
        "direction": search.direction,
        "n_trials": len(counted),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "best": best,
        "importances": measure_importances(study, counted),
        "space": {each.key: each.describe() for each in search.dimensions},
        "seconds": sum(trial["seconds"] for trial in described),
        "data": {
            "name": search.data.name,
            "source": search.data.source,
            "hashes": {"train": search.data.hashes["train"]},
            "sizes": {"train": len(train), "validation": len(validation)},
            **{key: value for key, value in search.identify()["data"].items() if key == "validation_sha256"},
        },
        "environment": environment,
        "trials": described,
    }


def describe_trial(trial: FrozenTrial, search: Search, counts: bool) -> dict[str, Any]:
    """One trial of study.json; a pruned one's value is the best until it was pruned."""
    pick = max if search.direction == "maximize" else min
    reported = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    decode = {each.key: each.decode for each in search.dimensions}
    value = pick(reported) if trial.state == TrialState.PRUNED and reported else trial.value
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "counts": counts,
        "value": value,
        "values": {key: decode[key](stored) for key, stored in trial.params.items() if key in decode},
        "reported": reported,
        "epochs": trial.user_attrs.get("epochs"),
        "seconds": trial.duration.total_seconds() if trial.duration else 0.0,
        "started": trial.datetime_start and trial.datetime_start.isoformat(timespec="seconds"),
        "worker": {key: each for key, each in trial.user_attrs.get(WORKER, {}).items() if key in ("host", "pid")},
        "replaces": trial.user_attrs.get(REPLACES),
        "reason": trial.user_attrs.get(REASON),
    }


def measure_importances(study: optuna.Study, counted: list[FrozenTrial]) -> dict[str, float]:
    """The share of the score's variance that each option explains (fANOVA, Hutter 2014); empty for too few trials."""
    complete = [trial for trial in counted if trial.state == TrialState.COMPLETE]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError):  # all trials had the same values
        return {}


def draw_history(result: dict) -> Figure:
    """Score by trial, and the best so far."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes, scale, groups = figure.subplots(), get_scale(result), group_trials(result)
    for style, trials in groups:
        axes.plot([trial["number"] for trial in trials], [scale * trial["value"] for trial in trials], **style)
    complete = groups[0][1]
    pick = np.maximum if result["direction"] == "maximize" else np.minimum
    best = pick.accumulate([scale * trial["value"] for trial in complete])
    last = max(trial["number"] for _, trials in groups for trial in trials)
    numbers = [*(trial["number"] for trial in complete), last]
    axes.step(numbers, [*best, best[-1]], where="post", color="0.4", label="best so far")
    axes.set(xlabel="trial", ylabel=make_label(result), title=f"{result['n_trials']} trials")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    place_legend(figure)
    return figure


def draw_importances(result: dict) -> Figure:
    """The options by the share of the score's variance that they explain."""
    items = sorted(result["importances"].items(), key=lambda item: item[1])
    figure = Figure(figsize=(8, 1.4 + 0.36 * len(items)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([key for key, _ in items], [100 * share for _, share in items], color=COLORS[0])
    axes.bar_label(bars, fmt="{:.0f} %", padding=3, fontsize=9)
    complete = result["states"]["complete"]
    axes.set(
        xlabel="share of the score's variance (%)", xlim=(0, 112), title=f"Importance, from {complete} complete trials"
    )
    return figure


def draw_values(result: dict) -> Figure:
    """Score against each option, a panel each, from the lowest to the highest value of the space."""
    figure, panels = make_panels(len(result["space"]), 3.6, 3)
    for axes, (key, dimension) in zip(panels, result["space"].items(), strict=True):
        names = [show_value(choice) for choice in dimension.get("choices", ())]
        for style, trials in group_trials(result):
            values = [trial["values"].get(key) for trial in trials]
            places = [names.index(show_value(value)) for value in values] if names else values
            axes.plot(places, [get_scale(result) * trial["value"] for trial in trials], **style)
        if names:
            axes.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names)) < 10 else 20)
            axes.set_xlim(-0.4, len(names) - 0.6)
        elif dimension["log"]:
            axes.set_xscale("log")
            axes.set_xlim(dimension["low"] / 1.15, dimension["high"] * 1.15)
        else:
            margin = 0.04 * (dimension["high"] - dimension["low"])
            axes.set_xlim(dimension["low"] - margin, dimension["high"] + margin)
            if dimension["integer"] or dimension["step"]:
                axes.xaxis.set_major_locator(MaxNLocator(integer=dimension["integer"] or dimension["step"] % 1 == 0))
        axes.set_xlabel(key)
        axes.grid(alpha=0.3)
    for axes in panels[::3]:
        axes.set_ylabel(make_label(result))
    place_legend(figure)
    return figure


def group_trials(result: dict) -> list[tuple[dict, list[dict]]]:
    """The trials with a score by how they ended, each with its style: pruned ones are hollow."""
    groups = []
    for position, (state, (marker, label)) in enumerate(STATES.items()):
        face = "none" if position else COLORS[position]
        style = {"linestyle": "", "marker": marker, "color": COLORS[position], "markerfacecolor": face, "label": label}
        shown = [trial for trial in result["trials"] if trial["counts"] and trial["value"] is not None]
        groups.append((style, [trial for trial in shown if trial["state"] == state]))
    return [group for group in groups if group[1]]


def get_scale(result: dict) -> int:
    """By what a score is multiplied in figures: shares are shown in percent."""
    return 1 if result["metric"].endswith("loss") else 100


def make_label(result: dict) -> str:
    """What is measured, with its unit."""
    return f"{result['metric'].replace('_', ' ')} ({'nats' if get_scale(result) == 1 else '%'})"


def merge_recipe(search: Search, values: dict[str, Any]) -> dict[str, Any]:
    """The base recipe with the command line's options and the values of a trial, as a recipe's YAML has them."""
    given = find_given(search.words)
    options = read_yaml(Path(search.config)) if search.config else {}
    names = {key.split(".")[0] for key, value in values.items() if value is not None}
    reset = {key for kind in search.parser.dataclass_types for key in find_reset(kind, given | names)}
    base = search.base.collect()
    kept = {key: value for key, value in options.items() if key not in reset | {"output_dir"}}
    own = {key: getattr(base[key], "value", base[key]) for key in base if key in given - NOT_KEPT}
    mappings = {name: base[name] for name in names if isinstance(base[name], dict) and base[name]}
    return merge_values(kept | own | mappings, values)


def render_recipe(search: Search, result: dict, folder: Path) -> str:
    """The YAML of a recipe with the best values, which opens with what is known of it."""
    best, environment, data = result["best"], result["environment"], result["data"]
    score = f"{100 * best['value']:.2f} %" if get_scale(result) == 100 else f"{best['value']:.4f}"
    states = ", ".join(f"{count} {state}" for state, count in result["states"].items())
    train = shlex.join(["python", "recipes/train.py", "--config", str(folder / RECIPE), "--output_dir", "runs/best"])
    lines = [
        f"Found by a search: {result['command']}",
        f"Command:  {train}",
        f"Measured: {result['metric'].replace('_', ' ')} {score}, the best epoch of trial {best['number']}, on "
        f"{data['sizes']['validation']:,} images of {get_dataset_title(data['name'])}. No test image was used. As the "
        f"best of {result['n_trials']} trials ({states}) it is an optimistic number.",
        f"Cost:     {format_seconds(best['seconds'])} for this trial, {format_seconds(result['seconds'])} for all, on "
        f"{environment['hardware']}, {environment['precision']}, {environment['date'][:10]}, commit "
        f"{environment['commit'] or 'unknown'}.",
        "Values:   " + ", ".join(f"{key} {show_value(value)}" for key, value in best["values"].items()),
    ]
    wrapped = [part for line in lines for part in textwrap.wrap(line, 116, subsequent_indent=" " * 10)]
    options = merge_recipe(search, best["values"])
    return "".join(f"# {line}\n" for line in wrapped) + yaml.safe_dump(
        options, sort_keys=False, allow_unicode=True, default_flow_style=None, width=116
    )
