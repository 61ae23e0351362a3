"""The search finds good plans early, in simulated spaces."""

import math

import numpy as np
import pytest
from tuner_helpers import description

from hal.config import PlanKeys
from hal.contract.plan import Plan
from hal.tuner.config import SpaceSection
from hal.tuner.distance import Distance
from hal.tuner.search import MOST_DRAWN, Proposal, Search
from hal.tuner.space import Space, key_of
from hal.tuner.surrogate import MOST_FITTED, MOST_POINTS, GaussianProcess, expected_improvement
from hal.tuner.trial_result import Outcome, Phases, Trial


@pytest.fixture
def space():
    described = description(layouts=("nhwc", "nchw"), compile=("eager", "default", "max"))
    return Space(described, PlanKeys(), SpaceSection(threads=[None, 1]), ("throughput",))


def speeds(space, rng):
    """Saturating batches, random main effects with exceptions; compiled plans cost ten times as much to try."""
    half = rng.uniform(20, 200)
    effect = {key: rng.normal(0.1, 0.35) for key in ("bf16", "nchw", "default", "max", 1)}
    speed, cost = {}, {}
    for key, plan in space.plans.items():
        value = math.log(plan.batch / (plan.batch + half)) + rng.normal(0, 0.05)
        value += sum(effect.get(x, 0) for x in (plan.precision, plan.layout, plan.compile, plan.threads))
        speed[key] = 1000 * math.exp(value)
        cost[key] = 4 + {"eager": 0, "default": 15, "max": 40}[plan.compile]
    return speed, cost


def simulated(space, seed, share):
    """Quality of the best plan found in a share of brute force's time, and the trials."""
    rng = np.random.default_rng(seed)
    speed, cost = speeds(space, rng)
    search, trials, spent = Search(space, ("throughput",), [], seed), [], 0.0
    while spent < share * sum(cost.values()):
        proposal = search.next(trials, set(), share * sum(cost.values()) - spent, None)
        if proposal is None:
            break
        key = key_of(proposal.plan)
        assert key not in {key_of(t.plan) for t in trials}
        spent += cost[key]
        trials.append(trial(len(trials), proposal.plan, speed[key] * math.exp(rng.normal(0, 0.02)), cost[key]))
    best = sorted(trials, key=lambda t: -t.values["throughput"])[:3]
    return max(speed[key_of(t.plan)] for t in best) / max(speed.values()), trials


def trial(number, plan, throughput, seconds=1.0, outcome=Outcome.OK):
    values = {"throughput": throughput} if outcome is Outcome.OK else {}
    phases = Phases(wall_s=seconds)
    return Trial(number=number, plan=plan, origin="search", outcome=outcome, phases=phases, values=values, started="")


def test_within_three_percent_in_a_quarter_of_the_time(space):
    found = [simulated(space, seed, 0.25) for seed in range(9)]
    assert np.median([quality for quality, _ in found]) >= 0.97
    assert np.mean([quality >= 0.97 for quality, _ in found]) >= 0.7
    assert max(len(trials) for _, trials in found) <= 0.4 * len(space)


def test_the_default_comes_first(space):
    search = Search(space, ("throughput",), [], 0)
    first = search.next([], set(), 100.0, None)
    assert (first.plan, first.origin) == (space.default, "default")
    assert search.next([], {key_of(space.default)}, 100.0, None).plan != space.default, "someone is at it"


def test_everything_where_there_is_time(space):
    search, trials = Search(space, ("throughput",), [], 0), []
    while (proposal := search.next(trials, set(), 1e6, None)) is not None:
        trials.append(trial(len(trials), proposal.plan, 100.0 + len(trials)))
    assert len(trials) == len(space)
    assert search.method == "grid"


def test_failures_are_learnt_from(space):
    """Where everything compiled fails, the search soon leaves it alone."""
    search, trials = Search(space, ("throughput",), [], 0), []
    for _ in range(30):
        proposal = search.next(trials, set(), 60.0, None)
        if proposal is None:
            break
        bad = proposal.plan.compile != "eager"
        outcome = Outcome.COMPILE if bad else Outcome.OK
        trials.append(trial(len(trials), proposal.plan, 100.0 * proposal.plan.batch**0.5, 3.0, outcome))
    assert len(trials) >= 20
    assert sum(t.outcome is not Outcome.OK for t in trials[10:]) <= 0.5 * len(trials[10:])
    assert max(t.plan.batch for t in trials if t.outcome is Outcome.OK) == 1024


def test_the_process_interpolates():
    plans = [Plan(batch=2**i, precision=p) for i in range(4, 10) for p in ("fp32", "bf16")]
    values = [math.log2(p.batch) + (p.precision == "bf16") for p in plans]
    distance, held = Distance(("batch", "precision"), units=4), [3, 8]
    points = distance.codes(plans)
    others = [i for i in range(len(plans)) if i not in held]
    model = GaussianProcess(distance, points[others], [values[i] for i in others])
    mean, deviation = model.predict(points[held])
    assert mean == pytest.approx([values[i] for i in held], abs=0.5)
    assert (np.abs(mean - [values[i] for i in held]) < 4 * deviation + 0.1).all()
    drawn = model.draw(points[held], 500)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.2)


