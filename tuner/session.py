"""A tuning that is open: what its parts share, and how it is begun or resumed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hal import __version__
from hal.config import PlanKeys
from hal.contract.plan import Plan
from hal.errors import ConfigError
from hal.job.stored_plans import find, nearest
from hal.run.interrupt import Interrupt
from hal.run.record import now
from hal.tuner.config import TuneConfig
from hal.tuner.files import Journal, write_config, writing
from hal.tuner.messages import Description
from hal.tuner.observer import TuneObserver
from hal.tuner.pool import Pool
from hal.tuner.samplers import what_it_loads
from hal.tuner.search import Proposal, Search
from hal.tuner.space import Space, key_of
from hal.tuner.study import Study
from hal.tuner.trial_result import Trial

__all__ = ["TuningSession"]

_MOST_SEEDS = 3
"""Stored plans that a tuning begins with. Three bring much more than one, and each costs a trial."""


class TuningSession:
    """The study, the folder, the space, the workers and the clock of one tuning.

    Creating one opens the study, finishes what an earlier process has left in it, and writes the keys to the folder.

    Args:
        config: the keys of the tuning, validated.
        keys: the keys as they were given, without a password.
        described: what a worker says about the device and the workload.
        pool: runs the trials.
        folder: takes the results.
        storage: URL of the Optuna storage.
        observer: told what happens.
        interrupt: says whether the user asked to stop.
        began: value of :func:`time.monotonic` when the command began.

    Attributes:
        objectives: what is optimized, the first objective decides.
        space: all plans that can be tried.
        study: the trials in the storage.
        journal: the trials in the folder.
        search: proposes plans.
        started: when this process began, ISO 8601.
        ends_at: value of :func:`time.monotonic` at which the budget is used up.

    Raises:
        ConfigError: the keys contradict each other, or the study to resume is not there.
        UnavailableError: the server of the storage does not answer, or its driver is not installed.
        RunError: the folder cannot be written to.
    """

    def __init__(
        self,
        config: TuneConfig,
        keys: dict[str, Any],
        described: Description,
        pool: Pool,
        folder: Path,
        storage: str,
        observer: TuneObserver,
        interrupt: Interrupt,
        began: float,
    ) -> None:
        self.config, self.keys, self.described, self.pool = config, keys, described, pool
        self.folder, self.observer, self.interrupt = folder, observer, interrupt
        self.objectives = config.objective
        fixed = PlanKeys.model_validate(config.given())
        self.space = Space(described, fixed, config.space, self.objectives)
        private = config.storage is None
        name = _study_name(described, self.space, config)
        self.study = Study(storage, name, self.objectives, self.space.varied, private=private)
        self.study.recover()
        with writing(folder):
            self.journal = Journal(folder)
        earlier = self.study.trials()
        if config.resume is not None and self.journal.numbers and not earlier:
            raise ConfigError(
                f"the trials in {folder} cannot be continued: they were made on another device or with other versions "
                "of hal or its libraries, or their storage no longer exists",
                fix="start a new tuning without resume=",
            )
        with writing(folder):
            write_config(folder, {name: value for name, value in keys.items() if name not in ("resume", "out")})
        self._recorded = True
        self.record(earlier)
        before_s = max((t.elapsed_s for t in earlier), default=0.0) if private else 0.0
        self.started, self._zero = now(), began - before_s
        seeds = _seeds(described, config, self.space)
        self.search = Search(
            self.space,
            self.objectives,
            [Proposal(plan, "stored") for plan, _ in seeds],
            config.seed,
            sampler=config.sampler,
            estimates=described.target is not None,
        )
        observer.started(described, self.space, folder, len(earlier))
        notes = [what_it_loads(config.sampler), *self._other_studies(name), *(said for _, said in seeds)]
        for text in dict.fromkeys(filter(None, notes)):  # two seeds may come from equal circumstances
            observer.note(text)

    def _other_studies(self, name: str) -> list[str]:
        """A sentence if the storage holds studies of the same question that have other plans to choose from."""
        if not any(each != name and _question(each) == _question(name) for each in self.study.names()):
            return []
        return [
            "the storage also holds a tuning of this workload that chooses from other plans, because space= or a fixed "
            "key differs; its trials are not used here"
        ]

    def record(self, trials: Sequence[Trial]) -> None:
        """Copy trials to ``trials.jsonl``; the first time that this fails is noted, since the study has them."""
        try:
            self.journal.add(trials)
        except OSError as error:
            if self._recorded:
                self.observer.note(f"cannot write {error.filename}: {error.strerror}; the study still holds the trials")
            self._recorded = False

    @property
    def elapsed_s(self) -> float:
        """Seconds since the tuning began, without the time between an interruption and a resumption."""
        return time.monotonic() - self._zero

    @property
    def ends_at(self) -> float:
        """The value of :func:`time.monotonic` at which the budget is used up."""
        return self._zero + self.config.budget

    def wait_for_others(self) -> bool:
        """Wait a little if other processes run trials of the study; false if none does."""
        if not self.study.running_elsewhere():
            return False
        time.sleep(0.2)
        self.study.recover()
        return True


def _study_name(described: Description, space: Space, config: TuneConfig) -> str:
    """A name that is equal for processes that may share a study.

    They ask the same question on the same kind of hardware, which the first digest stands for, and choose from the same
    plans, which the second stands for.
    """
    here = described.fingerprint
    asked: dict[str, Any] = {
        "objectives": config.objective,
        "constraint": config.constraint.model_dump(),
        "device": [here.backend, here.kind, here.vendor, here.arch, here.name],
        "workload": [here.model, here.mode, here.input_shape, here.structure, described.workload.data],
        "versions": {**here.versions, "hal": __version__},
    }
    if described.target is not None:
        asked["estimated for"] = described.target
    return f"hal-{Path(here.model).stem}-{here.backend}-{_digest(asked)}-{_digest(sorted(space.plans))}"


def _question(name: str) -> str:
    """The part of a study's name that does not depend on the plans."""
    return name.rpartition("-")[0]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _seeds(described: Description, config: TuneConfig, space: Space) -> list[tuple[Plan, str]]:
    """Stored plans to begin with, and a sentence about each: the plan for exactly this, or those for the most similar.

    A plan that the space does not hold stands for the nearest that it holds. None helps an estimate.
    """
    if described.target is not None:
        return []
    same = find(described.fingerprint, config.objective[0])
    near = nearest(described.fingerprint, config.objective[0], any_model=True) if same is None else (same,)
    distance, plans = space.distance(), list(space.plans.values())
    found: list[tuple[Plan, str]] = []
    for each in near:
        plan = each.plan if key_of(each.plan) in space.plans else distance.nearest(each.plan, plans)
        if plan in [seed for seed, _ in found] or (plan == space.default and same is None):
            continue
        changed = ", ".join(each.fingerprint.differences(described.fingerprint))
        said = f"with another {changed}" if changed else "here before"
        like = "a plan" if plan == each.plan else "the plan nearest to one"
        found.append((plan, f"the search also tries {like} of {each.when[:10]} that was found {said}"))
        if len(found) == _MOST_SEEDS:
            break
    return found
