"""What models train on: data sets by name, split, converted to what a model wants, and walked through in batches.

>>> from hal.data import Wanted, batches, load
>>> split = load("digits", Wanted("image", (8, 8, 1)))
>>> next(batches(split.train, 32, seed=0, epoch=0))["inputs"].shape
(32, 8, 8, 1)
"""

from hal.data.arrays import check_classes
from hal.data.augment import AUGMENTATIONS, augment, check_augmentations
from hal.data.batches import batches, count_batches
from hal.data.facts import DataFacts, RememberedData
from hal.data.sources import SOURCES, Source, load
from hal.data.spec import Columns, Dataset, Field, Kind, Split, Task, Wanted
from hal.data.summary import summary
from hal.data.text import bigram_entropy
from hal.data.tokens import Bytes, Tokenizer
from hal.data.weights import WeightedData, class_weights

__all__ = [
    "AUGMENTATIONS",
    "SOURCES",
    "Bytes",
    "Columns",
    "DataFacts",
    "Dataset",
    "Field",
    "Kind",
    "RememberedData",
    "Source",
    "Split",
    "Task",
    "Tokenizer",
    "Wanted",
    "WeightedData",
    "augment",
    "batches",
    "bigram_entropy",
    "check_augmentations",
    "check_classes",
    "class_weights",
    "count_batches",
    "load",
    "summary",
]
