"""Owns the learning-rate range test: one short training over rising rates, a suggestion, and its figure."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ..reporting.figures import COLORS
from .findings import Finding
from .subject import Subject, start_trial

STEPS = 80
LOWEST, HIGHEST = 1e-4, 1e2  # times the config's rate, unless that is absurd
SMOOTHING = 0.8
MIN_GAIN = 0.03  # share of the first loss


@dataclass(frozen=True)
class RangeTest:
    """Rates and losses, and what follows from them.

    Attributes:
        rates: ascending, (N,).
        losses: of one batch each, before the step at that rate, (N,).
        smoothed: their exponential average, (N,).
        suggestion: the rate at which the average falls fastest; None where it never falls.
        limit: the lowest rate from which on the gain is lost again; None where there is none.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None
    limit: float | None


def run_range_test(step: Callable[[float], float], lowest: float, highest: float, steps: int = STEPS) -> RangeTest:
    """Train with rates that rise exponentially, until the loss diverges.

    Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3; exponential rise, stop
    at divergence and the steepest descent as fast.ai has them.

    Args:
        step: one step at a rate, to its loss.
        lowest, highest: first and last rate.
        steps: how many, if it does not diverge.
    """
    rates, losses, smoothed, average = np.geomspace(lowest, highest, steps), [], [], 0.0
    for number, rate in enumerate(rates, start=1):
        loss = step(float(rate))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed.append(average / (1 - SMOOTHING**number))
        if number > steps // 8 and smoothed[-1] > 4 * min(smoothed):
            break
    return analyse(rates, np.array(losses), np.array(smoothed))


def analyse(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray) -> RangeTest:
    """The suggestion and the limit; `rates` may have more entries than there are losses, after a divergence."""
    diverged_at = float(rates[len(losses)]) if len(losses) < len(rates) else None
    rates = rates[: len(losses)]
    if len(losses) < 4:
        return RangeTest(rates, losses, smoothed, None, diverged_at)
    best, first = int(smoothed.argmin()), float(smoothed[:5].mean())
    gain = first - float(smoothed[best])
    if gain < MIN_GAIN * first or best < 2:
        return RangeTest(rates, losses, smoothed, None, diverged_at)
    slopes = np.gradient(smoothed, np.log(rates))
    steepest = int(slopes[: best + 1].argmin())
    lost = np.flatnonzero(smoothed[best:] > smoothed[best] + 0.5 * gain)
    limit = float(rates[best + lost[0]]) if len(lost) else diverged_at
    return RangeTest(rates, losses, smoothed, float(rates[steepest]), limit)


def try_learning_rates(subject: Subject, seconds: float = 40.0) -> RangeTest:
    """The range test of a config's own optimizer, all of whose groups' rates rise by the same factor.

    Args:
        subject: what to train.
        seconds: that it may take; fewer steps are taken if they are slow.
    """
    base = subject.args.learning_rate or 1e-3
    batches = subject.make_batches("train", augment=True)
    size, started, count = subject.batch_size, time.perf_counter(), 0
    with start_trial(subject, base) as trial:

        def step(rate: float) -> float:
            nonlocal count
            rows = subject.draw_rows("train", size, start=count * size)
            count += 1
            return trial.step(batches.__getitems__(rows), rate / base)[0]

        step(0.0)  # the first step has more to do, and moves nothing
        steps = int(seconds / max(time.perf_counter() - started, 1e-3))
        center = min(max(base, 1e-4), 1.0)  # a rate that is absurd is to be seen as such
        return run_range_test(step, LOWEST * center, HIGHEST * center, min(STEPS, max(20, steps)))


def judge_learning_rate(test: RangeTest, learning_rate: float, has_own_rates: bool = False) -> Finding:
    """Whether the config's rate lies where the loss falls.

    Args:
        test: see `try_learning_rates`.
        learning_rate: the config's.
        has_own_rates: whether its parameter_groups have rates of their own, which rose along.
    """
    why = "the learning rate matters more than any other option: too low wastes the run, too high ruins it"
    numbers = {"learning_rate": learning_rate}
    numbers |= {} if test.suggestion is None else {"suggestion": test.suggestion}
    numbers |= {} if test.limit is None else {"limit": test.limit}
    name = "learning rate"
    if test.suggestion is None:
        value = f"{learning_rate:g}; no rate from {test.rates[0] if len(test.rates) else 0:.2g} on lowers the loss"
        fix = "look at the other findings first: gradients, one batch, the augmented samples; then repeat"
        return Finding(name, "fail", value, why, fix, "learning-rate", numbers)
    value = f"{learning_rate:g}; suggested {test.suggestion:.2g} (steepest descent)"
    value += f", the loss rises again at {test.limit:.2g}" if test.limit else ", no rate tried diverges"
    groups = "; the rates in parameter_groups times the same factor" if has_own_rates else ""
    if test.limit is not None and learning_rate >= test.limit:
        return Finding(
            name, "warn", value, why, f"learning_rate: {test.suggestion:.2g}{groups}", "learning-rate", numbers
        )
    if learning_rate < test.suggestion / 100:
        fix = f"a higher learning_rate, up to {test.suggestion:.2g}{groups}; keep a low one where little may change"
        return Finding(name, "warn", value, why, fix, "learning-rate", numbers)
    return Finding(name, "ok", value, why, numbers=numbers)


def draw_range_test(test: RangeTest, learning_rate: float) -> Figure:
    """Loss against learning rate, with the suggestion and the config's own rate."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, ".", color="0.7", markersize=4, label="one batch")
    axes.plot(test.rates, test.smoothed, color=COLORS[0], label="smoothed")
    if test.suggestion is not None:
        axes.axvline(test.suggestion, color=COLORS[2], linestyle="--", label=f"suggested: {test.suggestion:.2g}")
    axes.axvline(learning_rate, color=COLORS[1], linestyle=":", label=f"config: {learning_rate:.2g}")
    if len(test.smoothed):
        low, high = float(test.smoothed.min()), float(test.smoothed[: max(1, len(test.smoothed) // 3)].max())
        axes.set_ylim(
            max(0, low - 0.3 * (high - low) - 0.05), high + (high - low) + 0.05
        )  # a divergence leaves the axes
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning-rate range test")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    return figure
