"""How soon does each sampler find a plan within 3% of the best? Replayed on spaces whose every value is known.

Nothing is trained: a trial's value is looked up and disturbed by noise. The spaces are drawn from a seed, so that each
sampler meets the same ones; a file of measured tables can be replayed too. The result of a search after some trials is
the truly best of the three plans with the best measured values, as the final measurements would find it. Seconds are
those of the processor, because the machine may be shared.

    python -m benchmarks.replay                            hal and the other samplers, small spaces
    python -m benchmarks.replay --spaces large             5,040 plans, with the seconds of a proposal
    python -m benchmarks.replay --tables                   the measured tables in benchmarks/tables
    python -m benchmarks.replay --samplers hal --seeds 4 --json hal.json

To compare with another version of hal, run this file from a checkout of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hal.config import PlanKeys
from hal.contract.device import Capabilities, Device, Precision
from hal.contract.plan import Plan
from hal.job.stored_plans import Fingerprint
from hal.measure import Environment
from hal.tuner.config import SpaceSection
from hal.tuner.messages import Description
from hal.tuner.search import Search
from hal.tuner.space import Space, key_of
from hal.tuner.trial_result import Outcome, Trial
from hal.workload import Workload

SAMPLERS = ("hal", "tpe", "gp", "random")
SHAPES = ("additive", "interactions", "plateau", "failures", "noise")
GOOD = 0.97
FINALISTS = 3
TABLES = Path(__file__).parent / "tables" / "measured.json"

BATCHES = [16, 32, 64, 128, 256, 512, 1024]
SMALL: dict[str, dict[str, list[Any]]] = {
    "63 plans": {"batch": BATCHES, "precision": ["fp32", "bf16", "fp16"], "compile": ["eager", "default", "max"]},
    "168 plans": {
        "batch": BATCHES,
        "precision": ["fp32", "bf16"],
        "layout": ["nhwc", "nchw"],
        "compile": ["eager", "default", "max"],
        "threads": [None, 1],
    },
    "210 plans": {
        "batch": BATCHES,
        "precision": ["fp32", "bf16"],
        "threads": [None, 1, 2, 4, 8],
        "parallel": ["none", "dp=2", "dp=4"],
    },
}
LARGE: dict[str, dict[str, list[Any]]] = {
    "5040 plans": {
        "batch": [*BATCHES, 2048, 4096, 8192],
        "precision": ["fp32", "bf16", "fp16"],
        "layout": ["nhwc", "nchw"],
        "compile": ["eager", "default", "max"],
        "conv": ["direct", "patches"],
        "pool": ["window", "reshape"],
        "threads": [None, 1, 2, 4, 8, 12, 24],
    }
}


@dataclass(frozen=True)
class Case:
    """One space with the true value of every plan.

    Attributes:
        name: what kind of space it is.
        space: the plans.
        values: the throughput of each plan by its key; a plan that runs out of memory or crashes has none.
        crashes: keys of plans without a value that fail for another reason than memory.
        noise: standard deviation of the logarithm of a measured value.
    """

    name: str
    space: Space
    values: Mapping[str, float]
    crashes: frozenset[str]
    noise: float


def described(default: Plan) -> Description:
    """A device that can do whatever a plan asks."""
    names = ("fp32", "tf32", "bf16", "fp16")
    device = Device(
        backend="cpu",
        index=0,
        vendor="nobody",
        name="replayed",
        arch="replayed",
        memory_bytes=1 << 40,
        compute_units=16,
        capabilities=Capabilities(
            precisions={name: Precision(True, True) for name in names},
            layouts=("nhwc", "nchw"),
            compile=("eager", "default", "max"),
            algorithms={"conv": ("direct", "patches"), "pool": ("window", "reshape")},
            threads=True,
            parallel=("dp",),
            spread=16,
        ),
    )
    fields = {name: getattr(device, name) for name in ("backend", "vendor", "name", "arch", "memory_bytes")}
    return Description(
        workload=Workload(model="replayed", data="replayed", mode="train", input_shape=(28, 28, 1)),
        device=device,
        devices=1,
        fingerprint=Fingerprint(
            **fields,
            compute_units=16,
            facts={},
            versions={},
            model="replayed",
            mode="train",
            input_shape=(28, 28, 1),
            structure="0",
        ),
        environment=Environment.read(),
        default=default.resolve(device),
        samples=1 << 20,
        images=True,
    )


def space_of(listed: Mapping[str, list[Any]], default: Plan) -> Space:
    """All combinations of the values."""
    fixed = [key for key in Plan.model_fields if key not in listed]
    given = {**{key: [getattr(described(default).default, key)] for key in fixed}, **listed}
    return Space(described(default), PlanKeys(), SpaceSection(**given), ("throughput",))


def synthetic(size: str, shape: str, seed: int) -> Case:
    """A space with random effects of each key, and what the shape adds to them."""
    rng = np.random.default_rng([seed, SHAPES.index(shape), sum(map(ord, size))])
    listed = {**SMALL, **LARGE}[size]
    space = space_of(listed, Plan(batch=64))
    effects = {key: _effects(key, values, rng) for key, values in listed.items()}
    pairs = {
        (one, two): {(a, b): rng.normal(0, 0.15) for a in listed[one] for b in listed[two]}
        for one, two in itertools.combinations(listed, 2)
        if shape != "additive" and rng.random() < 0.6
    }
    logs = {}
    for key, plan in space.plans.items():
        logs[key] = sum(effect[getattr(plan, name)] for name, effect in effects.items())
        logs[key] += sum(of[getattr(plan, one), getattr(plan, two)] for (one, two), of in pairs.items())
        logs[key] += rng.normal(0, 0.01)
    if shape == "plateau":
        cap = float(np.quantile(list(logs.values()), rng.uniform(0.7, 0.97)))
        logs = {key: min(value, cap + 0.02 * (value - cap)) for key, value in logs.items()}
    failed, crashes = _failures(space, rng) if shape == "failures" else (set(), frozenset())
    values = {key: 1000 * math.exp(value) for key, value in logs.items() if key not in failed}
    return Case(shape, space, values, crashes, 0.08 if shape == "noise" else 0.02)


def _effects(key: str, values: list[Any], rng: np.random.Generator) -> dict[Any, float]:
    """The logarithm of the factor that each value of a key brings."""
    if key == "batch":  # saturates, and beyond some size it falls in one of three cases
        half, peak = math.exp(rng.uniform(2, 6)), math.exp(rng.uniform(4, 7))
        fall = rng.uniform(0.05, 0.3) if rng.random() < 0.33 else 0.0
        return {n: math.log(n / (n + half)) - fall * max(0.0, math.log2(n / peak)) for n in values}
    if key == "threads":  # best at some number of them; the framework's own choice is 16, and may be tuned better
        best, width = rng.uniform(0, 4), rng.uniform(0.02, 0.15)
        return {n: -width * (math.log2(n or 16) - best) ** 2 + (n is None) * rng.normal(0, 0.05) for n in values}
    if key == "parallel":
        share = rng.uniform(-0.5, 0.9)
        counts = {value: int(value.partition("=")[2] or 1) for value in values}
        return {value: share * math.log(count) for value, count in counts.items()}
    return {value: rng.normal(0.1, 0.3) for value in values}


def _failures(space: Space, rng: np.random.Generator) -> tuple[set[str], frozenset[str]]:
    """Plans that need too much memory, and combinations of two keys that crash."""
    most = rng.choice([128, 256, 512]) * 4
    width = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}
    oom = {key for key, plan in space.plans.items() if plan.batch * width[plan.precision] > most}
    names = [name for name, values in space.dimensions.items() if name != "batch" and len(values) > 1]
    one, two = rng.choice(names, 2, replace=False)
    a, b = space.dimensions[one][-1], space.dimensions[two][-1]
    crashes = {key for key, plan in space.plans.items() if getattr(plan, one) == a and getattr(plan, two) == b}
    return oom | crashes, frozenset(crashes - oom)


def measured(file: Path, seed: int) -> Iterator[Case]:
    """Tables of measured seconds by two ordered keys; the plan that a search begins with is drawn from the seed.

    Args:
        file: JSON with a list of ``tables``: of each, its name, the values of ``batch`` and of the ``other`` key, and
            the ``seconds`` of the same work, a row for each batch.
        seed: of the plan to begin with.
    """
    rng = np.random.default_rng(seed)
    for table in json.loads(file.read_text())["tables"]:
        batches, others = table["batch"], table["other"]
        # A power limit is no plan key. It takes the place of threads, the other key that is a number.
        start = Plan(batch=int(rng.choice(batches)), threads=int(rng.choice(others)))
        space = space_of({"batch": batches, "threads": others}, start)
        values = {
            key: 1000 / table["seconds"][batches.index(plan.batch)][others.index(plan.threads)]
            for key, plan in space.plans.items()
        }
        yield Case(table["name"], space, values, frozenset(), 0.01)


def replayed(case: Case, sampler: str, most: int, seed: int) -> tuple[list[float], list[float]]:
    """The quality of the result after each trial, and the seconds of processor time that each proposal took."""
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {} if sampler == "hal" else {"sampler": sampler}
    search = Search(case.space, ("throughput",), [], seed, **options)
    best = max(case.values[key] for key in case.space.plans if key in case.values)
    trials: list[Trial] = []
    quality, seconds = [], []
    for number in range(most + search.outside):
        began = time.process_time()
        proposal = search.next(trials, set(), float(most - number) + 0.5, None)
        seconds.append(time.process_time() - began)
        if proposal is None:
            break
        trials.append(_trial(case, number, proposal.plan, rng))
        if trials[-1].candidate:
            able = sorted((t for t in trials if t.feasible), key=lambda t: -t.values["throughput"])
            found = max((case.values[key_of(t.plan)] for t in able[:FINALISTS]), default=0.0)
            quality.append(found / best)
    return quality, seconds


def _trial(case: Case, number: int, plan: Plan, rng: np.random.Generator) -> Trial:
    key = key_of(plan)
    value = case.values.get(key)
    outcome = Outcome.OK if value is not None else Outcome.CRASH if key in case.crashes else Outcome.OOM
    if key not in case.space.plans and value is None:
        outcome = Outcome.UNSUPPORTED
    values = {} if value is None else {"throughput": value * math.exp(rng.normal(0, case.noise))}
    return Trial(
        number=number,
        plan=plan,
        origin="search",
        outcome=outcome,
        values=values,  # type: ignore[arg-type]
        candidate=key in case.space.plans,
        started="",
    )


def interval(hits: int, of: int) -> tuple[float, float]:
    """95% interval of a share: Wilson, Journal of the American Statistical Association 22 (1927)."""
    z, share = 1.96, hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return middle - half, middle + half


def rows_of(
    cases: Callable[[], Iterator[tuple[str, Case, int]]], samplers: list[str], most: int
) -> list[dict[str, Any]]:
    """Replay each case with each sampler."""
    rows = []
    for group, case, seed in cases():
        for sampler in samplers:
            quality, seconds = replayed(case, sampler, most, seed)
            rows.append(
                {
                    "group": group,
                    "case": case.name,
                    "plans": len(case.space),
                    "seed": seed,
                    "sampler": sampler,
                    "quality": quality,
                    "slowest_s": max(seconds),
                }
            )
            print(f"  {group} {case.name} seed {seed} {sampler}: {quality[-1]:.3f}", flush=True)
    return rows


def after(row: Mapping[str, Any], trials: int) -> float:
    """The quality after so many trials of plans of the space, or at the end if the search ended before."""
    quality: list[float] = row["quality"]
    return quality[min(trials, len(quality)) - 1]


def table(rows: list[dict[str, Any]], counts: list[int]) -> Iterator[str]:
    """The shares, a line for each group, case and sampler."""
    heads = [f"{f'after {count}':>22}" for count in counts]
    yield f"{'spaces':<38}{'sampler':<9}{'replays':>8}{''.join(heads)}{'slowest proposal':>18}"
    groups = dict.fromkeys(row["group"] for row in rows)
    wanted = [(group, "") for group in groups] + [
        (g, c) for g, c in dict.fromkeys((r["group"], r["case"]) for r in rows)
    ]
    for (group, case), sampler in itertools.product(wanted, dict.fromkeys(row["sampler"] for row in rows)):
        mine = [r for r in rows if (r["group"], r["sampler"]) == (group, sampler) and case in ("", r["case"])]
        cells = ""
        for count in counts:
            hits = sum(after(row, count) >= GOOD for row in mine)
            low, high = interval(hits, len(mine))
            cells += f"{f'{hits / len(mine):.0%} [{low:.0%}, {high:.0%}]':>22}"
        slowest = max(row["slowest_s"] for row in mine)
        yield f"{f'{group} {case}'.strip():<38}{sampler:<9}{len(mine):>8}{cells}{slowest:>16.2f} s"


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default=",".join(SAMPLERS), help="names, separated by commas")
    parser.add_argument("--spaces", choices=["small", "large"], default="small", help="which synthetic spaces")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="of the synthetic spaces")
    parser.add_argument("--tables", nargs="?", type=Path, const=TABLES, metavar="FILE", help="replay measured tables")
    parser.add_argument("--seeds", type=int, default=10, help="of each space")
    parser.add_argument("--trials", type=int, default=20, help="at most")
    parser.add_argument("--after", default="6,10,20", help="numbers of trials after which the result is judged")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    args = parser.parse_args()

    def cases() -> Iterator[tuple[str, Case, int]]:
        for seed in range(args.seeds):
            if args.tables is not None:
                yield from (("measured", case, seed) for case in measured(args.tables, seed))
            else:
                for size, shape in itertools.product(
                    SMALL if args.spaces == "small" else LARGE, args.shapes.split(",")
                ):
                    yield size, synthetic(size, shape, seed), seed

    rows = rows_of(cases, args.samplers.split(","), args.trials)
    counts = [count for count in map(int, args.after.split(",")) if count <= args.trials]
    print("\nShare of replays within 3% of the best plan, with 95% intervals", *table(rows, counts), sep="\n")
    if args.json:
        args.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
