"""Owns what models trade against each other: a winner or a tie on each axis, fronts of cost, and the discussion."""

from .data_efficiency import find_lead

MARGIN = 0.1  # costs that differ by less, relative to the larger, are a tie
KINDS = {"cnn": "the CNN from scratch", "transfer": "transfer learning"}
NEEDS = {
    "accuracy": "accuracy",
    "data_needed": "few labels",
    "training_cost": "training time",
    "latency": "speed in use",
    "size": "size",
    "robustness": "corrupted images",
    "calibration": "trustworthy confidences",
}
FRONTS = (
    ("train_seconds", "training time", "s"),
    ("latency_ms", "latency of one image", "ms"),
    ("flops_per_image", "FLOPs per image", ""),
    ("parameters", "parameters", ""),
)


def get_cost(model: dict, key: str) -> float | None:
    """A cost of a model by its key; training includes the features of a frozen backbone."""
    if key == "train_seconds":
        return model["cost"]["train_seconds"] + model["cost"]["feature_seconds"]
    for section in ("inference", "cost", "model"):
        if (value := (model[section] or {}).get(key)) is not None:
            return value
    return None


def share_hardware(models: list[dict]) -> bool:
    """Whether all were trained on hardware of one description."""
    return len({model["cost"]["hardware"] for model in models}) == 1


def find_fronts(models: list[dict]) -> list[dict]:
    """By cost that all models have, those that no other beats in both cost and accuracy (intervals aside)."""
    fronts = []
    for key, label, unit in FRONTS:
        costs = [get_cost(model, key) for model in models]
        if None in costs or key == "train_seconds" and not share_hardware(models):
            continue
        pairs = [(cost, -model["accuracy"]["value"]) for cost, model in zip(costs, models, strict=True)]
        front = [
            model["name"]
            for pair, model in zip(pairs, models, strict=True)
            if not any(other[0] <= pair[0] and other[1] <= pair[1] and other != pair for other in pairs)
        ]
        fronts.append({"cost": key, "label": label, "unit": unit, "front": front})
    return fronts


def describe_tradeoffs(models: list[dict], pairs: list[dict], curve: dict | None) -> list[dict]:
    """`tradeoffs` of comparison.json: each axis with values, a winner ("tie", or None where it is not decided)."""
    names = [model["name"] for model in models]
    axes = [judge_accuracy(models, pairs), judge_data(curve)]
    hardware = None if share_hardware(models) else "the models were trained on different hardware"
    axes.append(
        judge_cost(
            "training_cost", "Training cost", "s", {m["name"]: get_cost(m, "train_seconds") for m in models}, hardware
        )
    )
    latencies = {model["name"]: get_cost(model, "latency_ms") for model in models}
    axes.append(judge_cost("latency", "Latency", "ms", latencies, None))
    axes.append(judge_cost("size", "Size", "parameters", {m["name"]: m["model"]["parameters"] for m in models}, None))
    levels = {
        (m["robustness"]["level"], m["robustness"]["num_images"], *m["robustness"]["left_out"])
        for m in models
        if m["robustness"]
    }
    reason = "the models were corrupted in different ways" if len(levels) > 1 else None
    robust = {m["name"]: m["robustness"] and m["robustness"]["mean_accuracy"] for m in models}
    axes.append(judge_intervals("robustness", "Robustness", "higher", robust, reason))
    scaled = all(m["scores"]["calibration_error_scaled"] for m in models)
    key = "calibration_error_scaled" if scaled else "calibration_error"
    label = "Calibration error" + (" after scaling" if scaled else "")
    axes.append(
        judge_intervals(
            "calibration",
            label,
            "lower",
            {name: m["scores"][key] for name, m in zip(names, models, strict=True)},
            None,
        )
    )
    return axes


def make_axis(axis: str, label: str, unit: str, better: str, values: dict, leaders: list[str], sentence: str) -> dict:
    """One entry of `tradeoffs`; values that were not measured are left out.

    `leaders` are the best and those that tie with it; the winner is a single one, else "tie", or None without any.
    """
    kept = {name: value for name, value in values.items() if value is not None}
    winner = None if not leaders else leaders[0] if len(leaders) == 1 else "tie"
    return {
        "axis": axis, "label": label, "unit": unit, "better": better, "values": kept, "winner": winner,
        "leaders": leaders, "sentence": sentence,
    }  # fmt: skip


def judge(fields: tuple, texts: dict[str, str], leaders: list[str], why: str, reason: str | None, ratio: str) -> dict:
    """An axis whose models are ranked, and the sentence that says who leads, ties and follows.

    Args:
        fields: the first of `make_axis`, with values by name.
        texts: values as people read them, the best model first.
        leaders: the best and those that tie with it.
        why: what makes a tie.
        reason: why the axis is not decided, if so.
        ratio: said of the one that follows a single leader.
    """
    missing = [name for name, value in fields[-1].items() if value is None]
    if reason is None and missing:
        reason = f"it was not measured for {join(missing)}"
    if reason is not None:
        return make_axis(*fields, [], f"Not decided, since {reason}.")
    said = {name: f"{name} ({text})" for name, text in texts.items()}
    rest = [name for name in texts if name not in leaders]
    if len(texts) == 1:
        return make_axis(*fields, [], f"{join(list(said.values()))}; there is nothing to compare it with.")
    if not rest:
        return make_axis(*fields, leaders, f"A tie ({why}): {join([said[name] for name in leaders])}.")
    if len(leaders) > 1:
        follow = "follows" if len(rest) == 1 else "follow"
        sentence = f"{join([said[name] for name in leaders])} tie at the top ({why}); {join(rest)} {follow}."
        return make_axis(*fields, leaders, sentence)
    return make_axis(*fields, leaders, f"{leaders[0]} leads with {texts[leaders[0]]}; {said[rest[0]]} follows{ratio}.")


