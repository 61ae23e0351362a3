"""What ``hal tune`` does: open a tuning, run its trials, measure the best plans again, and write the result.

This module prints nothing; an :class:`~hal.tuner.observer.TuneObserver` is told what happens.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from hal import errors
from hal.config import without_password
from hal.errors import ConfigError, HalError, RunError, UnsavedError, error_from_name
from hal.job.stored_plans import check_cache
from hal.run.interrupt import Interrupt
from hal.tuner.config import TuneConfig
from hal.tuner.drift import DriftMonitor
from hal.tuner.files import results_folder, used_alone, write_best
from hal.tuner.finals import FinalMeasurements
from hal.tuner.observer import LastingObserver, TuneObserver
from hal.tuner.outcomes import first_line
from hal.tuner.pool import Pool
from hal.tuner.process import Failure, command_of
from hal.tuner.ranking import winner_of
from hal.tuner.report import write_report
from hal.tuner.result import ControlMeasurement, Finalist, SearchCoverage, Tuning
from hal.tuner.samplers import check_sampler
from hal.tuner.session import TuningSession
from hal.tuner.storage import storage_errors
from hal.tuner.summary import remember_winner, summarize
from hal.tuner.trial_loop import Status, run_trials
from hal.tuner.trial_result import Trial

__all__ = ["tune"]

T = TypeVar("T")
_FEWEST_FOR_GAIN = 2


def tune(config: TuneConfig, observer: TuneObserver | None = None, *, command: Sequence[str] | None = None) -> Tuning:
    """Find the best plan for a workload on a device, and store it for ``plan=tuned``.

    Args:
        config: the keys of the tuning; :func:`hal.tuner.resumed` makes them from keys with ``resume``.
        observer: told what happens while the tuning runs.
        command: command line that starts a worker, in place of this hal's own.

    Returns:
        The result, which is also written to the folder of the tuning.

    Raises:
        RequestError: the request is wrong.
        UnavailableError: the backend or device is not available, or a package that the sampler needs.
        InUseError: another process uses the folder of the tuning.
        UnsavedError: the result cannot be written; carries it.
        HalError: the tuning failed while it ran.
    """
    if config.model is None:
        raise ConfigError("hal tune needs a model, but no model was given", fix="add a model, for example model=cnn")
    began, watch = time.monotonic(), LastingObserver(observer or TuneObserver())
    keys = config.model_dump(mode="json", exclude_unset=True)
    if config.storage is not None:
        keys["storage"] = without_password(config.storage)
    workload = config.for_workers()
    check_sampler(config.sampler)
    folder = results_folder(config)
    with used_alone(config, folder):
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


def _run(session: TuningSession) -> Tuning:
    if session.described.target is None and len(session.objectives) == 1:
        _aside(session, "the best plan cannot be stored for plan=tuned", check_cache)
    drift = DriftMonitor(session)
    status = run_trials(session, drift)
    trials = session.study.trials()
    session.record(trials)
    if not trials:
        raise RunError(
            "the tuning ended before its first trial was finished",
            fix=f"continue with: hal tune resume={session.folder}",
        )
    finals = FinalMeasurements(session)
    finalists: list[Finalist] = []
    if status != "interrupted" and session.described.target is None:
        said = "the best plans were not measured again"
        finalists = _aside(session, said, lambda: finals.run(trials), (OSError, RuntimeError)) or []
        if session.interrupt.asked and not finalists:
            status = "interrupted"
    winner = winner_of(finalists, trials, session.objectives[0])
    native_code = ""
    if winner is not None:
        known = finals.native_codes.get(winner.number)
        native_code = session.pool.native_code(winner.plan.model_dump()) if known is None else known
    tuning = _summarized(session, status, trials, finalists, winner, native_code, drift.measurements)
    return _finished(session, tuning, winner)


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
            sampler=session.config.sampler,
            plans=len(session.space),
            tried=sum(t.candidate for t in trials),
            ruled_out=len(search.ruled_out(trials)),
            remaining=len(rest),
            remaining_s=float(search.costs(trials, rest).sum()) if rest else 0.0,
            likely_gain=gain[0],
            likely_gain_high=gain[1],
        ),
    )


def _finished(session: TuningSession, tuning: Tuning, winner: Trial | None) -> Tuning:
    """Write the result first; of what follows, nothing that fails takes the result with it.

    Raises:
        UnsavedError: the result cannot be written; carries it, after everything else was tried.
    """
    folder = session.folder
    unsaved = _written(session, tuning, winner)
    said = "the best plan was not stored for plan=tuned"
    if _aside(session, said, lambda: remember_winner(tuning, folder)):
        tuning = tuning.model_copy(update={"remembered": True})
        if not unsaved:
            _aside(session, "tuning.json does not say that the best plan is stored", lambda: tuning.write(folder))
    _aside(session, "the report could not be written", lambda: write_report(tuning, folder))
    _aside(session, "the result was not printed", lambda: session.observer.ended(tuning, folder), (OSError, ValueError))
    if unsaved:
        raise UnsavedError(
            f"the result was not saved: {'; '.join(unsaved)}",
            tuning,
            fix=f"when there is room, write it again with: hal tune resume={folder}",
        )
    return tuning


def _written(session: TuningSession, tuning: Tuning, winner: Trial | None) -> list[str]:
    """Write the files of the result, each also where another cannot be written; sentences about those that cannot."""
    failed = []
    for name in ("tuning.json", "best.yaml"):
        try:
            if name == "tuning.json":
                tuning.write(session.folder)
            elif winner is not None:
                write_best(session.folder, tuning, session.keys, winner.plan)
        except OSError as error:
            failed.append(f"cannot write {error.filename}: {error.strerror}")
    return failed


def _aside(
    session: TuningSession, said: str, work: Callable[[], T], kinds: tuple[type[Exception], ...] = (Exception,)
) -> T | None:
    """Do what the result does not depend on; what it fails with becomes a note, and None is returned."""
    try:
        return work()
    except kinds as error:
        why = error.message if isinstance(error, HalError) else f"{type(error).__name__}: {first_line(error)}"
        with contextlib.suppress(ValueError):  # the note may be what cannot be printed
            session.observer.note(f"{said}: {why}")
        return None


def _hal_error(failure: Failure) -> HalError:
    """The error that the worker raised, or an error that says how the worker ended."""
    if hasattr(errors, str(failure.details.get("type"))):
        return error_from_name(
            failure.details["type"], str(failure.details.get("said", failure)), failure.details.get("fix")
        )
    return RunError(
        f"no worker could be started: {failure.message}",
        fix="correct python= if it was given; otherwise find the cause with hal bench and the same keys",
    )
