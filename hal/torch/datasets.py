"""A user's own data sets and data loaders as data of hal, and samples made of their example inputs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data
from torch.utils.data import default_collate

from hal.data import Dataset, Field, Split
from hal.data.arrays import shuffled_split
from hal.data.convert import check_range
from hal.data.files import check_memory
from hal.errors import ConfigError, DataError, InputError
from hal.torch.randomness import drawing
from hal.torch.user_code import UserCode, user_errors

__all__ = ["EXAMPLES", "OWN_DATA", "ExampleDataset", "as_own", "batch_of", "example_split", "own_split"]

Tensor = torch.Tensor

OWN_DATA, EXAMPLES = "data()", "example_inputs()"
"""Names of the data that a user's file gives, where hal's own sources have theirs."""

_DIGESTED = 64
"""Samples of a data set that are read to tell it from another; to read all could take hours."""

_EXAMPLES = 1024
_EXAMPLE_COUNT = 4096
_EXAMPLE_BYTES = 64 << 20


class TorchDataset(Dataset):
    """Samples of a map-style data set of PyTorch, put together as its loader would.

    Args:
        name: what to call it.
        samples: has a length and gives a sample for an index.
        collate: makes a batch of a list of samples.
        rows: which samples belong to this part; None: all.
    """

    reads_files = True

    def __init__(
        self, name: str, samples: Any, collate: Callable[[list[Any]], Any], rows: np.ndarray | None = None
    ) -> None:
        self.name = name
        self._samples, self._collate, self._epoch = samples, collate, 0
        self._rows = np.arange(len(samples)) if rows is None else rows
        names = getattr(samples, "classes", None)
        texts = isinstance(names, Sequence) and not isinstance(names, str) and all(isinstance(n, str) for n in names)
        self.class_names = tuple(names) if texts and names else ()
        self.classes = len(self.class_names) or None
        self.vocabulary = ""
        first = self.take(np.zeros(1, np.int64))
        inputs, labels = first["inputs"], first.get("labels")
        several: Mapping[str, np.ndarray] = inputs if isinstance(inputs, Mapping) else {"": inputs}
        fields = {name: _field(x) for name, x in several.items()}
        self.parts = fields if isinstance(inputs, Mapping) else {}
        self.inputs = next(iter(fields.values()))
        # The labels of a module that takes several are a matter between it and its loss.
        self.labels = _field(labels) if isinstance(labels, np.ndarray) else None

    def __len__(self) -> int:
        return len(self._rows)

    def at_epoch(self, epoch: int) -> TorchDataset:
        """See :meth:`Dataset.at_epoch`; random changes differ from epoch to epoch, and repeat where a run resumes."""
        view = copy.copy(self)
        view._epoch = epoch
        return view

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        """See :meth:`Dataset.take`."""
        rows = [int(row) for row in self._rows[indices]]
        seed = (self._epoch << 32) ^ (rows[0] if rows else 0)
        with user_errors(f"{self.name} failed: its code"), drawing(seed):
            batch = self._collate([self._samples[row] for row in rows])
        return batch_of(batch, self.name)

    def value_range(self) -> tuple[float, float] | None:
        """See :meth:`Dataset.value_range`; of some samples, and of inputs that are a single array of floats."""
        if self.parts or self.inputs.dtype.kind != "f" or not len(self):
            return None
        found = self.take(np.linspace(0, len(self) - 1, _DIGESTED).astype(np.int64))["inputs"]
        low, high = float(found.min()), float(found.max())
        return (low, high) if np.isfinite(low) and np.isfinite(high) else None

    def digest(self) -> str:
        """See :meth:`Dataset.digest`; of the length, the order, and some samples."""
        found = hashlib.blake2b(np.ascontiguousarray(self._rows).data, digest_size=16)
        for index in np.unique(np.linspace(0, len(self) - 1, _DIGESTED).astype(np.int64)):
            for _, array in sorted(_flat(self.take(np.array([index])))):
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


class ExampleDataset(TorchDataset):
    """Samples that are held as a batch, some more than once."""

    reads_files = False

    def __init__(self, name: str, batch: Mapping[str, Any], rows: np.ndarray) -> None:
        self._batch = batch
        super().__init__(name, rows, list, rows)

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        """See :meth:`Dataset.take`."""
        rows = self._rows[indices]
        return {
            name: {key: x[rows] for key, x in value.items()} if isinstance(value, Mapping) else value[rows]
            for name, value in self._batch.items()
        }

    def at_epoch(self, epoch: int) -> ExampleDataset:
        """The same in each epoch."""
        return self


def batch_of(batch: Any, where: str) -> dict[str, Any]:
    """A user's batch as hal has it: ``inputs`` and ``labels``, each an array or a dict of arrays by name.

    A dict gives inputs by name, and labels where it has them. Of a tuple the last is the labels. One tensor is inputs
    without labels.

    Args:
        batch: what a data loader or ``example_inputs`` gives.
        where: it comes from, for errors.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(batch, Mapping):
        inputs = {str(name): _host(x, where) for name, x in batch.items() if name != "labels"}
        return {"inputs": inputs, **({"labels": _host(batch["labels"], where)} if "labels" in batch else {})}
    if isinstance(batch, (tuple, list)) and len(batch) > 1:
        *given, labels = batch
        if len(given) == 1 and isinstance(given[0], Mapping):
            return {
                "inputs": {str(name): _host(x, where) for name, x in given[0].items()},
                "labels": _host(labels, where),
            }
        arrays = [_host(x, where) for x in given]
        return {
            "inputs": arrays[0] if len(arrays) == 1 else {str(i): x for i, x in enumerate(arrays)},
            "labels": {str(name): _host(x, where) for name, x in labels.items()}
            if isinstance(labels, Mapping)
            else _host(labels, where),
        }
    if isinstance(batch, (tuple, list)) and batch:
        batch = batch[0]
    return {"inputs": _host(batch, where)}