def judge_accuracy(models: list[dict], pairs: list[dict]) -> dict:
    """The winner is better than each other model, by the verdicts on pairs."""
    values = {model["name"]: model["accuracy"] for model in models}
    ranked = sorted(values, key=lambda name: -values[name]["value"])
    leaders = ranked[:1]
    for pair in pairs:
        if ranked[0] in (pair["first"], pair["second"]) and pair["verdict"] in ("tie", "identical"):
            leaders.append(pair["second"] if pair["first"] == ranked[0] else pair["first"])
    texts = {name: f"{100 * values[name]['value']:.2f} %" for name in ranked}
    fields = ("accuracy", "Accuracy", "%", "higher", values)
    return judge(fields, texts, leaders, "no difference is found", None, "")


def judge_data(curve: dict | None) -> dict:
    """The winner is better than each other recipe at the fewest labels that all were trained with and one is ahead."""
    fields = ("data_needed", "Data needed", "labels", "lower", {})
    if curve is None or len(curve["groups"]) < 2:
        return make_axis(*fields, [], "Not measured: it takes runs at several numbers of labels (--curve).")
    budgets = [{p["images"] for p in curve["points"] if p["group"] == name} for name in curve["groups"]]
    sentence, shared = curve["sentences"][0], set.intersection(*budgets)
    if not shared:
        return make_axis(*fields, [], sentence)
    leads = (find_lead(curve["comparisons"], curve["groups"], images) for images in sorted(shared))
    lead = next(filter(None, leads), None)
    return make_axis(*fields, [lead] if lead else curve["groups"], sentence)


def judge_cost(axis: str, label: str, unit: str, values: dict[str, float | None], reason: str | None) -> dict:
    """The winner costs less than each other model by more than `MARGIN`."""
    known = {name: value for name, value in values.items() if value is not None}
    ranked = sorted(known, key=known.get)
    leaders = [name for name in ranked if known[name] - known[ranked[0]] <= MARGIN * known[name]]
    same = len({known[name] for name in leaders}) == 1
    behind = ranked[len(leaders)] if len(leaders) < len(ranked) else None
    ratio = f", {known[behind] / known[ranked[0]]:.1f} times as much" if behind and known[ranked[0]] > 0 else ""
    texts = {name: show(known[name], unit) for name in ranked}
    why = "the same" if same else f"within {100 * MARGIN:.0f} %"
    return judge((axis, label, unit, "lower", values), texts, leaders, why, reason, ratio)


def judge_intervals(axis: str, label: str, better: str, values: dict[str, dict | None], reason: str | None) -> dict:
    """The winner's interval lies clear of all others': stricter than a paired test, which these scores do not have."""
    sign, near, far = (1, "low", "high") if better == "higher" else (-1, "high", "low")
    known = {name: value for name, value in values.items() if value is not None}
    ranked = sorted(known, key=lambda name: -sign * known[name]["value"])
    leaders = [name for name in ranked if sign * known[name][far] >= sign * known[ranked[0]][near]]
    texts = {name: f"{100 * known[name]['value']:.1f} %" for name in ranked}
    return judge((axis, label, "%", better, values), texts, leaders, "the intervals overlap", reason, "")


def discuss(models: list[dict], axes: list[dict]) -> list[str]:
    """Paragraphs on advantages and trade-offs, from the verdicts alone."""
    if len(models) == 1:
        return [f"There is one model, so nothing is compared. {axes[0]['sentence']}"]
    kinds = {model["name"]: model["kind"] for model in models}
    paragraphs = []
    for title, names in (
        ("Accuracy", ("accuracy",)),
        ("Cost", ("training_cost", "latency", "size")),
        ("Beyond accuracy", ("robustness", "calibration")),
        ("Data", ("data_needed",)),
    ):
        chosen = [axis for axis in axes if axis["axis"] in names]
        parts = [f"{axis['label']}: {word_winner(axis, kinds)}{axis['sentence']}" for axis in chosen]
        paragraphs.append(parts[0] if len(parts) == 1 else f"{title}. {' '.join(parts)}")
    return [*paragraphs, advise(axes, kinds)]


def word_winner(axis: dict, kinds: dict[str, str]) -> str:
    """Which kind wins an axis, where there are both kinds; the sentence after it says who does."""
    if set(kinds.values()) != {"cnn", "transfer"} or not axis["leaders"] or not set(axis["leaders"]) <= set(kinds):
        return ""
    leading = {kinds[name] for name in axis["leaders"]}
    return f"{KINDS[leading.pop()]} wins. " if len(leading) == 1 else "a tie. "


def advise(axes: list[dict], kinds: dict[str, str]) -> str:
    """What to take for which need; nothing where all models tie on each axis."""
    needs: dict[str, list[str]] = {}
    for axis in axes:
        if axis["leaders"] and set(axis["leaders"]) < set(kinds):
            needs.setdefault(join(axis["leaders"], "or"), []).append(NEEDS[axis["axis"]])
    if not needs:
        return "No axis has a clear winner: take whichever is the simplest to keep."
    parts = [
        f"{name} where {join(reasons)} count{'s' if len(reasons) == 1 else ''}" for name, reasons in needs.items()
    ]
    return f"What to take: {'; '.join(parts)}."


def join(names: list[str], word: str = "and") -> str:
    """As in "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def show(value: float, unit: str) -> str:
    """A cost with its unit."""
    if unit == "s":
        return f"{value:.0f} s" if value < 90 else f"{value / 60:.1f} min"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
