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
        if not all(costs) or key == "train_seconds" and not share_hardware(models):
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


def make_axis(axis: str, label: str, unit: str, better: str, values: dict, winner: str | None, sentence: str) -> dict:
    """One entry of `tradeoffs`; values that were not measured are left out."""
    kept = {name: value for name, value in values.items() if value is not None}
    return {
        "axis": axis, "label": label, "unit": unit, "better": better, "values": kept, "winner": winner,
        "sentence": sentence,
    }  # fmt: skip


def judge_accuracy(models: list[dict], pairs: list[dict]) -> dict:
    """The winner is better than each other model, by the verdicts on pairs."""
    values = {model["name"]: model["accuracy"] for model in models}
    best = max(models, key=lambda model: model["accuracy"]["value"])["name"]
    score = f"{100 * values[best]['value']:.2f} %"
    level = []
    for pair in pairs:
        if best in (pair["first"], pair["second"]) and pair["verdict"] in ("tie", "identical"):
            level.append(pair["second"] if pair["first"] == best else pair["first"])
    if len(models) == 1:
        winner, sentence = None, f"{best} reaches {score}; there is nothing to compare it with."
    elif level:
        winner, sentence = "tie", f"{best} has the highest accuracy, {score}, but is a tie with {join(level)}."
    else:
        winner, sentence = best, f"{best} wins with {score}."
    return make_axis("accuracy", "Accuracy", "%", "higher", values, winner, sentence)


def judge_data(curve: dict | None) -> dict:
    """The winner leads at the smallest number of labels that all recipes were trained with."""
    fields = ("data_needed", "Data needed", "labels", "lower", {})
    if curve is None or len(curve["groups"]) < 2:
        return make_axis(*fields, None, "Not measured: it takes runs at several numbers of labels (--curve).")
    budgets = [{p["images"] for p in curve["points"] if p["group"] == name} for name in curve["groups"]]
    shared = set.intersection(*budgets)
    if not shared:
        return make_axis(*fields, None, curve["sentences"][0])
    lead = find_lead([point for point in curve["points"] if point["images"] == min(shared)])
    return make_axis(*fields, lead["group"] if lead else "tie", curve["sentences"][0])


def judge_cost(axis: str, label: str, unit: str, values: dict[str, float | None], reason: str | None) -> dict:
    """The winner costs less than each other model by more than `MARGIN`."""
    fields = (axis, label, unit, "lower", values)
    known = {name: value for name, value in values.items() if value is not None}
    if reason or len(known) < len(values):
        reason = reason or f"it was not measured for {join([name for name in values if name not in known])}"
        return make_axis(*fields, None, f"Not decided, since {reason}.")
    ranked = sorted(known, key=known.get)
    best = ranked[0]
    if len(ranked) == 1:
        return make_axis(*fields, None, f"{best}: {show(known[best], unit)}; there is nothing to compare it with.")
    level = [name for name in ranked[1:] if known[name] - known[best] <= MARGIN * known[name]]
    if level:
        return make_axis(
            *fields, "tie", f"{best} and {join(level)} are within {MARGIN:.0%}: {show(known[best], unit)}."
        )
    second = ranked[1]
    times = known[second] / max(known[best], 1e-9)
    sentence = f"{best} wins with {show(known[best], unit)}; {second} takes {times:.1f} times as much."
    return make_axis(*fields, best, sentence)


def judge_intervals(axis: str, label: str, better: str, values: dict[str, dict | None], reason: str | None) -> dict:
    """The winner's interval lies clear of all others': stricter than a paired test, which these scores do not have."""
    fields = (axis, label, "%", better, values)
    known = {name: value for name, value in values.items() if value is not None}
    if reason or len(known) < len(values):
        reason = reason or f"it was not measured for {join([name for name in values if name not in known])}"
        return make_axis(*fields, None, f"Not decided, since {reason}.")
    sign = 1 if better == "higher" else -1
    best = max(known, key=lambda name: sign * known[name]["value"])
    score = f"{100 * known[best]['value']:.1f} %"
    if len(known) == 1:
        return make_axis(*fields, None, f"{best}: {score}; there is nothing to compare it with.")
    low, high = ("low", "high") if better == "higher" else ("high", "low")
    level = [name for name in known if name != best and sign * known[name][high] >= sign * known[best][low]]
    if level:
        return make_axis(*fields, "tie", f"{best} has {score}, but its interval meets that of {join(level)}: a tie.")
    return make_axis(*fields, best, f"{best} wins with {score}; no other interval meets its own.")


def discuss(models: list[dict], axes: list[dict]) -> list[str]:
    """Paragraphs on advantages and trade-offs, from the verdicts alone."""
    if len(models) == 1:
        return [f"There is one model, so nothing is compared. {axes[0]['sentence']}"]
    kinds = {model["name"]: model["kind"] for model in models}
    both = set(kinds.values()) == {"cnn", "transfer"}
    paragraphs = []
    for title, names in (
        ("Accuracy", ("accuracy",)),
        ("Cost", ("training_cost", "latency", "size")),
        ("Beyond accuracy", ("robustness", "calibration")),
        ("Data", ("data_needed",)),
    ):
        chosen = [axis for axis in axes if axis["axis"] in names]
        parts = [f"{axis['label']}: {word_winner(axis, kinds, both)}{axis['sentence']}" for axis in chosen]
        paragraphs.append(parts[0] if len(parts) == 1 else f"{title}. {' '.join(parts)}")
    return [*paragraphs, advise(axes, kinds)]


def word_winner(axis: dict, kinds: dict[str, str], both: bool) -> str:
    """Who wins an axis, by kind where there are both kinds, before the sentence that says more."""
    winner = axis["winner"]
    if winner is None:  # the sentence says why
        return ""
    if winner == "tie":
        return "a tie. "
    return f"{KINDS[kinds[winner]]} wins. " if both and winner in kinds else f"{winner} wins. "


def advise(axes: list[dict], kinds: dict[str, str]) -> str:
    """What to take for which need; nothing where no axis has a winner."""
    needs: dict[str, list[str]] = {}
    for axis in axes:
        if axis["winner"] in kinds:
            needs.setdefault(axis["winner"], []).append(NEEDS[axis["axis"]])
    if not needs:
        return "No axis has a clear winner: take whichever is the simplest to keep."
    parts = [
        f"{name} where {join(reasons)} count{'s' if len(reasons) == 1 else ''}" for name, reasons in needs.items()
    ]
    return f"What to take: {'; '.join(parts)}."


def join(names: list[str]) -> str:
    """As in "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def show(value: float, unit: str) -> str:
    """A cost with its unit."""
    if unit == "s":
        return f"{value:.0f} s" if value < 90 else f"{value / 60:.1f} min"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
