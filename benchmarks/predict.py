"""Fits the predictor of ``hal choose`` to public measurements and judges it on generations that it has not seen.

``python -m benchmarks.predict DATA.csv`` prints the table of docs/choose.md; with ``--write`` it also writes the fitted
parameters to hal/cards/fitted.toml. The data are not part of hal: a table with the columns device, model, img, batch,
precision, mode, compile, layout, value (samples/s), software (such as pt240 cu124) and source, of timm's results, the
two pytorch-gpu-benchmark repositories and NeuSight's summary. The networks are written down in
``benchmarks/predictor/networks.py``.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from benchmarks.predictor.networks import IMAGES, VITS, step
from hal import catalogue
from hal.cards.counting import KINDS
from hal.cards.predictor import COVERAGE, device_rate, step_seconds
from hal.catalogue import CatalogueDevice

DEVICES = {
    "titanxp": "titan-xp",
    "titanrtx": "titan-rtx",
    "a100sxm40": "a100-sxm-40gb",
    "a100pcie40": "a100-pcie-40gb",
    "a100pcie80": "a100-pcie-80gb",
    "v100pcie32": "v100-pcie-32gb",
}
SAME = {"mobilenetv2_100": "mobilenet_v2", "mnasnet_100": "mnasnet1_0", "mnasnet_050": "mnasnet0_5"}
COUNT = len(KINDS)
PRIOR = np.log([0.9, 0.8, 0.25, 1.0, 0.5, 0.5, 0.4, 0.6, 1.5e-5])
"""Where a fit starts and what it is drawn to: a product reaches most of the peak, a stream half of the bandwidth."""

DRAWN = 0.3
CLOSEST = 1.1
"""No interval is narrower: two machines with the same card differ by as much."""


@dataclass(frozen=True)
class Row:
    """One measurement with the ops of its step."""

    key: tuple[str, str, str]
    device: CatalogueDevice
    seconds: float
    rate: float
    bandwidth: float
    kinds: NDArray[np.int64]
    flops: NDArray[np.float64]
    moved: NDArray[np.float64]


class Rows:
    """Measurements as flat arrays, so that a fit takes no loop in Python."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        lengths = [len(row.kinds) for row in rows]
        self.starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
        self.lengths = np.array(lengths)
        self.kinds = np.concatenate([row.kinds for row in rows])
        self.compute = np.concatenate([row.flops / row.rate for row in rows])
        self.memory = np.concatenate([row.moved / row.bandwidth for row in rows])
        self.seconds = np.array([row.seconds for row in rows])

    def predicted(self, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Seconds of each step."""
        # Operations and bytes are divided by each device's own peaks already, hence the peaks of 1.
        compute, memory, launch = step_seconds(np.exp(logs), self.kinds, self.compute, self.memory, 1.0, 1.0)
        return np.add.reduceat(np.maximum(compute, memory), self.starts) + launch * self.lengths

    def errors(self, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of predicted over measured seconds."""
        return np.log(self.predicted(logs) / self.seconds)

    def fitted(self) -> NDArray[np.float64]:
        """Parameters that fit best, drawn to the prior where the rows say little."""
        return least_squares(
            lambda logs: np.concatenate([self.errors(logs), DRAWN * (logs - PRIOR)]),
            PRIOR,
            loss="soft_l1",
            f_scale=0.3,
            max_nfev=60,
        ).x


def read(path: Path) -> dict[str, list[Row]]:
    """The measurements by class."""
    classes: dict[str, list[Row]] = defaultdict(list)
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            row = _row(line)
            if row is not None:
                family = "convolutions" if row.key[0] in IMAGES else "transformers"
                mode = "train" if line["mode"] == "train" else "infer"
                classes[f"{family} {line['precision']} {mode}"].append(row)
    return dict(sorted(classes.items()))


def _row(line: dict[str, str]) -> Row | None:
    name = line["model"].removeprefix("tv_").removeprefix("ns_")
    model = SAME.get(name, name)
    known = catalogue.devices().get(DEVICES.get(line["device"], line["device"]))
    if line["compile"] != "eager" or line["layout"] == "nhwc" or known is None or known.bandwidth is None:
        return None
    batch, size = int(float(line["batch"])), int(float(line["img"]))
    narrow = line["precision"] != "fp32"
    mode = "train" if line["mode"] == "train" else "infer"
    fused = model in VITS and not line["software"].startswith("pt1")
    ops = step(model, batch, size, mode, 2 if narrow else 4, fused=fused)
    if ops is None:
        return None
    # The images' benchmarks left cuDNN's TF32 on, which is PyTorch's default for convolutions.
    precision = "fp16" if narrow else "tf32" if model in IMAGES else "fp32"
    rate = device_rate(known, precision)
    if rate is None:
        return None
    return Row(
        key=(model, line["batch"], line["img"]),
        device=known,
        seconds=batch / float(line["value"]),
        rate=rate,
        bandwidth=known.bandwidth,
        kinds=np.array([KINDS.index(kind) for kind, _, _ in ops]),  # type: ignore[arg-type]
        flops=np.array([flops for _, flops, _ in ops]),
        moved=np.array([moved for _, _, moved in ops]),
    )


@dataclass
class Judged:
    """What came of leaving each generation out in turn: logarithms of predicted over measured seconds."""

    left_out: dict[str, NDArray[np.float64]]
    rows: dict[str, list[Row]]
    baselines: dict[str, list[float]]


def judge(rows: Sequence[Row]) -> Judged | None:
    """Leave each generation out; None where there is only one."""
    generations = sorted({row.device.generation for row in rows})
    if len(generations) < 2:
        return None
    judged = Judged({}, {}, {"constant": [], "bandwidth": [], "peak": [], "hal, same rows": []})
    for generation in generations:
        train = [row for row in rows if row.device.generation != generation]
        test = [row for row in rows if row.device.generation == generation]
        errors = Rows(test).errors(Rows(train).fitted())
        judged.left_out[generation], judged.rows[generation] = errors, test
        seen: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        for row in train:
            seen[row.key].append(row)
        for row, error in zip(test, errors, strict=True):
            if others := seen.get(row.key):
                judged.baselines["hal, same rows"].append(float(error))
                for name, factor in (
                    ("constant", lambda other, row: 1.0),
                    ("bandwidth", lambda other, row: other.bandwidth / row.bandwidth),
                    ("peak", lambda other, row: other.rate / row.rate),
                ):
                    logs = [math.log(other.seconds * factor(other, row) / row.seconds) for other in others]
                    judged.baselines[name].append(float(np.mean(logs)))
    return judged


def mean_error(logs: Sequence[float] | NDArray[np.float64]) -> float:
    """By how much predictions are wrong on average, as a factor less one, too fast or too slow alike."""
    return float(np.mean(np.expm1(np.abs(logs))))


def rank(judged: Judged) -> float:
    """How well devices are ordered: Spearman's correlation of speeds, averaged over models on three devices or more."""
    by_model: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for generation, errors in judged.left_out.items():
        for row, error in zip(judged.rows[generation], errors, strict=True):
            by_model[row.key].append((row.seconds, row.seconds * math.exp(error)))
    found = [
        spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic
        for pairs in by_model.values()
        if len(pairs) >= 3
    ]
    return float(np.nanmean(found)) if found else math.nan


def spread(parts: Sequence[NDArray[np.float64]]) -> float:
    """The factor that holds the wanted share of errors, each generation counting as much as every other."""
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in parts])
    sizes = np.abs(np.concatenate(parts))
    order = np.argsort(sizes)
    total = np.cumsum(weights[order]) / weights.sum()
    return float(np.exp(sizes[order][np.searchsorted(total, COVERAGE)]))


