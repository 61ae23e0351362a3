"""Samplers of Optuna, by name, as what chooses the next plan in place of hal's own search.

The trials stay in the study of the tuning. For each proposal, a sampler sees them as a study in memory, whose
parameters are the positions of a key's values in their order; what it asks for is replaced by the nearest plan that is
still untried. Failures count as worse than all that worked, because some samplers learn from nothing else.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from hal.contract.plan import Plan
from hal.errors import UnavailableError
from hal.tuner.ranking import merit
from hal.tuner.space import Space
from hal.tuner.trial_result import Objective, Sampler, Trial

if TYPE_CHECKING:
    import optuna

__all__ = ["OPTUNAS", "OptunaSampler", "check_sampler", "what_it_loads"]

OPTUNAS: tuple[Sampler, ...] = ("tpe", "gp", "random")

_NEEDED: Mapping[str, tuple[str, ...]] = {"gp": ("torch", "scipy")}
"""Packages that a sampler loads into the tuner's own process."""

_AT_RANDOM = 4
"""Plans that a sampler chooses at random before it trusts what it knows. Its own default, 10, is half a tuning."""


def check_sampler(name: Sampler) -> None:
    """Load what a sampler needs.

    Raises:
        UnavailableError: a package that it needs is not installed.
    """
    for package in _NEEDED.get(name, ()):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UnavailableError(
                f"sampler={name} needs the package {package} in the tuner's own process, and it cannot be imported: "
                f"{error}",
                fix=f"pip install {package}, or leave sampler= out to use hal's own search, which needs no framework",
            ) from error


def what_it_loads(name: Sampler) -> str:
    """A sentence about what a sampler loads into the tuner's own process; empty where it loads nothing."""
    packages = " and ".join(_NEEDED.get(name, ()))
    if not packages:
        return ""
    return f"sampler={name} loads {packages} into the tuner's own process, which otherwise loads no framework"


class OptunaSampler:
    """Chooses plans with a sampler of Optuna.

    Args:
        name: ``tpe``, ``gp`` or ``random``.
        space: all plans that can be tried.
        objectives: one objective, or several for a Pareto front.
        seed: seed of the choices; with the same seed and trials, the choice is the same.
    """

    def __init__(self, name: Sampler, space: Space, objectives: Sequence[Objective], seed: int) -> None:
        self._name, self._space, self._objectives, self._seed = name, space, tuple(objectives), seed
        self._distance = space.distance()
        self._values = {
            key: tuple(sorted(values, key=lambda value: self._distance.size(key, value)))
            for key, values in space.varied.items()
        }

    def choose(self, trials: Sequence[Trial], plans: Sequence[Plan]) -> Plan:
        """One of some plans.

        Args:
            trials: trials that have ended, in any order.
            plans: the plans to choose from, at least one.
        """
        rng = np.random.default_rng([self._seed, len(trials)])
        mixed = [plans[int(i)] for i in rng.permutation(len(plans))]
        if self._name == "random":
            return mixed[0]
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")  # Optuna calls what is new in it experimental
            sampler = self._sampler(int(rng.integers(2**31)))
            directions = [optuna.study.StudyDirection.MAXIMIZE for _ in self._objectives]
            study = optuna.create_study(directions=directions, sampler=sampler)
            study.add_trials(self._seen(trials))
            asked = study.ask(self._distributions()).params
        wanted = {key: values[asked[key]] for key, values in self._values.items()}
        # Of plans that are equally near, one at random.
        return self._distance.nearest(self._space.default.model_copy(update=wanted), mixed)

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        import optuna

        if self._name == "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_AT_RANDOM)
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=_AT_RANDOM)

    def _distributions(self) -> dict[str, Any]:
        """The positions of each key's values: a range where they have an order."""
        import optuna

        return {
            key: optuna.distributions.IntDistribution(0, len(values) - 1)
            if Plan.ordered(key)
            else optuna.distributions.CategoricalDistribution(range(len(values)))
            for key, values in self._values.items()
        }

    def _seen(self, trials: Sequence[Trial]) -> list[optuna.trial.FrozenTrial]:
        """The trials of plans of the space, with values that are larger for better."""
        import optuna

        ended = [t for t in trials if t.candidate]
        merits = {t.number: [merit(t, name) for name in self._objectives] for t in ended if t.feasible}
        known = {n: [value for value in row if value is not None] for n, row in merits.items() if None not in row}
        worst = [_below([row[i] for row in known.values()]) for i in range(len(self._objectives))]
        distributions = self._distributions()
        return [
            optuna.trial.create_trial(
                params={key: values.index(getattr(trial.plan, key)) for key, values in self._values.items()},
                distributions=distributions,
                values=known.get(trial.number, worst),
            )
            for trial in ended
        ]


def _below(merits: Sequence[float]) -> float:
    """A value that is worse than all that are known."""
    return min(merits) - 0.5 * max(max(merits) - min(merits), 0.2) if merits else 0.0
