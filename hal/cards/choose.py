"""Finds hardware for a workload, as ``hal choose`` does: hard facts first, then predictions, in groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hal import catalogue
from hal.cards.choice import Candidate, Choice, Decides, LeftOut
from hal.cards.choose_config import ChooseConfig
from hal.cards.constraints import USABLE, Costs, Shortfall, shortfalls, usual_precision
from hal.cards.counted import Counted
from hal.cards.counting import Cost
from hal.cards.predictor import Prediction, fitted_for, predict
from hal.cards.prices import Price, read_prices
from hal.catalogue import CatalogueDevice
from hal.errors import ConfigError
from hal.util.files import check_new, write_text
from hal.util.paths import user_path

if TYPE_CHECKING:
    from hal.cards.anchor import Anchor

__all__ = ["choose", "grouped"]

_LINK_SHARE = 0.8
_LANE_GBPS = {"1.0": 0.25, "2.0": 0.5, "3.0": 0.985, "4.0": 1.969, "5.0": 3.938, "6.0": 7.563}
"""GB/s of one lane of PCIe in one direction."""


def choose(config: ChooseConfig) -> Choice:
    """Find hardware, and write the page about it if one is wanted.

    Args:
        config: the workload and what the hardware has to fulfil.

    Raises:
        ConfigError: the model, the list of prices or a constraint is wrong, or no device fulfils them.
        NotFoundError: a file is not there.
    """
    page = None if config.html is None else user_path(config.html)
    if page is not None:
        check_new(page, "html")
    found = _found(config)
    if page is not None:
        from hal.cards.choose_page import html_text

        write_text(page, html_text(found))
    return found


def _found(config: ChooseConfig) -> Choice:
    prices = {} if config.prices is None else read_prices(user_path(config.prices))
    if config.vendor is not None:
        _known_vendor(config.vendor)
    found = Counted(config.model, config.data, config.what)
    batch = config.batch or found.default_batch
    costs = Costs(found, max(1, -(-batch // config.devices)))
    anchor = None
    if config.measured is not None:
        from hal.cards.anchor import read_anchor

        anchor = read_anchor(user_path(config.measured), found.subject, costs.of)
    candidates: list[Candidate] = []
    left_out: dict[str, tuple[Shortfall, ...]] = {}
    for device in catalogue.devices().values():
        why = shortfalls(device, config, prices.get(device.id), costs)
        if why:
            left_out[device.id] = why
        else:
            candidates.append(_candidate(device, config, costs, prices.get(device.id), found, batch, anchor))
    found.keep()
    _check_found(candidates, left_out, costs, batch)
    candidates = grouped(candidates)
    cost = costs.of(candidates[0].precision)
    name, fit = fitted_for(cost, candidates[0].vendor)
    return Choice(
        model=config.model.name if config.model else "",
        mode=config.what,
        batch=batch,
        devices=config.devices,
        samples=found.samples,
        parameters=cost.parameters,
        flops_per_sample=cost.flops / cost.batch,
        bytes_per_sample=cost.bytes / cost.batch,
        peak_bytes=cost.peak_bytes,
        precision=cost.precision,
        workload=name,
        measurements=fit.rows,
        candidates=tuple(candidates),
        left_out=tuple(
            LeftOut(id=name, name=catalogue.devices()[name].name, why=why[0].text) for name, why in left_out.items()
        ),
        decides=tuple(
            Decides(
                kind=total.kind,
                calls=total.calls,
                flops=total.flops,
                bytes=total.bytes,
                flops_per_byte=total.flops / total.bytes if total.bytes else 0.0,
            )
            for total in cost.totals()
        ),
        sentence=_sentence(candidates),
        anchor="" if anchor is None else anchor.text,
    )


def _check_found(
    candidates: list[Candidate], left_out: Mapping[str, tuple[Shortfall, ...]], costs: Costs, batch: int
) -> None:
    """Refuse what no device can do, with the device that comes nearest.

    A device whose memory nobody says holds a step for all that is known; it is no answer where all the others do not.
    """

    def nearest(names: Iterable[str]) -> CatalogueDevice:
        return catalogue.devices()[min(names, key=lambda name: max(each.distance for each in left_out[name]))]

    too_small = [name for name, why in left_out.items() if all(each.kind == "step" for each in why)]
    if too_small and all(each.memory_gb is None for each in candidates):
        largest = nearest(too_small)
        (why,) = left_out[largest.id]
        of_each = "" if batch == costs.batch else f", of which each device computes {costs.batch:,}"
        raise ConfigError(
            f"no device whose memory is known holds a step of batch={batch}{of_each}: with {largest.name}, which comes "
            f"nearest, {why.text}",
            fix="use a smaller batch=, more devices=, or a smaller model",
        )
    if not candidates:
        found = nearest(left_out)
        said = " and ".join(each.text for each in left_out[found.id])
        raise ConfigError(
            "no device of the catalogue fulfils all of this",
            fix=f"relax a constraint; {found.name}, for example: {said}",
        )


def _candidate(
    device: CatalogueDevice,
    config: ChooseConfig,
    costs: Costs,
    price: Price | None,
    found: Counted,
    batch: int,
    anchor: Anchor | None,
) -> Candidate:
    precision = config.precision or usual_precision(device)
    cost = costs.of(precision)
    serves = catalogue.served_by(device)
    prediction: Prediction | str
    if serves.unpredicted:
        prediction = serves.unpredicted
    elif anchor is None:
        prediction = predict(cost, device)
    else:
        prediction = predict(cost, device, anchor.factor, anchor.spread(device))
    exchange = None
    if isinstance(prediction, Prediction) and config.devices > 1:
        prediction, exchange = _spread_over(prediction, device, config, cost, batch)
    told = prediction if isinstance(prediction, Prediction) else None
    largest = None if device.memory_bytes is None else costs.largest(precision, USABLE * device.memory_bytes)
    watts = None if device.watts is None else device.watts.value
    epoch_s = None if told is None else found.samples / told.samples_per_s
    per_hour = None if price is None else price.per_hour
    return Candidate(
        id=device.id,
        name=device.name,
        vendor=device.vendor,
        generation=device.generation,
        form=device.form,
        memory_gb=None if device.memory_gb is None else device.memory_gb.value,
        watts=watts,
        precision=precision,
        backend=serves.backends[0] if serves.backends else None,
        builds=serves.builds + (f"; {serves.until}" if serves.until else ""),
        largest_batch=largest,
        larger_batches_fit=largest == costs.most,
        prediction=told,
        unknown=prediction if isinstance(prediction, str) else "",
        joules_per_sample=None if told is None or watts is None else config.devices * watts / told.samples_per_s,
        price=None if price is None else price.price,
        per_hour=per_hour,
        cost_per_epoch=None if epoch_s is None or per_hour is None else config.devices * per_hour * epoch_s / 3600,
        exchange_share=exchange,
    )


def _spread_over(
    one: Prediction, device: CatalogueDevice, config: ChooseConfig, cost: Cost, batch: int
) -> tuple[Prediction | str, float | None]:
    """Several devices: each computes its part, then a ring exchanges the gradients over PCIe, nothing hidden.

    That is the cautious end: frameworks hide a part of the exchange, and links such as NVLink are faster.
    """
    exchange_s = 0.0
    if config.what == "train":
        bandwidth = _link(device.link)
        if bandwidth is None:
            return "no source says how it is linked to others", None
        count = config.devices
        exchange_s = 2 * (count - 1) / count * 4 * cost.parameters / bandwidth
    seconds = one.step_ms / 1000 + exchange_s
    factor = (batch / seconds) / one.samples_per_s
    updated = one.model_copy(
        update={
            "samples_per_s": one.samples_per_s * factor,
            "low": one.low * factor,
            "high": one.high * factor,
            "step_ms": 1000 * seconds,
        }
    )
    return updated, exchange_s / seconds


def _link(text: str | None) -> float | None:
    """Bytes/s of a link such as ``PCIe 4.0 x16``, as programs get them."""
    found = re.fullmatch(r"PCIe (\d\.\d) x(\d+)", text or "")
    if found is None or found[1] not in _LANE_GBPS:
        return None
    return _LINK_SHARE * _LANE_GBPS[found[1]] * int(found[2]) * 1e9


def grouped(candidates: list[Candidate]) -> list[Candidate]:
    """Sorted by predicted throughput, in groups: who cannot be told from the first of a group belongs to it.

    Those of which nothing is predicted come last, by name, and belong to no group.
    """
    known = [each for each in candidates if each.prediction is not None]
    known.sort(key=lambda each: -(each.prediction.samples_per_s if each.prediction else 0.0))
    found: list[Candidate] = []
    group, head = 0, None
    for each in known:
        if head is None or each.prediction is None or not head.overlaps(each.prediction):
            group, head = group + 1, each.prediction
        found.append(each.model_copy(update={"group": group}))
    rest = sorted((each for each in candidates if each.prediction is None), key=lambda each: each.name)
    return [*found, *rest]


def _sentence(candidates: list[Candidate]) -> str:
    first = [each for each in candidates if each.group == 1]
    if not first or first[0].prediction is None:
        return (
            f"{len(candidates)} devices fulfil this, but nothing can be said about their speed: "
            f"{candidates[0].unknown}."
        )
    head = first[0].prediction
    words = {
        "compute": "Operations decide: more TFLOP/s make it faster.",
        "memory": "Memory decides: more bandwidth makes it faster, more TFLOP/s do not.",
        "launches": "Starting ops decides: a larger batch makes it faster, a larger device hardly does.",
    }
    if len(first) == 1:
        said = f"{first[0].name} is predicted to be the fastest."
    else:
        said = (
            f"{first[0].name} and {len(first) - 1} more are predicted to be the fastest; no difference between them "
            "is shown."
        )
    return f"{said} {words.get(head.bound, '')}".strip()


def _known_vendor(vendor: str) -> None:
    known = sorted({device.vendor for device in catalogue.devices().values()})
    if vendor.lower() not in (each.lower() for each in known):
        raise ConfigError(f"vendor={vendor} is not in the catalogue", fix=f"use one of: {', '.join(known)}")
