"""Runs a model on its data: trains, evaluates, saves and records it; measures a plan."""

from hal.run.bench import Bench, bench
from hal.run.observer import RunObserver
from hal.run.record import Epoch, Record, read_record
from hal.run.resuming import resumed
from hal.run.session import run

__all__ = ["Bench", "Epoch", "Record", "RunObserver", "bench", "read_record", "resumed", "run"]
