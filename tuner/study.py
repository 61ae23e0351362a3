"""The trials of a study in Optuna's storage: the one place that says which plans were tried and who tries which.

Several processes may share a storage. A plan is claimed by creating a running trial that carries its key: storages
create a trial whole and number it, so of two claims to one plan both processes see both, and the lower number holds.
The result is written into the trial before its state is changed, so a process that is killed in between loses
nothing: whoever opens the study next finishes what it finds written, and gives up claims whose owner is gone.
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
from hal.tuner.result import OBJECTIVES, Objective, Outcome, Trial
from hal.tuner.space import Value, key_of
from hal.tuner.storage import open_study

if TYPE_CHECKING:
    import optuna

__all__ = ["Claim", "Study", "owner"]

_KEY, _OWNER, _EXPIRES, _RESULT, _KIND = "hal:key", "hal:owner", "hal:expires", "hal:trial", "hal:kind"
_OUTCOME = "outcome"
"""In words, for people in front of a dashboard."""

_CONSTRAINTS = "constraints"
"""Where Optuna keeps what is positive if a constraint is broken."""

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
            "the storage holds trials that this version of hal cannot read", fix="give another storage= or out="
        ) from error


@dataclass(frozen=True)
class Claim:
    """The right to try a plan; ``number`` is that of the trial."""

    number: int
    trial_id: int


class Study:
    """A study.

    Args:
        storage: URL of an Optuna storage, or ``journal:FILE``.
        name: of the study; processes that give the same name and storage work on one.
        objectives: what is optimised.
        dimensions: values of each plan key.
        private: no other host works on it; claims of others that cannot be seen are of those that are gone.

    Raises:
        ConfigError: the storage cannot be opened so, or holds another study under this name.
        UnavailableError: its server does not answer, or its driver is not installed.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        objectives: Sequence[Objective],
        dimensions: Mapping[str, Sequence[Value]],
        *,
        private: bool = False,
    ) -> None:
        import optuna

        self._optuna: Any = optuna
        self._objectives = tuple(objectives)
        self._dimensions = {name: tuple(values) for name, values in dimensions.items() if len(values) > 1}
        self._study, self.close = open_study(storage, name, [OBJECTIVES[each][1] for each in self._objectives])
        with warnings.catch_warnings(), contextlib.suppress(Exception):  # names for a dashboard
            warnings.simplefilter("ignore")
            self._study.set_metric_names(list(self._objectives))
        self.owner, self._private = owner(), private

    # Reading

    def trials(self) -> list[Trial]:
        """All plans that were tried to an end, by number."""
        found = []
        for each in self._all():
            written = each.user_attrs.get(_RESULT)
            if each.state.is_finished() and written:
                found.append(_read(written))
        return sorted(found, key=lambda t: t.number)

    def taken(self) -> set[str]:
        """Keys of plans that someone is trying."""
        return {each.user_attrs[_KEY] for each in self._running()}

    def running_elsewhere(self) -> int:
        """How many trials other processes are at."""
        return sum(each.user_attrs.get(_OWNER) != self.owner for each in self._running())

    def note(self, name: str) -> Any:
        """What was noted under a name; None: nothing."""
        return self._study.user_attrs.get(f"hal:{name}")

    def write_note(self, name: str, value: Any) -> None:
        """Note something that is no trial."""
        self._study.set_user_attr(f"hal:{name}", value)

    def _all(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _running(self) -> Iterator[optuna.trial.FrozenTrial]:
        for each in self._all():
            if not each.state.is_finished() and _KEY in each.user_attrs:
                yield each

    # Claims

    def claim(self, plan: Plan, expires_s: float, most: int | None = None) -> Claim | None:
        """Claim a plan; None: another process was first, or as many trials as allowed have begun.

        Args:
            plan: what is to be tried.
            expires_s: after so many seconds nobody can still be at it.
            most: trials that the study may have; None: any number.
        """
        params = {name: getattr(plan, name) for name in self._dimensions}
        return self._claimed(key_of(plan), _PLAN, params, expires_s, most)

    def claim_finals(self, tag: str, expires_s: float) -> Claim | None:
        """Claim the last measurements; None: another process is at them or has done them.

        Args:
            tag: tells those after more trials apart.
            expires_s: after so many seconds nobody can still be at them.
        """
        return self._claimed(f"{_FINALS}:{tag}", _FINALS, {}, expires_s, None)

    def _claimed(
        self, key: str, kind: str, params: Mapping[str, Value], expires_s: float, most: int | None
    ) -> Claim | None:
        optuna = self._optuna
        known = {name: value for name, value in params.items() if value in self._dimensions[name]}
        template = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=known,
            distributions={
                name: optuna.distributions.CategoricalDistribution(self._dimensions[name]) for name in known
            },
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
        """Whether a trial is at work or has a result; not so claims that were given up."""
        if trial.user_attrs.get(_KIND) != kind:
            return False
        return not trial.state.is_finished() or _RESULT in trial.user_attrs

    def release(self, claim: Claim) -> None:
        """Take a claim back."""
        with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
            self._study._storage.set_trial_user_attr(claim.trial_id, _OUTCOME, "given up; it says nothing of its plan")
        self._end(claim.trial_id, self._optuna.trial.TrialState.FAIL, None)

    # Results

    def finish(self, claim: Claim, trial: Trial) -> bool:
        """Write a trial's result; false: another process has given up the claim, and the plan is tried again."""
        try:
            self._study._storage.set_trial_user_attr(claim.trial_id, _RESULT, trial.model_dump_json())
        except self._optuna.exceptions.UpdateFinishedTrialError:
            return False
        self._tell(claim.trial_id, trial)
        return True

    def finish_finals(self, claim: Claim, tag: str, held: Mapping[str, Any]) -> None:
        """Write what the last measurements found."""
        self.write_note(f"{_FINALS}:{tag}", json.loads(json.dumps(held)))
        with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
            self._study._storage.set_trial_user_attr(claim.trial_id, _RESULT, "")
            said = "the last measurements, of no plan alone"
            self._study._storage.set_trial_user_attr(claim.trial_id, _OUTCOME, said)
        self._end(claim.trial_id, self._optuna.trial.TrialState.PRUNED, None)

    def _tell(self, trial_id: int, trial: Trial) -> None:
        """End a trial so that a dashboard shows what became of it."""
        states = self._optuna.trial.TrialState
        values = [trial.values.get(name) for name in self._objectives]
        whole = trial.outcome is Outcome.OK and all(value is not None for value in values)
        said = "ok"
        if trial.cut_short:
            said = "cut short: surely not the best"
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

    def recover(self) -> int:
        """Finish what is written, give up claims whose owner is gone; how many claims were given up."""
        given_up = 0
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
                given_up += 1
        return given_up