def as_own(values: Any, data: Dataset, names: Mapping[str, str]) -> Any:
    """Inputs that somebody hands over, as a data set of the user's own gives them.

    Args:
        values: an array or tensor (batch, ...), or where a sample has several inputs a dict of them, or a tuple.
        data: says which shapes and types there were.
        names: what users call each of several inputs, which may be taken in place of its name in the data.

    Raises:
        InputError: other names, shapes or kinds of numbers.
    """
    if not data.parts:
        found = _as_field(values, data.inputs, "the inputs")
        trained = data.value_range()
        if trained is not None:
            check_range(found, found.dtype, trained)
        return found
    given = dict(values) if isinstance(values, Mapping) else {str(i): x for i, x in enumerate(values)}
    called = {name: part for part, name in names.items()}
    given = {called.get(name, name): value for name, value in given.items()}
    if set(given) != set(data.parts):
        has = ", ".join(names.get(name, name) for name in given)
        raise InputError(
            f"the inputs are {has}, but the model takes {', '.join(names.values())}",
            fix="pass a dict with these names",
        )
    return {name: _as_field(given[name], part, name) for name, part in data.parts.items()}


def _as_field(values: Any, field: Field, what: str) -> np.ndarray:
    array = _host(torch.as_tensor(values), what)
    if array.ndim == 0 or array.shape[1:] != field.shape:
        raise InputError(
            f"{what} have shape {array.shape}, but the model takes (batch, {', '.join(map(str, field.shape))})",
            fix="keep the batch axis",
        )
    if (array.dtype.kind == "f") != (np.dtype(field.dtype).kind == "f"):
        raise InputError(f"{what} are {array.dtype}, but the model takes {field.dtype}", fix="convert them")
    return array.astype(field.dtype)


def _host(x: Any, where: str) -> np.ndarray:
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16, torch.float64) else x
        array: np.ndarray = x.numpy()
    elif isinstance(x, (np.ndarray, np.generic)):
        array = np.asarray(x)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
    else:
        raise DataError(
            f"{where} gives batches with a {type(x).__name__} among the tensors",
            fix="give tensors alone: (inputs, labels), (inputs, more inputs, labels) or a dict of tensors",
        )
    return array.astype(np.int64) if array.dtype.kind in "iu" and array.dtype != np.uint8 else array


