"""What workers of one study share: who is dead, whose trial is tried again, and which trials count."""

import multiprocessing
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.trial import TrialState

from hf_cifar.errors import UserError
from hf_cifar.search.processes import identify_process, is_gone
from hf_cifar.search.storage import (
    EXCESS,
    HEARTBEAT,
    REASON,
    REPLACES,
    WORKER,
    KeyedSampler,
    get_interval,
    is_within,
    list_counted,
    mask_password,
    open_storage,
    reclaim_trials,
)

GRACE = 40.0
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")


@pytest.fixture(params=["journal", "sqlite"])
def study(request, tmp_path) -> optuna.Study:
    place = f"journal:{tmp_path}/study.log" if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"
    return optuna.create_study(storage=open_storage(place, GRACE), study_name="study")


def start(study: optuna.Study, worker: dict | None = None) -> optuna.Trial:
    """A trial that a worker has begun, with a value."""
    trial = study.ask()
    if worker is not None:
        trial.set_user_attr(WORKER, worker)
    trial.suggest_float("learning_rate", 0, 1)
    return trial


def run_at_once(function: Callable, place: str) -> None:
    """Call `function` in three processes at the same moment."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    processes = [context.Process(target=function, args=(place, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def make_dead_process() -> dict:
    """What a process that has ended said of itself."""
    process = subprocess.Popen(["true"])
    process.wait()
    return identify_process() | {"pid": process.pid, "started": 1}


def test_a_process_is_gone_when_it_has_ended_or_another_has_its_number():
    own = identify_process()
    assert not is_gone(own)
    assert is_gone(make_dead_process())
    assert is_gone(own | {"started": own["started"] + 1})
    assert not is_gone(make_dead_process() | {"machine": "another"})  # nothing is known of it


def test_a_dead_workers_trial_is_tried_again_once_and_counted_once(study):
    alive, dead = start(study, identify_process()), start(study, make_dead_process())
    values = dict(dead.params)
    for _ in range(2):
        reclaim_trials(study, GRACE)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]
    assert [trial.number for trial in list_counted(study)] == [alive.number, 2]

    again = start(study, make_dead_process())
    assert again.number == 2 and again.params == values
    assert study.trials[2].user_attrs[REPLACES] == dead.number
    reclaim_trials(study, GRACE)  # it ends a second worker
    assert [trial.state for trial in study.trials][1:] == [TrialState.FAIL, TrialState.FAIL]
    assert [trial.number for trial in list_counted(study)] == [alive.number, 2]  # now it counts as failed


def test_a_worker_elsewhere_is_dead_when_it_was_silent_for_too_long(tmp_path, monkeypatch):
    study = optuna.create_study(storage=open_storage(f"journal:{tmp_path}/study.log", GRACE))
    elsewhere = identify_process() | {"machine": "another", "host": "another"}
    trial = start(study, elsewhere)
    study._storage.record_heartbeat(trial._trial_id)
    reclaim_trials(study, GRACE)
    assert study.trials[0].state == TrialState.RUNNING
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + GRACE + 1)
    reclaim_trials(study, GRACE)
    assert [each.state for each in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    study._storage.record_heartbeat(trial._trial_id)  # of the one taken for dead: no error
    assert HEARTBEAT not in study.trials[1].user_attrs


def test_a_trial_killed_before_it_said_anything_is_not_forgotten(study, monkeypatch):
    study.ask()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + GRACE + 1)
    reclaim_trials(study, GRACE)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_heartbeats_are_written_while_a_trial_runs(tmp_path):
    storage = open_storage(f"journal:{tmp_path}/study.log", 4)
    assert storage.get_heartbeat_interval() == get_interval(4) == 1
    study = optuna.create_study(storage=storage)
    beats = []

    def objective(trial) -> float:
        for _ in range(2):
            time.sleep(0.8)
            beats.append(storage.get_trial(trial._trial_id).user_attrs[HEARTBEAT])
        return 0.0

    study.optimize(objective, n_trials=1)
    assert beats[1] > beats[0]


def test_of_many_trials_begun_at_once_the_first_count(study):
    with ThreadPoolExecutor(4) as pool:
        trials = list(pool.map(lambda _: start(study, identify_process()), range(6)))
    within = sorted(trial.number for trial in trials if is_within(study, trial.number, 4))
    assert within == [0, 1, 2, 3]
    trials = {trial.number: trial for trial in trials}
    trials[4].set_user_attr(EXCESS, True)
    trials[5].set_user_attr(EXCESS, True)
    assert [trial.number for trial in list_counted(study)] == [0, 1, 2, 3]
    trials[1].set_user_attr(REASON, "too little memory")
    study.tell(1, state=TrialState.FAIL)
    study.tell(2, state=TrialState.FAIL)  # interrupted: no reason
    assert [trial.number for trial in list_counted(study)] == [0, 1, 3]
    assert is_within(study, 6, 4) and not is_within(study, 6, 3)


def open_fresh(place: str, barrier) -> None:
    barrier.wait()
    optuna.create_study(storage=open_storage(place, GRACE), study_name="study", load_if_exists=True)


def test_workers_that_make_a_database_at_once_all_get_it(tmp_path):
    run_at_once(open_fresh, f"sqlite:///{tmp_path}/study.db")


def reclaim(place: str, barrier) -> None:
    study = optuna.load_study(storage=open_storage(place, GRACE), study_name="study")
    barrier.wait()
    reclaim_trials(study, GRACE)


def test_of_processes_that_find_a_dead_worker_at_once_one_reclaims(tmp_path):
    place = f"journal:{tmp_path}/study.log"
    study = optuna.create_study(storage=open_storage(place, GRACE), study_name="study")
    for _ in range(4):
        start(study, make_dead_process())
    run_at_once(reclaim, place)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.FAIL) == states.count(TrialState.WAITING) == 4 and len(states) == 8


def test_values_depend_on_seed_and_number_not_on_the_worker(tmp_path):
    def draw(storage: str | None, seed: int, workers: int) -> list[float]:
        name = f"{seed}-{workers}"
        studies = [
            optuna.create_study(
                storage=storage and open_storage(storage, GRACE), study_name=name, load_if_exists=True,
                sampler=KeyedSampler(seed),
            )
            for _ in range(workers)
        ]  # fmt: skip
        return [start(studies[i % workers]).params["learning_rate"] for i in range(4)]

    place = f"journal:{tmp_path}/study.log"
    assert draw(place, 0, 1) == draw(place, 0, 2) == draw(None, 0, 1)
    assert len({*draw(place, 0, 1), *draw(place, 1, 1)}) == 8


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("study.db", "allowed: journal:FILE on a disk"),
        ("journal:{folder}", "cannot be reached"),
        ("journal:{folder}/a_file/study.log", "cannot be reached"),
        ("journal:{folder}/a_file", "cannot be reached"),
        ("sqlite:////no/such/folder/study.db", "unable to open"),
        ("nosuch://user:secret@host/db", "nosuch://user:\\*\\*\\*@host/db"),
        ("postgresql://user:secret@127.0.0.1:1/db", "postgresql://user:\\*\\*\\*@127.0.0.1:1/db"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_the_password(tmp_path, place, message):
    (tmp_path / "a_file").write_text("no journal\nat all\n")
    with pytest.raises(UserError, match=message) as error:
        open_storage(place.format(folder=tmp_path), GRACE)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_passwords_are_masked_in_commands():
    command = "search.py --storage mysql://me:pa:ss@host/db --study x"
    assert mask_password(command) == "search.py --storage mysql://me:***@host/db --study x"
    assert mask_password("journal:/a/b.log") == "journal:/a/b.log"
