"""Runs a workload: trains, evaluates, saves, and says what it did."""

from hal.run.bench import Bench, bench
from hal.run.observer import Observer
from hal.run.predict import predict
from hal.run.record import Epoch, Record
from hal.run.session import resumed, run

__all__ = ["Bench", "Epoch", "Observer", "Record", "bench", "predict", "resumed", "run"]
