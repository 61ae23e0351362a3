"""What ``hal tune`` does: open a tuning, run its trials, measure the best plans again, and write the result.

This module prints nothing; an :class:`~hal.tuner.observer.Observer` is told what happens.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from hal import errors
from hal.config import without_password
from hal.errors import ConfigError, HalError, RunError, error_from_name
from hal.run.interrupt import Interrupt
from hal.tuner.config import TuneConfig
from hal.tuner.drift import DriftMonitor
from hal.tuner.files import remove_if_unused, results_folder, write_best
from hal.tuner.finals import FinalMeasurements
from hal.tuner.observer import Observer
from hal.tuner.pool import Pool
from hal.tuner.process import Failure, command_of
from hal.tuner.ranking import winner_of
from hal.tuner.report import write_report
from hal.tuner.result import ControlMeasurement, Finalist, SearchCoverage, Trial, Tuning
from hal.tuner.session import TuningSession
from hal.tuner.storage import storage_errors
from hal.tuner.summary import remember_winner, summarize
from hal.tuner.trial_loop import Status, run_trials

__all__ = ["tune"]

_FEWEST_FOR_GAIN = 2


def tune(config: TuneConfig, observer: Observer | None = None, *, command: Sequence[str] | None = None) -> Tuning:
    """Find the best plan for a workload on a device, and store it for ``plan=tuned``.

    Args:
        config: the keys of the tuning; :func:`hal.tuner.resumed` makes them from keys with ``resume``.
        observer: told what happens while the tuning runs.
        command: command line that starts a worker, in place of this hal's own.

    Returns:
        The result, which is also written to the folder of the tuning.

    Raises:
        RequestError: the request is wrong.
        UnavailableError: the backend or device is not available.
        HalError: the tuning failed while it ran.
    """
    if config.model is None:
        raise ConfigError("hal tune needs a model, but no model was given", fix="add a model, for example model=cnn")
    began, watch = time.monotonic(), observer or Observer()
    keys = config.model_dump(mode="json", exclude_unset=True)
    if config.storage is not None:
        keys["storage"] = without_password(config.storage)
    workload = config.for_workers()
    folder = results_folder(config)
    pool = Pool(command or command_of(config.python), workload, config.mode, folder, config.memory_limit or 0)
    try:
        try:
            described = pool.describe()
        except Failure as failure:
            raise _hal_error(failure) from failure
        stopping = "the tuning stops after this trial; press Ctrl-C again to stop at once"
        storage = config.storage or f"sqlite:///{(folder / 'study.db').resolve()}"
        with storage_errors(storage, folder), Interrupt(lambda text: watch.note(stopping)) as interrupt:
            session = TuningSession(config, keys, described, pool, folder, storage, watch, interrupt, began)
            with contextlib.closing(session.study):
                return _run(session)
    finally:
        pool.close()
        remove_if_unused(folder)


def _run(session: TuningSession) -> Tuning:
    drift = DriftMonitor(session)
    status = run_trials(session, drift)
    trials = session.study.trials()
    session.journal.add(trials)
    if not trials:
        raise RunError(
            "the tuning ended before its first trial was finished",
            fix=f"continue with: hal tune resume={session.folder}",
        )
    finals = FinalMeasurements(session)
    finalists: list[Finalist] = []
    if status != "interrupted" and session.described.target is None:
        finalists = finals.run(trials)
        if session.interrupt.asked and not finalists:
            status = "interrupted"
    winner = winner_of(finalists, trials, session.objectives[0])
    native_code = ""
    if winner is not None:
        known = finals.native_codes.get(winner.number)
        native_code = session.pool.native_code(winner.plan.model_dump()) if known is None else known
    tuning = _summarized(session, status, trials, finalists, winner, native_code, drift.measurements)
    tuning = tuning.model_copy(update={"remembered": remember_winner(tuning, session.folder)})
    _write(session, tuning, winner)
    return tuning


def _summarized(
    session: TuningSession,
    status: Status,
    trials: Sequence[Trial],
    finalists: Sequence[Finalist],
    winner: Trial | None,
    native_code: str,
    controls: Sequence[ControlMeasurement],
) -> Tuning:
    search = session.search
    rest = list(search.remaining(trials, session.study.taken()).values())
    gain: tuple[float | None, float | None] = (0.0, 0.0)
    if rest:  # one or two trials are too few to predict the others
        gain = search.gain(trials, rest) if len(trials) > _FEWEST_FOR_GAIN else (None, None)
    return summarize(
        session.described,
        session.space,
        session.config,
        trials,
        finalists,
        winner,
        status=status,
        started=session.started,
        seconds=session.elapsed_s,
        config=session.keys,
        sentinels=tuple(controls),
        native_code=native_code,
        searched=SearchCoverage(
            method="grid" if search.method == "grid" or not rest else "search",
            plans=len(session.space),
            tried=sum(t.candidate for t in trials),
            ruled_out=len(search.ruled_out(trials)),
            remaining=len(rest),
            remaining_s=float(search.costs(trials, rest).sum()) if rest else 0.0,
            likely_gain=gain[0],
            likely_gain_high=gain[1],
        ),
    )


def _write(session: TuningSession, tuning: Tuning, winner: Trial | None) -> None:
    folder = session.folder
    tuning.write(folder)
    if winner is not None:
        write_best(folder, tuning, session.keys, winner.plan)
    try:
        write_report(tuning, folder)
    except HalError as error:  # the result is written, and matters more than its report
        session.observer.note(f"the report could not be written: {error.message}")
    session.observer.ended(tuning, folder)


def _hal_error(failure: Failure) -> HalError:
    """The error that the worker raised, or an error that says how the worker ended."""
    if hasattr(errors, str(failure.details.get("type"))):
        return error_from_name(
            failure.details["type"], str(failure.details.get("said", failure)), failure.details.get("fix")
        )
    return RunError(
        f"no worker could be started: {failure.message}", fix="find the cause with hal bench and the same keys"
    )