def test_expected_improvement():
    gain = expected_improvement(np.array([0.0, 1.0, 0.0]), np.array([1e-6, 1e-6, 1.0]), 0.0)
    assert gain == pytest.approx([0.0, 1.0, 0.3989], abs=1e-3)


def test_the_smallest_first(space):
    """Of builds, of which nothing is known yet, the quickest comes next; and one that does not fit rules out most."""
    smallest = min(p.batch for p in space.plans.values())
    for seed in range(5):
        search = Search(space, ("throughput",), [], seed, estimates=True)
        first = search.next([], set(), 1e6, None)
        assert first.plan == space.default
        failed = trial(0, first.plan, None, outcome=Outcome.OOM)
        assert search.next([failed], set(), 1e6, None).plan.batch == smallest
        built = trial(0, first.plan, 1000.0)
        assert search.next([built], set(), 1e6, None).plan.batch == smallest


@pytest.fixture(scope="module")
def large():
    """5,040 plans."""
    described = description(
        layouts=("nhwc", "nchw"),
        compile=("eager", "default", "max"),
        algorithms={"conv": ("direct", "patches"), "pool": ("window", "reshape")},
        samples=1 << 20,
    )
    listed = {
        "batch": [2**i for i in range(3, 13)],
        "precision": ["fp32", "bf16", "fp16"],
        "threads": [None, 1, 2, 3, 5, 6, 8],
    }
    return Space(described, PlanKeys(), SpaceSection(**listed), ("throughput",))


def speed_of(plan):
    """Best with a large batch in bf16 on 5 threads, and no other key matters much."""
    value = math.log(plan.batch / (plan.batch + 60)) + 0.4 * (plan.precision == "bf16")
    value += 0.1 * (plan.compile == "default") - 0.1 * math.log2((plan.threads or 4) / 5) ** 2
    return 1000 * math.exp(value)


def test_a_large_space_is_searched(large):
    assert len(large) == 5040
    search, trials = Search(large, ("throughput",), [], 0), []
    best = max(map(speed_of, large.plans.values()))
    while len(trials) < 30 and (proposal := search.next(trials, set(), 600.0, None)) is not None:
        trials.append(trial(len(trials), proposal.plan, speed_of(proposal.plan), 20.0))
    assert len({key_of(t.plan) for t in trials}) == len(trials) <= 30
    assert max(t.values["throughput"] for t in trials) >= 0.97 * best
    assert 0 <= search.gain(trials, list(search.remaining(trials, set()).values()))[0] < 0.5


def test_the_work_of_a_proposal_is_bounded(large, monkeypatch):
    """Joint draws are of the most promising plans alone, and all other work grows with the number of plans."""
    drawn, fitted, elements = [], [], []

    class Counting(GaussianProcess):
        def draw(self, points, *args):
            drawn.append(len(points))
            return super().draw(points, *args)

        def _fitted(self, points, *args):
            fitted.append(len(points))
            return super()._fitted(points, *args)

        def _kernels(self, a, b, shapes):
            elements.append(len(a) * len(b) * len(shapes))
            return super()._kernels(a, b, shapes)

    monkeypatch.setattr("hal.tuner.search.GaussianProcess", Counting)
    plans = list(large.plans.values())
    trials = [trial(i, plan, speed_of(plan), 20.0) for i, plan in enumerate(plans[::8])]
    search = Search(large, ("throughput",), [], 0)
    assert search.next(trials, set(), 600.0, None) is not None
    assert drawn
    assert max(drawn) == MOST_DRAWN
    assert max(fitted) == MOST_FITTED
    # Of each plan, the time is predicted once and the value twice: to choose, and to find the most promising.
    fits = 2 * (100 * MOST_FITTED**2 + MOST_POINTS**2) + MOST_DRAWN**2
    assert sum(elements) <= 3 * (len(plans) + len(trials)) * MOST_POINTS + fits


def test_memory_is_compared_within_equal_settings_alone(large, monkeypatch):
    """Every failure is compared with the few plans that it may rule out, and not with all."""
    from hal.tuner import search as module

    compared = []

    def counting(plan, failed, original=module.costlier):
        compared.append(plan)
        return original(plan, failed)

    monkeypatch.setattr(module, "costlier", counting)
    failed = [p for p in large.plans.values() if p.batch == 4096][:50]
    trials = [trial(i, plan, None, outcome=Outcome.OOM) for i, plan in enumerate(failed)]
    assert Search(large, ("throughput",), [], 0).ruled_out(trials) == set(), "each of them is a plan by itself"
    assert len(compared) <= 50 * 30


def test_several_seeds_come_after_the_default(space):
    plans = [p for p in space.plans.values() if p.batch == 512][:3]
    search, trials = Search(space, ("throughput",), [Proposal(p, "stored") for p in plans], 0), []
    for number in range(4):
        proposal = search.next(trials, set(), 100.0, None)
        trials.append(trial(number, proposal.plan, 100.0))
    assert [t.plan for t in trials] == [space.default, *plans]