def coverage(judged: dict[str, Judged], name: str) -> tuple[int, int]:
    """How many rows of a class lie in the interval that the other generations give, and of how many.

    A class with few generations says too little about the next one, so the generations of all classes of the same
    precision are put together, and the one that is left out is left out of all of them.
    """
    inside = count = 0
    for generation, errors in judged[name].left_out.items():
        width = spread(between(judged, name, generation))
        inside += int((np.abs(errors) <= math.log(width)).sum())
        count += len(errors)
    return inside, count


def between(judged: dict[str, Judged], name: str, without: str = "") -> list[NDArray[np.float64]]:
    """Errors of the generations left out, of the classes of the same family and precision."""
    family = name.rpartition(" ")[0]
    return [
        errors
        for other, held in judged.items()
        if other.rpartition(" ")[0] == family
        for generation, errors in held.left_out.items()
        if generation != without
    ]


def main() -> None:
    """Print the table, and write the parameters if that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", type=Path, metavar="FITTED.toml")
    asked = parser.parse_args()
    classes = read(asked.data)
    judged = {name: found for name, rows in classes.items() if (found := judge(rows)) is not None}
    print("| workload | rows | generations | hal | rank | constant | bandwidth | peak | hal, same rows | 80% holds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    held: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, found in judged.items():
        inside, count = coverage(judged, name)
        for group in (name.rpartition(" ")[0], "all"):
            held[group] = [held[group][0] + inside, held[group][1] + count]
        same = [
            f"{mean_error(found.baselines[each]):.0%}" for each in ("constant", "bandwidth", "peak", "hal, same rows")
        ]
        everything = np.concatenate(list(found.left_out.values()))
        print(
            f"| {name} | {count} | {len(found.left_out)} | {mean_error(everything):.0%} | {rank(found):.2f} | "
            f"{' | '.join(same)} | {inside / count:.0%} |"
        )
    for group, (inside, count) in sorted(held.items()):
        print(f"{group}: the 80% intervals hold {inside / count:.0%} of {count} rows of generations left out.")
    if asked.write is not None:
        asked.write.write_text(_parameters(classes, judged))


def _parameters(classes: dict[str, list[Row]], judged: dict[str, Judged]) -> str:
    lines = [
        "# Parameters of the predictor, written by: python -m benchmarks.predict DATA.csv --write FILE",
        "# Sources of the measurements: Hugging Face's timm results (Apache-2.0), ryujaehun's and lamikr's",
        "# pytorch-gpu-benchmark (MIT), NeuSight's summary. docs/choose.md says how well they do.",
    ]
    for name, rows in classes.items():
        held = Rows(rows)
        logs = held.fitted()
        values = np.exp(logs)
        own = [
            held.errors(logs)[[row.device.generation == each for row in rows]]
            for each in sorted({row.device.generation for row in rows})
        ]
        # One generation says nothing about the next: what is known of the other 16-bit classes has to do.
        wide = (
            between(judged, name)
            or between(judged, name.replace("amp", "fp16"))
            or between(judged, "convolutions fp16 train")
        )
        compute = ", ".join(f'"{kind}" = {values[i]:.4g}' for i, kind in enumerate(KINDS))
        memory = ", ".join(f'"{kind}" = {values[COUNT + i]:.4g}' for i, kind in enumerate(KINDS))
        lines += [
            "",
            f'["{name}"]',
            f"compute = {{ {compute} }}",
            f"memory = {{ {memory} }}",
            f"launch_s = {values[-1]:.4g}",
            f"spread = {spread(wide):.4g}",
            f"spread_seen = {max(spread(own), CLOSEST):.4g}",
            f"devices = {sorted({row.device.id for row in rows})}".replace("'", '"'),
            f"generations = {sorted({row.device.generation for row in rows})}".replace("'", '"'),
            f"vendors = {sorted({row.device.vendor for row in rows})}".replace("'", '"'),
            f"rows = {len(rows)}",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
