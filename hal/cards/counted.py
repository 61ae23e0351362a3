"""A workload with what its steps cost; that of a user's own code is kept while the files it reads stay the same.

Counting a PyTorch module takes seconds, nearly all of them for importing PyTorch and its exporter, and whoever chooses
hardware asks again and again with other constraints.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hal.cards.counting import Cost, Subject, count, subject
from hal.config import DataSection, ModelSection
from hal.contract.device import PrecisionName
from hal.job.stored_plans import cache_folder
from hal.util.files import write_whole
from hal.util.opened import digest, foreign_code, installed_stamp, opened_files
from hal.util.reading import read_regular
from hal.workload import BUILT_IN

__all__ = ["Counted"]

_LARGEST = 16 << 20
_KEPT = 50


class _Kept(BaseModel):
    """What was counted, and the digests of the files that were read for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, str]
    default_batch: int
    samples: int
    costs: tuple[Cost, ...]


class Counted:
    """A workload, and the costs of its steps, counted when they are first asked for.

    Args:
        model: the model and its keys.
        data: what it learns from.
        mode: train or infer.

    Raises:
        RequestError: the model, its keys or the data are wrong.
    """

    def __init__(self, model: ModelSection | None, data: DataSection, mode: str) -> None:
        self._given = model, data, mode
        self._files: dict[str, str] = {}
        # Whether other data stay the same cannot be told from the files that a count opens, nor can what was imported
        # before.
        own = model is not None and model.name not in BUILT_IN and data == DataSection.model_validate({})
        self._place = _place(model, mode) if own and model is not None else None
        self._watched = self._place is not None and not foreign_code()
        self._kept = None if self._place is None else _read(self._place)
        held = self._kept.costs if self._kept else ()
        self._costs = {(cost.precision, cost.batch): cost for cost in held}
        self.default_batch = self._kept.default_batch if self._kept else self.subject.default_batch
        self.samples = self._kept.samples if self._kept else self.subject.samples

    @functools.cached_property
    def subject(self) -> Subject:
        """The model on its data."""
        with self._noting():
            return subject(*self._given)

    def of(self, precision: PrecisionName, batch: int) -> Cost:
        """The cost of one step."""
        if (precision, batch) not in self._costs:
            found = self.subject
            with self._noting():
                self._costs[precision, batch] = count(found, batch, precision)
        return self._costs[precision, batch]

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Remember what is read within the block, as it is when the block ends."""
        if not self._watched:
            yield
            return
        with opened_files() as files:
            yield
        try:
            self._files |= {str(path): digest(path) for path in files}
        except OSError:
            self._watched = False

    def keep(self) -> None:
        """Keep what was counted for the next time, where something new was and a place for it can be written to."""
        if self._place is None or not self._watched or (self._kept and len(self._kept.costs) == len(self._costs)):
            return
        files = self._files | (self._kept.files if self._kept else {})
        kept = _Kept(
            files=files,
            default_batch=self.default_batch,
            samples=self.samples,
            costs=tuple(self._costs.values()),
        )
        with contextlib.suppress(OSError):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._place, kept.model_dump_json().encode())
            for old in sorted(self._place.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
                old.unlink(missing_ok=True)


def _place(model: ModelSection, mode: str) -> Path:
    """The file for a request under these versions of everything."""
    own = max(path.stat().st_mtime_ns for path in Path(__file__).parents[1].rglob("*.py"))  # in development
    request = [model.name, model.keys(), mode, str(Path.cwd()), own, installed_stamp()]
    name = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return cache_folder().with_name("counts") / f"{name}.json"


def _read(path: Path) -> _Kept | None:
    """What was kept, if all files that were read for it are as they were."""
    try:
        kept = _Kept.model_validate_json(read_regular(path, _LARGEST))
        same = all(digest(Path(name)) == before for name, before in kept.files.items())
    except (OSError, ValidationError):
        return None
    return kept if same else None
