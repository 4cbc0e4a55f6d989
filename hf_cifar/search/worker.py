"""Owns a worker of a search: it takes trials from a study until none is left, and waits for those of others."""

import logging
import time

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from ..errors import UserError
from .processes import identify_process
from .storage import EXCESS, REASON, WORKER, KeyedSampler, get_interval, list_counted, reclaim_trials
from .trials import Search, SearchTrainer

logger = logging.getLogger(__name__)

STARTUP_TRIALS = 4  # that are not pruned, as there is too little to compare them with


def open_study(search: Search, storage: BaseStorage, name: str) -> optuna.Study:
    """The study, new or another worker's.

    Raises:
        UserError: It is of another space, other options or other data.
    """
    study = optuna.create_study(storage=storage, study_name=name, direction=search.direction, load_if_exists=True)
    identity = search.identify()
    known = study.user_attrs.get("identity")
    if known is None:
        study.set_user_attr("identity", identity)
        known = identity
    for part, value in identity.items():
        if known.get(part) != value:
            changed = find_changes(known.get(part) or {}, value) if part in ("options", "space") else str(value)[:80]
            raise UserError(
                f"study {name!r} differs in its {part} ({changed} here); give the same, or another --study"
            )
    return study


def find_changes(known: dict, value: dict) -> str:
    """What differs, as in "learning_rate: 0.1"."""
    names = [name for name in sorted({*known, *value}) if known.get(name) != value.get(name)]
    return ", ".join(f"{name}: {value.get(name, 'nothing')}" for name in names)


def run_search(search: Search, study: optuna.Study, storage: BaseStorage) -> None:
    """Take trials until the study has all of them, and wait for those of other workers, lest they die.

    Raises:
        UserError: No trial could be trained.
    """
    options, trainer, is_waiting = search.options, SearchTrainer(search), False
    while True:
        reclaim_trials(study, options.grace_seconds)
        counted = sorted(list_counted(study), key=lambda trial: trial.number)[: options.n_trials]
        if len(counted) == options.n_trials and all(trial.state.is_finished() for trial in counted):
            break
        if len(counted) < options.n_trials or any(trial.state == TrialState.WAITING for trial in counted):
            is_waiting = False
            run_trial(trainer, study, storage)
            continue
        if not is_waiting:
            running = sum(not trial.state.is_finished() for trial in counted)
            print(f"Waiting for {running} trial(s) of other workers")
            is_waiting = True
        time.sleep(min(5, get_interval(options.grace_seconds)))
    if not any(trial.state == TrialState.COMPLETE for trial in counted):
        reasons = [trial.user_attrs[REASON] for trial in counted if REASON in trial.user_attrs]
        raise UserError(
            f"none of the {len(counted)} trials could be trained to its end ({(reasons or ['all pruned'])[0]}); "
            "change the space, and give another --study"
        )


def build_pruner(name: str) -> optuna.pruners.BasePruner:
    """A pruner by the name that the option has."""
    if name == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1)


def run_trial(trainer: SearchTrainer, study: optuna.Study, storage: BaseStorage) -> None:
    """One trial through `Trainer.hyperparameter_search`, and a line on how it ended."""
    search = trainer.search
    try:
        trainer.hyperparameter_search(
            hp_space=lambda trial: {each.key: each.suggest(trial) for each in search.dimensions},
            compute_objective=lambda metrics: metrics[f"eval_{search.metric}"],
            n_trials=1,
            direction=search.direction,
            backend="optuna",
            study_name=study.study_name,
            storage=storage,
            load_if_exists=True,
            sampler=KeyedSampler(search.options.sampler_seed),
            pruner=build_pruner(search.options.pruner),
            catch=(UserError, RuntimeError),
        )
    except optuna.exceptions.UpdateFinishedTrialError:
        logger.warning("this worker was silent for too long, and its trial was given to another; it goes on")
    except ValueError as error:  # the Trainer asks for the best trial, which there may not be yet
        if "No trials are completed yet" not in str(error):
            raise
    tell_last(study, identify_process())


def tell_last(study: optuna.Study, worker: dict) -> None:
    """Say how this worker's last trial ended."""
    own = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get(WORKER) == worker]
    if not own or own[-1].user_attrs.get(EXCESS):
        return
    trial = own[-1]
    value = f"{trial.value:.4f}" if trial.value is not None else trial.user_attrs.get(REASON, "")
    print(f"Trial {trial.number}: {trial.state.name.lower()} {value}".rstrip())
