"""The trials of a tuning, one after the other, until something ends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from hal.contract.text import plan_changes
from hal.errors import HalError
from hal.run.record import now
from hal.tuner.drift import DriftMonitor
from hal.tuner.finals import expected_finals_s
from hal.tuner.messages import Order
from hal.tuner.observer import TuningProgress
from hal.tuner.ranking import best_of, require_values, throughput_to_beat, values_of, violations_of
from hal.tuner.search import Proposal
from hal.tuner.session import TuningSession
from hal.tuner.space import key_of
from hal.tuner.study import Claim
from hal.tuner.trial_result import Trial

__all__ = ["Status", "run_trials"]

Status: TypeAlias = Literal["done", "settled", "budget", "trials", "interrupted"]


def run_trials(session: TuningSession, drift: DriftMonitor) -> Status:
    """Claim and run one plan after the other.

    Args:
        session: the tuning.
        drift: watches the machine's speed between trials.

    Returns:
        Why the trials ended; see :attr:`hal.tuner.result.Tuning.status`.
    """
    return _TrialLoop(session, drift).run()


class _TrialLoop:
    def __init__(self, session: TuningSession, drift: DriftMonitor) -> None:
        self._session, self._drift = session, drift
        # What earlier plans left in a process would count as memory of the next, so each gets a fresh worker.
        memory_counts = "memory" in session.objectives or session.config.constraint.memory is not None
        self._fresh_workers = memory_counts and session.described.target is None
        self._worker_used = False

    def run(self) -> Status:
        session, config = self._session, self._session.config
        study, search = session.study, session.search
        # Plans that are tried only as a comparison are not counted.
        most = None if config.trials is None else config.trials + search.outside
        while True:
            if session.interrupt.asked:
                return "interrupted"
            trials, taken = study.trials(), study.taken()
            study.recover()
            begun = len(trials) + len(taken)
            if most is not None and begun >= most:
                if not session.wait_for_others():
                    return "trials"
                continue
            left_s = config.budget - session.elapsed_s - expected_finals_s(config, trials)
            if left_s <= 0 and trials:
                return "budget"
            allowed = None if most is None else most - begun
            proposal = search.next(trials, taken, left_s, allowed)
            if proposal is None:
                if session.wait_for_others():
                    continue  # results of other processes may change what is worth trying
                rest = search.remaining(trials, taken)
                if not rest:
                    return "done"
                return "settled" if search.settled(trials, list(rest.values())) else "budget"
            claim = study.claim(proposal.plan, 3 * config.limit_s + 300, most)
            if claim is not None:
                self._try(claim, proposal, trials)

    def _try(self, claim: Claim, proposal: Proposal, trials: Sequence[Trial]) -> None:
        session, config, plan = self._session, self._session.config, proposal.plan
        self._drift.check(trials)
        factor = self._drift.factor
        to_beat = throughput_to_beat(trials, session.objectives, plan, factor) if proposal.origin != "default" else None
        order = Order(
            plan=plan,
            seconds=config.seconds,
            latency=config.mode == "infer",
            beat=to_beat,
            to_loss="time_to_loss" in session.objectives,
        )
        session.observer.trying(plan_changes(plan, session.space.default), self._progress(trials))
        if self._fresh_workers and self._worker_used:
            session.pool.close()
        self._worker_used = True
        begun = now()
        try:
            answer = session.pool.run(order, config.limit_s)
        except HalError:
            session.study.release(claim)
            raise
        trial = Trial(
            number=claim.number,
            plan=plan,
            origin=proposal.origin,
            outcome=answer.outcome,
            message=answer.message,
            phases=answer.phases,
            measurement=answer.measurement,
            estimate=answer.estimate,
            guard=answer.guard,
            samples_to_loss=answer.samples_to_loss,
            drift=factor,
            values=values_of(answer, session.objectives, factor),
            violations=violations_of(answer, config.constraint),
            started=begun,
            elapsed_s=session.elapsed_s,
            owner=session.study.owner,
            candidate=key_of(plan) in session.space.plans,
        )
        require_values(trial, session.objectives, config.constraint, session.described.target)
        if not session.study.finish(claim, trial):
            session.observer.note(
                f"the result of trial {trial.number} was discarded, because another process reclaimed the trial "
                "meanwhile; this happens when this process is suspended for a long time"
            )
            return
        session.record([trial])
        session.observer.trial(trial, self._progress([*trials, trial]))
        self._drift.trial_ended()

    def _progress(self, trials: Sequence[Trial]) -> TuningProgress:
        session = self._session
        expected = session.config.trials
        if expected is None and session.search.method == "grid":
            expected = len(session.space)
        best = next(iter(best_of(trials, session.objectives[0])), None)
        left_s = max(0.0, session.config.budget - session.elapsed_s)
        return TuningProgress(len(trials), expected, best, left_s, session.elapsed_s)
