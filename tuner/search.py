"""Which plan to try next: the most promising for its time, and never one that was tried or cannot work.

The first are the default plan, a stored plan for the same or a similar workload, and fp32 eager. After these, each
proposal is the plan with the highest expected improvement for its expected time, by the models of
:mod:`hal.tuner.surrogate`; where all plans fit into the time that is left, they are all tried, those of one compile
signature together.
docs/decisions/0004-surrogate.md compares this with a sampler of Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hal.contract.plan import Plan
from hal.tuner.distance import Floats
from hal.tuner.ranking import merit
from hal.tuner.samplers import OPTUNAS, OptunaSampler
from hal.tuner.space import Space, Value, costlier, key_of, memory_settings, signature_of
from hal.tuner.surrogate import GaussianProcess, expected_improvement
from hal.tuner.trial_result import Objective, Origin, Outcome, Sampler, Trial

__all__ = ["MOST_DRAWN", "Proposal", "Search"]

_FEWEST_FOR_GRID = 3
"""Number of trials after which the time of the other plans is estimated."""

_FEWEST_TO_SETTLE = 18
_SETTLED_GAIN = 0.005
"""The search ends when the untried plans are expected to improve the result by less than this share."""

MOST_DRAWN = 300
"""Plans whose joint gain is estimated."""

_DRAWS = 400
_EXPLORED_AT_RANDOM = 0.05
_FEWEST_TO_EXPLORE = 12
"""Share of proposals that are drawn at random, because the model can be wrong, once so many plans have worked."""


@dataclass(frozen=True)
class Proposal:
    """A plan to try, and why."""

    plan: Plan
    origin: Origin


class Search:
    """Proposes plans from the trials so far.

    Args:
        space: all plans that can be tried.
        objectives: one objective, or several for a Pareto front.
        first: plans to try before all others, after the default.
        seed: seed of all random choices.
        sampler: what chooses the plans after the first ones: ``hal`` is the search described above, ``brute`` takes
            every plan in order, and the others are Optuna's.
        estimates: plans are built and nothing runs. Where nothing is known to choose by, take the smallest batch: a
            build of a larger one takes longer, and one that does not fit rules out all larger ones. No plan is tried
            only to compare with.

    Attributes:
        outside: number of plans that are tried only for comparison and are not in the space.
        method: grid while all plans are tried, otherwise search.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        first: Sequence[Proposal],
        seed: int,
        *,
        sampler: Sampler = "hal",
        estimates: bool = False,
    ) -> None:
        self._space, self._objectives = space, tuple(objectives)
        baseline = [] if estimates else [Proposal(space.baseline, "baseline")]
        self._first = [Proposal(space.default, "default"), *first, *baseline]
        self.outside = len({key_of(each.plan) for each in self._first} - set(space.plans))
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self._sampler, self._estimates = sampler, estimates
        self._distance = space.distance()
        self._settings = {key: memory_settings(plan) for key, plan in space.plans.items()}
        self._other = OptunaSampler(sampler, space, objectives, seed) if sampler in OPTUNAS else None
        self.method: Literal["grid", "search"] = "grid" if sampler == "brute" else "search"

    def ruled_out(self, trials: Sequence[Trial]) -> set[str]:
        """Keys of untried plans that need as much memory as one that ran out of it."""
        failed: dict[tuple[Value, ...], list[Plan]] = {}
        for trial in trials:
            if trial.outcome is Outcome.OOM:
                failed.setdefault(memory_settings(trial.plan), []).append(trial.plan)
        tried = {key_of(t.plan) for t in trials}
        return {
            key
            for key, plan in self._space.plans.items()
            if key not in tried and any(costlier(plan, each) for each in failed.get(self._settings[key], ()))
        }

    def remaining(self, trials: Sequence[Trial], taken: set[str]) -> dict[str, Plan]:
        """Plans that may still be tried.

        Args:
            trials: trials that have ended.
            taken: keys of plans that a process is trying now.
        """
        gone = {key_of(t.plan) for t in trials} | taken | self.ruled_out(trials)
        return {key: plan for key, plan in self._space.plans.items() if key not in gone}

    def next(self, trials: Sequence[Trial], taken: set[str], left_s: float, most: int | None) -> Proposal | None:
        """The plan to try now; None if no plan is left, or none is worth its time.

        Args:
            trials: trials that have ended, in any order.
            taken: keys of plans that a process is trying now.
            left_s: seconds left for trials.
            most: number of trials that may still begin; None for no limit.
        """
        tried = {key_of(t.plan) for t in trials} | taken
        for proposal in self._first:
            if key_of(proposal.plan) not in tried:
                return proposal
        rest = self.remaining(trials, taken)
        if not rest:
            return None
        plans = list(rest.values())
        if self._sampler == "brute":
            return Proposal(plans[0], "grid")
        costs = self.costs(trials, plans)
        if self._sampler == "hal" and (most is None or most >= len(plans)):
            enough = len(trials) >= _FEWEST_FOR_GRID and float(costs.sum()) <= left_s
            if enough or (self.method == "grid" and float(costs.sum()) <= 1.5 * left_s):
                self.method = "grid"
                return Proposal(self._in_groups(trials, plans), "grid")
        affordable = [i for i, cost in enumerate(costs) if cost <= left_s]
        self.method = "search"
        if not affordable:
            return None
        plans, costs = [plans[i] for i in affordable], costs[affordable]
        plan = self._chosen(trials, plans, costs) if self._other is None else self._other.choose(trials, plans)
        return None if plan is None else Proposal(plan, "search")

    def _chosen(self, trials: Sequence[Trial], plans: Sequence[Plan], costs: Floats) -> Plan | None:
        """The most promising plan for its time; None if none is worth it."""
        known = self._scored(trials)
        able = sum(score is not None for _, score in known)
        if able == 0 or (self._estimates and len(trials) < _FEWEST_FOR_GRID):
            return self._any(plans)
        if able >= _FEWEST_TO_EXPLORE and self._rng.random() < _EXPLORED_AT_RANDOM:
            weights = 1 / costs
            return plans[int(self._rng.choice(len(plans), p=weights / weights.sum()))]
        model, best = self._model(known)
        if self._may_settle(able) and self._drawn_gain(model, best, plans)[0] < _SETTLED_GAIN:
            return None
        gain = expected_improvement(*model.predict(self._distance.codes(plans)), best)
        return plans[int(np.argmax(gain / costs))]

    def settled(self, trials: Sequence[Trial], plans: Sequence[Plan]) -> bool:
        """Whether untried plans promise too little to continue.

        Never true for several objectives, nor for another sampler than hal's own, which knows no such rule.
        """
        able = sum(t.feasible for t in trials)
        return self._may_settle(able) and self.gain(trials, plans)[0] < _SETTLED_GAIN

    def _may_settle(self, able: int) -> bool:
        return len(self._objectives) == 1 and self._sampler == "hal" and able >= _FEWEST_TO_SETTLE

    def costs(self, trials: Sequence[Trial], plans: Sequence[Plan]) -> Floats:
        """Expected seconds of a trial of each plan."""
        timed = [(t.plan, math.log(max(t.phases.wall_s, 1e-3))) for t in trials if t.phases.wall_s > 0]
        if not timed:
            return np.ones(len(plans))
        points = self._distance.codes([plan for plan, _ in timed])
        model = GaussianProcess(self._distance, points, [value for _, value in timed], noise=0.2, seed=self._seed)
        mean, deviation = model.predict(self._distance.codes(plans))
        found: Floats = np.exp(mean + 0.25 * deviation**2)
        return found

    def gain(self, trials: Sequence[Trial], plans: Sequence[Plan]) -> tuple[float, float]:
        """What trying some plans is expected to bring over the best so far, as a share: mean and 95th percentile."""
        known = self._scored(trials)
        if not plans or all(score is None for _, score in known):
            return 0.0, 0.0
        return self._drawn_gain(*self._model(known), plans)

    def _drawn_gain(self, model: GaussianProcess, best: float, plans: Sequence[Plan]) -> tuple[float, float]:
        """The gain by joint draws.

        Of many plans, the most promising alone are drawn: the others hardly ever hold the best, and the work of a joint
        draw grows with the cube of their number.
        """
        points = self._distance.codes(plans)
        if len(points) > MOST_DRAWN:
            mean, deviation = model.predict(points)
            points = points[np.argsort(-(mean + 2 * deviation), kind="stable")[:MOST_DRAWN]]
        drawn = model.draw(points, _DRAWS, self._seed)
        gains = np.expm1(np.clip(drawn.max(axis=1) - best, 0.0, 5.0))
        return float(gains.mean()), float(np.quantile(gains, 0.95))

    def _scored(self, trials: Sequence[Trial]) -> list[tuple[Plan, float | None]]:
        """Each trial's merit by one objective, or by a random weighting of several; None where it cannot win.

        Knowles, ParEGO, IEEE Transactions on Evolutionary Computation 10 (2006).
        """
        able = [t for t in trials if t.feasible and all(merit(t, name) is not None for name in self._objectives)]
        table = np.array([[merit(t, name) or 0.0 for name in self._objectives] for t in able])
        scores: dict[int, float] = {}
        if able and len(self._objectives) == 1:
            scores = {t.number: float(row[0]) for t, row in zip(able, table, strict=True)}
        elif able:
            low, high = table.min(axis=0), table.max(axis=0)
            unit = (table - low) / np.where(high > low, high - low, 1.0)
            weights = self._rng.dirichlet(np.ones(len(self._objectives)))
            mixed = (weights * unit).min(axis=1) + 0.05 * (weights * unit).sum(axis=1)
            scores = {t.number: float(score) for t, score in zip(able, mixed, strict=True)}
        return [(t.plan, scores.get(t.number)) for t in trials if t.candidate]

    def _model(self, known: Sequence[tuple[Plan, float | None]]) -> tuple[GaussianProcess, float]:
        """A model of the merit, with what failed taken for worse than all that worked."""
        good = [score for _, score in known if score is not None]
        worst = min(good) - 0.5 * max(max(good) - min(good), 0.2)
        points = self._distance.codes([plan for plan, _ in known])
        # Far below the best, differences do not matter, and would make the model too wide near it.
        floor = max(good) - 1.5
        values = [max(worst if score is None else score, floor) for _, score in known]
        model = GaussianProcess(self._distance, points, values, noise=0.015, seed=self._seed)
        mean, _ = model.predict(points[[score is not None for _, score in known]])
        return model, float(mean.max())

    def _in_groups(self, trials: Sequence[Trial], plans: Sequence[Plan]) -> Plan:
        """The next of all plans: one of the signature that was run last, else of a random one."""
        if trials:
            last = signature_of(trials[-1].plan)
            same = [plan for plan in plans if signature_of(plan) == last]
            if same:
                return same[0]
        return self._any(plans)

    def _any(self, plans: Sequence[Plan]) -> Plan:
        if self._estimates:
            smallest = min(plan.batch for plan in plans)
            plans = [plan for plan in plans if plan.batch == smallest]
        return plans[int(self._rng.integers(len(plans)))]
