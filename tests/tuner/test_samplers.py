"""Samplers by name: other choices, the same trials, claims, guard and final measurements."""

import builtins

import pytest
from tuner_helpers import Seen, config, description, fake_tune
from typer.testing import CliRunner

from hal.cli.app import app
from hal.config import PlanKeys
from hal.errors import ConfigError, UnavailableError
from hal.tuner import resumed
from hal.tuner.config import SAMPLERS, SpaceSection
from hal.tuner.samplers import OPTUNAS, OptunaSampler, check_sampler
from hal.tuner.search import Search
from hal.tuner.space import Space, key_of
from hal.tuner.trial_result import Outcome, Trial

SPACE = {"threads": [None], "compile": ["eager", "default"], "batch": [16, 64, 256]}
PLANS = 12


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_tuning_with_each(monkeypatch, tmp_path, sampler):
    """Every plan once, the default first, failures kept, the winner measured again and stored."""
    faults = {"batch=256 precision=bf16": "oom", "batch=16 compile=default": "compile"}
    found = fake_tune(monkeypatch, tmp_path, faults, sampler=sampler, space=SPACE, trials=PLANS, budget=600.0)
    assert found.searched.sampler == sampler
    assert found.trials[0].plan == found.default
    assert len({key_of(t.plan) for t in found.trials}) == len(found.trials)
    assert {t.outcome for t in found.trials} == {Outcome.OK, Outcome.OOM, Outcome.COMPILE}
    assert found.searched.remaining == 0, "so few plans are all tried, in whatever order"
    assert (found.winner.batch, found.winner.precision, found.winner.compile) == (64, "bf16", "default")
    assert found.finalists
    assert found.remembered


def test_every_plan_in_order(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path, sampler="brute", space=SPACE, budget=600.0)
    assert (found.status, found.searched.method) == ("done", "grid")
    space = Space(description(), PlanKeys(), SpaceSection(**SPACE), ("throughput",))
    assert [key_of(t.plan) for t in found.trials] == list(space.plans)


def test_brute_ends_with_the_trials(monkeypatch, tmp_path):
    found = fake_tune(monkeypatch, tmp_path, sampler="brute", trials=3)
    assert (found.status, len(found.trials)) == ("trials", 3)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_no_other_sampler_settles(sampler):
    """The rule that ends a search early is one of hal's own model."""
    space = Space(description(), PlanKeys(), SpaceSection(), ("throughput",))
    speeds = {key: 100 * p.batch * (1 + (p.precision == "bf16")) for key, p in space.plans.items()}
    *best, last = sorted(space.plans, key=lambda key: -speeds[key])
    trials = [ended(i, space.plans[key], speeds[key]) for i, key in enumerate(best)]
    rest = [space.plans[last]]
    assert Search(space, ("throughput",), [], 0).settled(trials, rest)
    assert not Search(space, ("throughput",), [], 0, sampler=sampler).settled(trials, rest)


def ended(number, plan, throughput=None, memory=None):
    values = {} if throughput is None else {"throughput": throughput}
    values |= {} if memory is None else {"memory": memory}
    outcome = Outcome.OK if values else Outcome.CRASH
    return Trial(number=number, plan=plan, origin="search", outcome=outcome, values=values, started="")


@pytest.mark.parametrize("sampler", OPTUNAS)
def test_they_learn_and_repeat_themselves(sampler):
    """The same trials and seed give the same choice; what is known to be good or to fail moves it."""
    space = Space(description(), PlanKeys(), SpaceSection(), ("throughput",))
    plans = list(space.plans.values())
    trials = []
    while len(trials) < 14:
        tried = {key_of(t.plan) for t in trials}
        rest = [p for p in plans if key_of(p) not in tried]
        chosen, again = (OptunaSampler(sampler, space, ("throughput",), 3).choose(trials, rest) for _ in range(2))
        assert chosen == again
        assert chosen in rest
        works = chosen.precision == "bf16"
        trials.append(ended(len(trials), chosen, chosen.batch / (chosen.batch + 30) if works else None))
    late = [t for t in trials[6:] if t.plan.precision == "bf16"]
    if sampler != "random":
        assert len(late) >= 6, "half of all plans are of this kind, and the others fail"


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_several_objectives(sampler):
    space = Space(description(), PlanKeys(), SpaceSection(threads=[None]), ("throughput", "memory"))
    plans = list(space.plans.values())
    trials = [ended(i, plan, 100.0 * plan.batch, 1e6 * plan.batch) for i, plan in enumerate(plans[:6])]
    trials.append(ended(6, plans[6]))
    assert OptunaSampler(sampler, space, ("throughput", "memory"), 0).choose(trials, plans[7:]) in plans[7:]


def test_resumed_with_another(monkeypatch, tmp_path):
    """Trials are facts about plans, whoever chose them; another sampler goes on from them."""
    first = fake_tune(monkeypatch, tmp_path, sampler="tpe", trials=5)
    keys = resumed({"resume": str(tmp_path / "out"), "trials": 8, "sampler": "brute"})
    again = fake_tune(monkeypatch, tmp_path, **keys.model_dump(exclude_unset=True), out=None)
    assert again.trials[:5] == first.trials
    assert len(again.trials) == 8
    assert again.searched.sampler == "brute"
    assert len({key_of(t.plan) for t in again.trials}) == 8


def test_two_samplers_share_a_study(monkeypatch, tmp_path):
    storage = f"sqlite:///{tmp_path}/shared.db"
    first = fake_tune(monkeypatch, tmp_path, storage=storage, sampler="random", trials=4)
    again = fake_tune(monkeypatch, tmp_path, storage=storage, sampler="tpe", trials=6, out=str(tmp_path / "b"))
    assert again.trials[:4] == first.trials


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nsgaii", "generations of 50 trials"),
        ("NSGA-II", "generations of 50 trials"),
        ("cmaes", "numbers alone"),
        ("qmc", "use random"),
        ("grid", "did you mean brute?"),
        ("bayesian", "did you mean gp?"),
        ("TPE", "did you mean tpe?"),
        ("randm", "did you mean random?"),
        ("zzz", "use one of: hal, tpe, gp, random, brute"),
        (3, "use one of"),
    ],
)
def test_what_is_no_sampler(name, said):
    with pytest.raises(ConfigError) as caught:
        config(sampler=name)
    assert f"sampler={name}: " in caught.value.message
    assert said in caught.value.message


def test_a_sampler_that_lacks_a_package(monkeypatch, tmp_path):
    """It is said before anything is begun. Of all samplers, gp alone needs more than the tuner loads anyway."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] in ("torch", "scipy"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(UnavailableError, match="sampler=gp needs the package torch"):
        fake_tune(monkeypatch, tmp_path, sampler="gp")
    assert not (tmp_path / "out").exists()
    for name in set(SAMPLERS) - {"gp"}:
        check_sampler(name)


def test_gp_says_what_it_loads(monkeypatch, tmp_path):
    seen = Seen()
    fake_tune(monkeypatch, tmp_path, observer=seen, sampler="gp", space=SPACE, trials=2)
    assert any("torch" in note and "tuner's own process" in note for note in seen.notes)


def test_the_help_names_them():
    text = CliRunner().invoke(app, ["tune", "--help"], env={"COLUMNS": "200"}).stdout
    assert "sampler" in text
    assert all(name in text for name in SAMPLERS)
