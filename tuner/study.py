"""The trials of a study in Optuna's storage: which plans were tried, and which process tries which.

Several processes may share a storage. A plan is claimed by creating a running trial that carries its key: storages
create a trial whole and number it, so of two claims to one plan both processes see both, and the lower number holds.
The result is written into the trial before its state is changed, so a process that is killed in between loses
nothing: whoever opens the study next finishes what it finds written, and reclaims plans whose owner has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
from pydantic import ValidationError

from hal.contract.plan import Plan
from hal.errors import ConfigError
from hal.tuner.space import Value, key_of
from hal.tuner.storage import damage_explained, open_study
from hal.tuner.trial_result import OBJECTIVES, Objective, Outcome, Trial

if TYPE_CHECKING:
    import optuna

__all__ = ["Claim", "Study", "owner"]

_KEY, _OWNER, _EXPIRES, _RESULT, _KIND = "hal:key", "hal:owner", "hal:expires", "hal:trial", "hal:kind"
_OUTCOME = "outcome"
"""The outcome in words, for people who look at the study in a dashboard."""

_CONSTRAINTS = "constraints"
"""The attribute in which Optuna expects a positive number for each broken constraint."""

_PLAN, _FINALS = "plan", "finals"


def owner() -> str:
    """This process, so that another on the same host can see whether it is still there."""
    return f"{_host()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def _host() -> str:
    """Where a process number means this process: the host, or a container on it that has numbers of its own."""
    numbers = ""
    with contextlib.suppress(OSError):
        numbers = os.readlink("/proc/self/ns/pid").removeprefix("pid:")
    return socket.gethostname() + numbers


def _gone(name: str) -> bool | None:
    """Whether an owner has ended; None: it is on another host."""
    host, _, rest = name.partition("/")
    pid, _, created = rest.partition("/")
    if host != _host():
        return None
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(created)) > 0.05
    except (psutil.Error, ValueError):
        return True


def _read(written: str) -> Trial:
    """A trial from a storage.

    Raises:
        ConfigError: another version of hal wrote it.
    """
    try:
        return Trial.model_validate_json(written)
    except ValidationError as error:
        raise ConfigError(
            "the storage holds trials of another version of hal, which this version cannot read",
            fix="give another storage= or out=",
        ) from error


@dataclass(frozen=True)
class Claim:
    """The right to try a plan; ``number`` is that of the trial."""

    number: int
    trial_id: int


class Study:
    """The trials of one study in Optuna's storage.

    Args:
        storage: URL of an Optuna storage, or ``journal:FILE``.
        name: of the study; processes that give the same name and storage work on one.
        objectives: what is optimized.
        varied: keys that differ between plans, with their values in an order that is the same in all processes.
        private: no other host uses the storage, so a claim of an unknown process is one of a process that has ended.

    Raises:
        ConfigError: the storage cannot be opened, or holds another study of this name.
        UnavailableError: its server does not answer, or its driver is not installed.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        objectives: Sequence[Objective],
        varied: Mapping[str, Sequence[Value]],
        *,
        private: bool = False,
    ) -> None:
        import optuna

        self._optuna: Any = optuna
        self._objectives = tuple(objectives)
        self._varied = {name: tuple(values) for name, values in varied.items()}
        self._study, self.close = open_study(storage, name, [OBJECTIVES[each][1] for each in self._objectives])
        with warnings.catch_warnings(), contextlib.suppress(Exception):  # names for a dashboard
            warnings.simplefilter("ignore")
            self._study.set_metric_names(list(self._objectives))
        self.owner, self._private = owner(), private
        self._known: dict[str, Trial] = {}

    # Reading

    @damage_explained
    def trials(self) -> list[Trial]:
        """All trials that have a result, by number."""
        found = []
        for each in self._all():
            written = each.user_attrs.get(_RESULT)
            if each.state.is_finished() and written:
                trial = self._trial_of(written)
                if trial.number != each.number:
                    raise ValueError(f"trial {each.number} has the result of trial {trial.number}")
                found.append(trial)
        return sorted(found, key=lambda t: t.number)

    @damage_explained
    def taken(self) -> set[str]:
        """Keys of plans that a process is trying now."""
        return {each.user_attrs[_KEY] for each in self._running()}

    @damage_explained
    def running_elsewhere(self) -> int:
        """How many trials other processes are running now."""
        return sum(each.user_attrs.get(_OWNER) != self.owner for each in self._running())

    @damage_explained
    def note(self, name: str) -> Any:
        """What was noted under a name; None: nothing."""
        return self._study.user_attrs.get(f"hal:{name}")

    @damage_explained
    def write_note(self, name: str, value: Any) -> None:
        """Note something that is no trial."""
        self._study.set_user_attr(f"hal:{name}", value)

    @damage_explained
    def names(self) -> list[str]:
        """The names of all studies in the storage."""
        return list(self._optuna.get_all_study_names(self._study._storage))

    def _trial_of(self, written: str) -> Trial:
        """A result as it was written, read once: it is asked for after every trial, and does not change."""
        if written not in self._known:
            self._known[written] = _read(written)
        return self._known[written]

    def _all(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _running(self) -> Iterator[optuna.trial.FrozenTrial]:
        for each in self._all():
            if not each.state.is_finished() and _KEY in each.user_attrs:
                yield each

    # Claims

    @damage_explained
    def claim(self, plan: Plan, expires_s: float, most: int | None = None) -> Claim | None:
        """Claim a plan; None if another process was first, or if the allowed number of trials has begun.

        Args:
            plan: the plan to try.
            expires_s: seconds after which the claim is void.
            most: largest number of trials in the study; None for no limit.
        """
        params = {name: getattr(plan, name) for name in self._varied}
        return self._claimed(key_of(plan), _PLAN, params, expires_s, most)

    @damage_explained
    def claim_finals(self, tag: str, expires_s: float) -> Claim | None:
        """Claim the final measurements; None if another process makes them now or has made them.

        Args:
            tag: tells apart final measurements after different numbers of trials.
            expires_s: seconds after which the claim is void.
        """
        return self._claimed(f"{_FINALS}:{tag}", _FINALS, {}, expires_s, None)

    def _claimed(
        self, key: str, kind: str, params: Mapping[str, Value], expires_s: float, most: int | None
    ) -> Claim | None:
        optuna = self._optuna
        known = {name: value for name, value in params.items() if value in self._varied[name]}
        template = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=known,
            distributions={name: optuna.distributions.CategoricalDistribution(self._varied[name]) for name in known},
            user_attrs={_KEY: key, _OWNER: self.owner, _KIND: kind, _EXPIRES: time.time() + expires_s},
        )
        # create_new_trial, since Study.add_trial does not say which number the trial got.
        storage, study_id = self._study._storage, self._study._study_id
        trial_id = storage.create_new_trial(study_id, template_trial=template)
        mine = storage.get_trial(trial_id)
        held = [each for each in self._all() if each.number < mine.number and self._counts(each, kind)]
        if any(each.user_attrs.get(_KEY) == key for each in held) or (most is not None and len(held) >= most):
            self.release(Claim(mine.number, trial_id))
            return None
        return Claim(mine.number, trial_id)

    def _counts(self, trial: optuna.trial.FrozenTrial, kind: str) -> bool:
        """Whether a trial is at work or has a result; claims that were released do not count."""
        if trial.user_attrs.get(_KIND) != kind:
            return False
        return not trial.state.is_finished() or _RESULT in trial.user_attrs

    @damage_explained
    def release(self, claim: Claim) -> None:
        """Release a claim, so that the plan can be tried again."""
        with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
            self._study._storage.set_trial_user_attr(
                claim.trial_id, _OUTCOME, "another process reclaimed the trial before it had a result"
            )
        self._end(claim.trial_id, self._optuna.trial.TrialState.FAIL, None)

    # Results

    @damage_explained
    def finish(self, claim: Claim, trial: Trial) -> bool:
        """Write a trial's result; false if another process has reclaimed the plan meanwhile."""
        try:
            self._study._storage.set_trial_user_attr(claim.trial_id, _RESULT, trial.model_dump_json())
        except self._optuna.exceptions.UpdateFinishedTrialError:
            return False
        self._tell(claim.trial_id, trial)
        return True

    @damage_explained
    def finish_finals(self, claim: Claim, tag: str, held: Mapping[str, Any]) -> None:
        """Write the results of the final measurements."""
        self.write_note(f"{_FINALS}:{tag}", json.loads(json.dumps(held)))
        with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
            self._study._storage.set_trial_user_attr(claim.trial_id, _RESULT, "")
            said = "the final measurements of the best plans in turn, which are not a trial of one plan"
            self._study._storage.set_trial_user_attr(claim.trial_id, _OUTCOME, said)
        self._end(claim.trial_id, self._optuna.trial.TrialState.PRUNED, None)

    def _tell(self, trial_id: int, trial: Trial) -> None:
        """End a trial so that a dashboard shows what became of it."""
        states = self._optuna.trial.TrialState
        values = [trial.values.get(name) for name in self._objectives]
        whole = trial.outcome is Outcome.OK and all(value is not None for value in values)
        said = "ok"
        if trial.cut_short:
            said = "stopped early: certainly slower than the best plan"
        elif trial.outcome is not Outcome.OK:
            said = f"{trial.outcome.value}: {trial.message}"
        with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
            self._study._storage.set_trial_user_attr(trial_id, _OUTCOME, said)
            if trial.violations:
                broken = [ratio - 1 for ratio in trial.violations.values()]
                self._study._storage.set_trial_system_attr(trial_id, _CONSTRAINTS, broken)
        if trial.cut_short:
            self._end(trial_id, states.PRUNED, None)
        else:
            self._end(trial_id, states.COMPLETE if whole else states.FAIL, values if whole else None)

    def _end(self, trial_id: int, state: Any, values: Any) -> None:
        with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
            self._study._storage.set_trial_state_values(trial_id, state=state, values=values)

    # After a kill

    @damage_explained
    def recover(self) -> int:
        """Finish trials whose result is written, reclaim plans whose owner has ended; the number of plans reclaimed."""
        reclaimed = 0
        for each in list(self._running()):
            gone = _gone(str(each.user_attrs.get(_OWNER)))
            late = time.time() > float(each.user_attrs.get(_EXPIRES, 0))
            if gone is False or (gone is None and not late and not self._private):
                continue
            written = each.user_attrs.get(_RESULT)
            if written:
                self._tell(each._trial_id, _read(written))
            else:
                self.release(Claim(each.number, each._trial_id))
                reclaimed += 1
        return reclaimed
