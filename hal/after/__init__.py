"""After a training: a trained model answers new inputs, and goes where it will be used."""

from hal.after.exporting import Export, export
from hal.after.predictions import Prediction
from hal.after.trained import Trained, load

__all__ = ["Export", "Prediction", "Trained", "export", "load"]
