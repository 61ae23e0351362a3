"""Recorded cards and builds of torch, as objects that the GPU backends decide about."""

import json
from pathlib import Path

from hal.backends._torch.build import Build, Properties

FOLDER = Path(__file__).parents[1] / "golden" / "cards"
BUILDS = json.loads((FOLDER / "builds.json").read_text())
CARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json")) if path.stem != "builds"}


def recorded(backend):
    """The cards of a backend, by the names of their files."""
    return {name: card for name, card in CARDS.items() if card["expected"]["backend"] == backend}


def build(name, *devices):
    given = dict(BUILDS[name])
    return Build(**{**given, "archs": tuple(given.get("archs", ())), "devices": devices})


def properties(name):
    return Properties(**CARDS[name]["properties"])
