"""A tuning from its first trial to its result: what ``hal tune`` does, without a word to the terminal."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hal import __version__, errors
from hal.config import PlanKeys, without_password
from hal.contract.text import plan_changes
from hal.errors import ConfigError, HalError, RunError, error_from_name
from hal.job.stored_plans import StoredPlan, find, nearest
from hal.run.interrupt import Interrupt
from hal.run.record import now
from hal.tuner.config import TuneConfig
from hal.tuner.files import Journal, clear, folder_of, write_best, write_config
from hal.tuner.finals import AT_ONCE, FEWEST_ROUNDS, revalued, run_finals, taking_part
from hal.tuner.judge import beat, best_of, require_values, values_of, violations_of, winner_of
from hal.tuner.messages import Description, Order
from hal.tuner.observer import Observer, Progress
from hal.tuner.pool import Pool
from hal.tuner.process import Failure, command_of
from hal.tuner.report import write_report
from hal.tuner.result import Finalist, Outcome, Searched, Sentinel, Trial, Tuning
from hal.tuner.search import Proposal, Search
from hal.tuner.space import Space, key_of
from hal.tuner.storage import lost
from hal.tuner.study import Claim, Ledger
from hal.tuner.summary import keep, summed_up

__all__ = ["tune"]

_SENTINEL_EVERY = 8
_SENTINEL_S = 30.0
_MOST_DRIFT = 0.2
"""Largest change, as a logarithm, that trials are corrected for."""

_FEWEST_FOR_GAIN = 2

_FINALS_S = 4.0
"""Each finalist's share of the last measurements, at most."""


def tune(config: TuneConfig, observer: Observer | None = None, *, command: Sequence[str] | None = None) -> Tuning:
    """Find the best plan for a workload on a device, and remember it.

    Args:
        config: what, where, how long; see :func:`hal.tuner.resumed` for keys that name a tuning to go on with.
        observer: who is told while it runs.
        command: of a worker, instead of this hal's own.

    Returns:
        What was found, also written to the tuning's folder.

    Raises:
        RequestError: the request is wrong.
        UnavailableError: the backend or device is not here.
        HalError: it failed while it ran.
    """
    if config.model is None:
        raise ConfigError("no model was named", fix="write for example: model=cnn")
    began, watch = time.monotonic(), observer or Observer()
    keys = config.model_dump(mode="json", exclude_unset=True)
    if config.storage is not None:
        keys["storage"] = without_password(config.storage)
    workload = config.for_workers()
    folder = folder_of(config)
    pool = Pool(command or command_of(config.python), workload, config.mode, folder, config.memory_limit or 0)
    try:
        try:
            described = pool.describe()
        except Failure as failure:
            raise _named(failure) from failure
        said = "stopping after this trial; once more stops at once"
        storage = config.storage or f"sqlite:///{(folder / 'study.db').resolve()}"
        with lost(storage, folder), Interrupt(lambda text: watch.note(said)) as interrupt:
            tuning = _Tuning(config, keys, described, pool, folder, storage, watch, interrupt, began)
            with contextlib.closing(tuning.ledger):
                return tuning.run()
    finally:
        pool.close()
        clear(folder)


