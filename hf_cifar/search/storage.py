"""Owns where a study lies, who still works on it, and how many of its trials count."""

import logging
import re
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat  # what `Study.optimize` looks for; RDBStorage alone has it
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, OperationalError

from ..errors import UserError
from .processes import is_gone

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

HEARTBEAT, WORKER, REASON, REPLACES, EXCESS = "heartbeat", "worker", "reason", "replaces", "excess"  # of a trial
DATABASE = re.compile(r"[a-z0-9+]+://", re.IGNORECASE)


class WatchedJournal(JournalStorage, BaseHeartbeat):
    """Optuna's journal file, with the heartbeats that Optuna knows of databases alone.

    Heartbeats are lines of the journal, so they work wherever it does. They carry the clock's time: the clocks of all
    machines must agree to well within the grace.
    """

    def __init__(self, path: Path, grace: float) -> None:
        super().__init__(JournalFileBackend(str(path)))
        self.grace = grace

    def record_heartbeat(self, trial_id: int) -> None:
        """Write one; called from a thread beside the trial, which a disk that is away for a moment must not end."""
        try:
            self.set_trial_user_attr(trial_id, HEARTBEAT, time.time())
        except optuna.exceptions.UpdateFinishedTrialError:
            logger.warning("trial of storage number %d was given to another worker; this one came too late", trial_id)
        except OSError as error:
            logger.warning("no heartbeat could be written: %s", error)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return [trial._trial_id for trial in running if get_silence(trial) > self.grace]

    def get_heartbeat_interval(self) -> int:
        """Seconds between heartbeats."""
        return get_interval(self.grace)

    def get_heartbeat_stale_trial_callback(self) -> "Callable[[optuna.Study, FrozenTrial], None]":
        """Called with each trial that was found stale."""
        return replace_trial


def get_interval(grace: float) -> int:
    """Seconds between heartbeats: four fit into the grace, so that one or two may be late."""
    return max(1, int(grace / 4))


def get_silence(trial: FrozenTrial) -> float:
    """Seconds since a trial was last heard of; since its start, if it never was."""
    last = trial.user_attrs.get(HEARTBEAT)
    return time.time() - (trial.datetime_start.timestamp() if last is None else last)


def replace_trial(study: optuna.Study, lost: FrozenTrial) -> None:
    """Queue the values of a lost trial again, but once only: they may be what ends the workers."""
    if REPLACES in lost.user_attrs:
        logger.warning(
            "trial %d was lost as %d was before; it is not tried again", lost.number, lost.user_attrs[REPLACES]
        )
        return
    logger.warning("trial %d is lost, as its worker is gone; its values are tried again", lost.number)
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=lost.params,
            distributions=lost.distributions,
            user_attrs={REPLACES: lost.number},
        )
    )


def reclaim_trials(study: optuna.Study, grace: float) -> None:
    """Mark the trials of dead workers as failed and queue them again; of several callers one does it.

    A worker is dead if it was silent for the grace, or at once if it was a process of this machine that is gone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(WORKER)
        # Killed before its first heartbeat, a trial is not stale for a database.
        if is_gone(worker) if worker else get_silence(trial) > grace:
            try:
                is_ours = study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
            except optuna.exceptions.UpdateFinishedTrialError:
                continue  # another worker was faster
            if is_ours:
                replace_trial(study, trial)


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial does not count: its worker died (the first time), or it was one too many."""
    if trial.user_attrs.get(EXCESS):
        return True
    return trial.state == TrialState.FAIL and not {REASON, REPLACES} & set(trial.user_attrs)


def list_counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count, by number."""
    return [trial for trial in study.get_trials(deepcopy=False) if not is_lost(trial)]


def is_within(study: optuna.Study, number: int, n_trials: int) -> bool:
    """Whether a trial is one of the first `n_trials`; numbers are given by the storage, each once."""
    return sum(trial.number < number for trial in list_counted(study)) < n_trials


def open_storage(text: str, grace: float) -> BaseStorage:
    """The storage of a study.

    Args:
        text: journal:FILE, or a database's URL.
        grace: seconds of silence after which a worker counts as dead.

    Raises:
        UserError: It cannot be reached, or is no storage.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # trials are reported in one line each
    place = mask_password(text)
    allowed = "allowed: journal:FILE on a disk that all workers share, or a database's URL, as sqlite:///study.db"
    if not text.startswith("journal:") and not DATABASE.match(text):
        raise UserError(f"storage={place!r}; {allowed}")
    try:
        if not text.startswith("journal:"):
            return open_database(text, grace)
        path = Path(text.removeprefix("journal:")).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        return WatchedJournal(path, grace)
    except Exception as error:  # each database driver has errors of its own
        reason = mask_password(str(error).strip().splitlines()[0]) if str(error) else type(error).__name__
        raise UserError(f"storage={place!r} cannot be reached ({reason}); {allowed}") from error


def open_database(url: str, grace: float, tries: int = 5) -> RDBStorage:
    """A database; its tables are made if it has none, which another worker may do at the same moment."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return RDBStorage(
                url,
                # SQLite's own patience with other writers is 5 s.
                engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None,
                heartbeat_interval=get_interval(grace),
                grace_period=max(2, int(grace)),
                heartbeat_stale_trial_callback=replace_trial,
            )
    except (ImportError, ArgumentError):  # no driver, or no URL
        raise
    except Exception as error:  # databases have many words for it; a server that is not there is not asked again
        if tries == 1 or isinstance(error, OperationalError) and "exists" not in str(error):
            raise
        time.sleep(0.5)
        return open_database(url, grace, tries - 1)


def mask_password(text: str) -> str:
    """A URL, or a command line with one, without passwords."""
    return re.sub(r"(://[^\s:/@]*):[^\s/@]*@", r"\1:***@", text)


class KeyedSampler(optuna.samplers.TPESampler):
    """Optuna's TPE, its draws a function of the seed and the trial's number, whichever worker has the trial."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.base_seed = seed

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Start from the trial's own seed."""
        seed = int(np.random.SeedSequence([self.base_seed, trial.number]).generate_state(1)[0])
        super().__init__(seed=seed)
        super().before_trial(study, trial)