def _field(array: np.ndarray) -> Field:
    return Field(tuple(array.shape[1:]), array.dtype)


def _flat(batch: Mapping[str, Any], prefix: str = "") -> list[tuple[str, np.ndarray]]:
    found: list[tuple[str, np.ndarray]] = []
    for name, value in batch.items():
        inner = isinstance(value, Mapping)
        found += _flat(value, f"{prefix}{name}/") if inner else [(prefix + name, value)]
    return found


def own_split(code: UserCode, *, validation: float, seed: int) -> Split:
    """The data that a user's file gives.

    Raises:
        ConfigError: ``data()`` gives something else than data sets or loaders.
        DataError: there are too few samples.
    """
    assert code.data is not None
    with user_errors(OWN_DATA), drawing(seed):
        found = code.data()
    if isinstance(found, (tuple, list)) and len(found) == 2:
        train, held = (TorchDataset(OWN_DATA, *_samples(each, code.name)) for each in found)
        return Split(train, held)
    samples, collate = _samples(found, code.name)
    rows = shuffled_split(OWN_DATA, None, len(samples), validation, seed)
    train, held = (TorchDataset(OWN_DATA, samples, collate, part) for part in rows)
    return Split(train, held)


def _samples(found: Any, name: str) -> tuple[Any, Callable[[list[Any]], Any]]:
    collate: Callable[[list[Any]], Any] = default_collate
    if isinstance(found, torch_data.DataLoader):
        collate = found.collate_fn or default_collate
        found = found.dataset
    if isinstance(found, torch_data.IterableDataset):
        raise ConfigError(
            f"data() of model={name} gives an iterable data set, whose samples have no order that a resumed run could "
            "repeat",
            fix="give a data set with __len__ and __getitem__",
        )
    if not (hasattr(found, "__getitem__") and hasattr(found, "__len__")):
        raise ConfigError(
            f"data() of model={name} gave a {type(found).__name__}",
            fix="return a torch.utils.data.Dataset or DataLoader, or two of them: to train on and to validate with",
        )
    if len(found) == 0:
        raise DataError(f"data() of model={name} has no samples")
    return found, collate


def example_split(
    code: UserCode,
    labels: Callable[[Mapping[str, Any], int], np.ndarray | None],
    total: int | None = None,
    *,
    validation: float,
    seed: int,
) -> Split:
    """Samples made of ``example_inputs``: there is little to learn from them, but a model runs on them.

    Args:
        code: of the user.
        labels: makes labels for examples that have none, and gives None where none are needed.
        total: how many samples there are to be; None: so many as usual.
        validation: the share to hold back.
        seed: of the random numbers.

    Raises:
        DataError: ``example_inputs(n)`` does not give n samples.
    """
    one = batch_of(code.examples(2, seed), EXAMPLES)
    size = sum(x.nbytes for _, x in _flat(one)) // 2
    total = total or _EXAMPLE_COUNT
    check_memory(f"{total:,} samples", 16 * total)  # the row of each, and its part
    count = max(2, min(total, _EXAMPLES, _EXAMPLE_BYTES // max(size, 1)))
    batch = batch_of(code.examples(count, seed), EXAMPLES)
    sizes = {x.shape[0] if x.ndim else 0 for _, x in _flat(batch)}
    if sizes != {count}:
        raise DataError(
            f"example_inputs({count}) gave tensors whose first axis is {', '.join(map(str, sorted(sizes)))}",
            fix="give as many samples as the argument says, along the first axis of each tensor",
        )
    made = labels(batch, count) if "labels" not in batch else None
    if made is not None:
        batch["labels"] = made
    rows = np.arange(total) % count
    held = min(max(round(validation * total), 1), total - 1)
    note = "the samples come from example_inputs(): fit to measure speed, not to learn from"
    note += "; their labels are random" if made is not None else ""
    parts = [ExampleDataset(EXAMPLES, batch, part) for part in (rows[held:], rows[:held])]
    return Split(parts[0], parts[1], (note,))