class _Tuning:
    def __init__(
        self,
        config: TuneConfig,
        keys: dict[str, Any],
        described: Description,
        pool: Pool,
        folder: Path,
        storage: str,
        observer: Observer,
        interrupt: Interrupt,
        began: float,
    ) -> None:
        self.config, self.keys, self.described, self.pool = config, keys, described, pool
        self.folder, self.observer, self.interrupt = folder, observer, interrupt
        self.objectives = config.objective
        fixed = PlanKeys.model_validate(config.given())
        self.space = Space(described, fixed, config.space, self.objectives)
        private = config.storage is None
        self.ledger = Ledger(storage, self._name(), self.objectives, self.space.dimensions, private=private)
        self.ledger.recover()
        self.journal = Journal(folder)
        earlier = self.ledger.trials()
        if config.resume is not None and self.journal.numbers and not earlier:
            raise ConfigError(
                f"the trials in {folder} are of another device, of other versions of hal or what runs on it, or their "
                "storage is gone",
                fix="start a new tuning without resume=",
            )
        write_config(folder, {name: value for name, value in keys.items() if name not in ("resume", "out")})
        self.journal.add(earlier)
        self.before_s = max((t.elapsed_s for t in earlier), default=0.0) if config.storage is None else 0.0
        self.started, self.began = now(), began
        stored = self._stored()
        self.search = Search(
            self.space,
            self.objectives,
            self._warm(stored),
            config.seed,
            estimates=described.target is not None,
        )
        # What earlier plans left in a process would count as memory of the next.
        self.alone = "memory" in self.objectives or config.constraint.memory is not None
        self.alone = self.alone and described.target is None
        self.used = False
        self.sentinels: list[Sentinel] = []
        self.native_codes: dict[int, str] = {}
        self.drift = 1.0
        self.sentinel_at, self.since_sentinel = time.monotonic(), 0
        observer.started(described, self.space, folder, len(earlier))
        for each in stored if self._warm(stored) else ():
            changed = ", ".join(each.fingerprint.differences(described.fingerprint))
            found = f"for another {changed}" if changed else "here before"
            observer.note(f"starting from a plan of {each.when[:10]} that was found {found}")

    def _name(self) -> str:
        """Equal for processes that may share a study: the same question to hardware of the same kind."""
        here = self.described.fingerprint
        asked: dict[str, Any] = {
            "space": sorted(self.space.plans),
            "objectives": self.objectives,
            "constraint": self.config.constraint.model_dump(),
            "device": [here.backend, here.kind, here.vendor, here.arch, here.name],
            "workload": [here.model, here.mode, here.input_shape, here.structure, self.described.workload.data],
            "versions": {**here.versions, "hal": __version__},
        }
        if self.described.target is not None:
            asked["estimated for"] = self.described.target
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        return f"hal-{Path(here.model).stem}-{here.backend}-{digest}"

    def _stored(self) -> tuple[StoredPlan, ...]:
        """What was found for the same, or else for what is most like it; nothing measured helps an estimate."""
        if self.described.target is not None:
            return ()
        same = find(self.described.fingerprint, self.objectives[0])
        return nearest(self.described.fingerprint)[:1] if same is None else (same,)

    def _warm(self, stored: Sequence[StoredPlan]) -> list[Proposal]:
        near = [each.plan for each in stored if key_of(each.plan) in self.space.plans]
        return [Proposal(plan, "stored") for plan in near]

    # Time

    @property
    def elapsed_s(self) -> float:
        return self.before_s + time.monotonic() - self.began

    def _left_s(self, trials: Sequence[Trial]) -> float:
        """Time left for trials; the rest of the budget is for the finalists."""
        return self.config.budget - self.elapsed_s - self._finals_s(trials)

    def _finals_s(self, trials: Sequence[Trial]) -> float:
        if self.described.target is not None:
            return 0.0
        starts = [t.phases.start_s for t in trials if t.phases.start_s] + [
            (t.phases.load_s or 0.0) + 2.0 for t in trials if t.phases.load_s
        ]
        start_s = statistics.median(starts) if starts else 5.0
        best = best_of(trials, self.objectives[0])[: self.config.finalists]
        build_s = start_s / AT_ONCE
        share_s = min(_FINALS_S, 2 * self.config.seconds)
        needed = (1 + self.config.finalists - len(best)) * (build_s + share_s)  # the default, and those to come
        for trial in best:
            step_s = trial.measurement.step_ms.median / 1000 if trial.measurement else 0.0
            needed += build_s + (trial.phases.compile_s or 0.0) + (trial.phases.warmup_s or 0.0)
            needed += max(share_s, FEWEST_ROUNDS * step_s)
            needed += build_s if trial.plan.parallel != "none" else 0.0  # the other processes start after it
        return min(0.5 * self.config.budget, needed)

    # The loop

    def run(self) -> Tuning:
        status = self._search()
        trials = self.ledger.trials()
        self.journal.add(trials)
        if not trials:
            raise RunError("no trial was finished", fix="go on with it: hal tune resume=" + str(self.folder))
        finalists: list[Finalist] = []
        if status != "interrupted" and self.described.target is None:
            finalists = self._finals(trials)
            if self.interrupt.asked and not finalists:
                status = "interrupted"
        return self._ended(status, trials, finalists)

    def _search(self) -> str:
        # What is there to compare with alone comes on top.
        most = None if self.config.trials is None else self.config.trials + self.search.outside
        while True:
            if self.interrupt.asked:
                return "interrupted"
            trials, taken = self.ledger.trials(), self.ledger.taken()
            self.ledger.recover()
            begun = len(trials) + len(taken)
            if most is not None and begun >= most:
                if not self._wait_for_others():
                    return "trials"
                continue
            left_s = self._left_s(trials)
            if left_s <= 0 and trials:
                return "budget"
            allowed = None if most is None else most - begun
            proposal = self.search.next(trials, taken, left_s, allowed)
            if proposal is None:
                if self._wait_for_others():
                    continue  # what the others found may open something
                rest = self.search.remaining(trials, taken)
                if not rest:
                    return "done"
                return "settled" if self.search.settled(trials, list(rest.values())) else "budget"
            limit_s = self.config.limit_s
            claim = self.ledger.claim(proposal.plan, 3 * limit_s + 300, most)
            if claim is not None:
                self._try(claim, proposal, trials, limit_s)

    def _wait_for_others(self) -> bool:
        """Wait a little if other processes are at trials; false: nobody is."""
        if not self.ledger.others():
            return False
        time.sleep(0.2)
        self.ledger.recover()
        return True

    def _try(self, claim: Claim, proposal: Proposal, trials: Sequence[Trial], limit_s: float) -> None:
        self._watch_drift(trials)
        plan = proposal.plan
        order = Order(
            plan=plan,
            seconds=self.config.seconds,
            latency=self.config.mode == "infer",
            beat=beat(trials, self.objectives, plan, self.drift) if proposal.origin != "default" else None,
            to_loss="time_to_loss" in self.objectives,
        )
        self.observer.trying(plan_changes(plan, self.space.default), self._progress(trials))
        if self.alone and self.used:
            self.pool.close()
        self.used = True
        begun = now()
        answer = self.pool.run(order, limit_s)
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
            drift=self.drift,
            values=values_of(answer, self.objectives, self.drift),
            violations=violations_of(answer, self.config.constraint),
            started=begun,
            elapsed_s=self.elapsed_s,
            owner=self.ledger.owner,
            candidate=key_of(plan) in self.space.plans,
        )
        require_values(trial, self.objectives, self.config.constraint, self.described.target)
        if not self.ledger.finish(claim, trial):
            self.observer.note(f"trial {trial.number} was given up by another process; was this one suspended?")
            return
        self.journal.add([trial])
        self.observer.trial(trial, self._progress([*trials, trial]))
        self.since_sentinel += 1

    def _progress(self, trials: Sequence[Trial]) -> Progress:
        expected = self.config.trials
        if expected is None and self.search.method == "grid":
            expected = len(self.space)
        best = next(iter(best_of(trials, self.objectives[0])), None)
        left_s = max(0.0, self.config.budget - self.elapsed_s)
        return Progress(len(trials), expected, best, left_s, self.elapsed_s)

    def _watch_drift(self, trials: Sequence[Trial]) -> None:
        """Measure the default plan again every few trials, to see whether the machine has changed."""
        first = next((t for t in trials if key_of(t.plan) == key_of(self.space.default)), None)
        if first is None or first.measurement is None or first.outcome is not Outcome.OK:
            return
        if self.since_sentinel < _SENTINEL_EVERY or time.monotonic() - self.sentinel_at < _SENTINEL_S:
            return
        self.sentinel_at, self.since_sentinel = time.monotonic(), 0
        order = Order(plan=first.plan, seconds=self.config.seconds, guard=False, latency=self.config.mode == "infer")
        answer = self.pool.run(order, self.config.limit_s)
        if answer.measurement is None:
            return
        then, today = first.measurement.throughput, answer.measurement.throughput
        ratio = today.median / then.median * first.drift
        self.sentinels.append(
            Sentinel(after_trial=trials[-1].number, elapsed_s=self.elapsed_s, throughput=today, drift=ratio)
        )
        # Within the noise of both measurements, a correction would add noise and take none away. A larger change is
        # no drift but a disturbance, which need not hold for the next trial or for other plans.
        sure = today.surely_below(then) or then.surely_below(today)
        self.drift = ratio if sure and abs(math.log(ratio)) <= _MOST_DRIFT else 1.0
        self.observer.sentinel(self.sentinels[-1])

    # The end

    def _finals(self, trials: Sequence[Trial]) -> list[Finalist]:
        chosen = best_of(trials, self.objectives[0])[: self.config.finalists]
        memory = self.described.fingerprint.memory_bytes
        entrants, default, baseline = taking_part(chosen, trials, self.space.default, self.space.baseline, memory)
        if not chosen:
            return []
        if not entrants:
            self.observer.note("the best plan and the default do not fit into memory together: not measured again")
            return []
        tag = str(len(trials))
        claim = self.ledger.claim_finals(tag, 10 * self.config.limit_s)
        while claim is None:
            if self.interrupt.asked:
                return []
            held = self.ledger.note(f"finals:{tag}")
            if held is not None:
                return [Finalist.model_validate(each) for each in held["finalists"]]
            if not self._wait_for_others():
                claim = self.ledger.claim_finals(tag, 10 * self.config.limit_s)
        # While the worker is there: a new one would have to load everything again.
        self.native_codes = {each.trial: self.pool.native_code(each.plan.model_dump()) for each in entrants}
        self.pool.close()
        by_number = {t.number: t for t in trials}
        self.observer.finals([by_number[each.trial] for each in entrants])
        found = run_finals(
            self.pool,
            entrants,
            default=default,
            baseline=baseline,
            seconds=min(_FINALS_S, 2 * self.config.seconds),
            limit_s=self.config.limit_s,
            until=self.began - self.before_s + self.config.budget,
            seed=self.config.seed,
            stop=lambda: self.interrupt.asked,
            latency=self.config.mode == "infer",
        )
        if not found:
            self.ledger.give_up(claim)
            return []
        judged = [revalued(each, by_number[each.trial], self.config.constraint) for each in found]
        self.ledger.finish_finals(claim, tag, {"finalists": [each.model_dump(mode="json") for each in judged]})
        return judged

    def _native_code(self, winner: Trial) -> str:
        known = self.native_codes.get(winner.number)
        return self.pool.native_code(winner.plan.model_dump()) if known is None else known

    def _ended(self, status: str, trials: Sequence[Trial], finalists: Sequence[Finalist]) -> Tuning:
        winner = winner_of(finalists, trials, self.objectives[0])
        rest = list(self.search.remaining(trials, self.ledger.taken()).values())
        gain: tuple[float | None, float | None] = (0.0, 0.0)
        if rest:  # one or two trials say nothing of the others
            gain = self.search.gain(trials, rest) if len(trials) > _FEWEST_FOR_GAIN else (None, None)
        tuning = summed_up(
            self.described,
            self.space,
            self.config,
            trials,
            finalists,
            winner,
            status=status,
            started=self.started,
            seconds=self.elapsed_s,
            config=self.keys,
            sentinels=tuple(self.sentinels),
            native_code=self._native_code(winner) if winner else "",
            searched=Searched(
                method="grid" if self.search.method == "grid" or not rest else "search",
                plans=len(self.space),
                tried=sum(t.candidate for t in trials),
                ruled_out=len(self.search.ruled_out(trials)),
                remaining=len(rest),
                remaining_s=float(self.search.costs(trials, rest).sum()) if rest else 0.0,
                likely_gain=gain[0],
                likely_gain_high=gain[1],
            ),
        )
        tuning = tuning.model_copy(update={"remembered": keep(tuning, self.folder)})
        tuning.write(self.folder)
        if winner is not None:
            write_best(self.folder, tuning, self.keys, winner.plan)
        try:
            write_report(tuning, self.folder)
        except HalError as error:  # the result is there, and counts for more than its page
            self.observer.note(f"no report: {error.message}")
        self.observer.ended(tuning, self.folder)
        return tuning


def _named(failure: Failure) -> HalError:
    """The error that the worker raised, again; or what became of the worker."""
    if hasattr(errors, str(failure.details.get("type"))):
        return error_from_name(
            failure.details["type"], str(failure.details.get("said", failure)), failure.details.get("fix")
        )
    return RunError(f"no worker could be started: {failure.message}", fix="try: hal bench with the same keys")
