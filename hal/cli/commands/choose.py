"""``hal choose``: which hardware for a workload."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from hal.cli.command import Command, ConfigFile, Json, Keys, Panel
from hal.cli.guard import guard
from hal.cli.terminal import print_json
from hal.errors import ConfigError

__all__ = ["COMMAND"]

_LIMIT = re.compile(r"^(memory|watts|price)\s*(<=|>=|<|>)\s*(.*)$")
_LIMITS = {
    "memory": (">=", "the least memory of a device in GB"),
    "watts": ("<=", "the most watts of a device"),
    "price": ("<=", "the highest price of a device"),
}
"""Keys that limit something: how the limit may be written in place of ``=``, and what it is."""


def choose(
    keys: Keys = None,
    config: ConfigFile = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the devices of the catalogue instead.")] = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="List what no source says of the devices, and where sources differ.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Find hardware."""

    def work() -> int:
        from hal.cards.choose import choose as find
        from hal.cards.choose_config import ChooseConfig
        from hal.cli.commands import _choose_view as view
        from hal.config import build, read

        if devices or unknown:
            if json_output:
                print_json(view.devices_json() if devices else view.unknown_json())
            else:
                (view.show_devices if devices else view.show_unknown)()
            return 0
        asked = build(ChooseConfig, read(ChooseConfig, [_plain(word) for word in keys or []], config))
        found = find(asked)
        view.show_choice(found, to_stderr=json_output)
        if json_output:
            print_json(found.model_dump(mode="json"))
        return 0

    guard(work, json_output)


def _plain(word: str) -> str:
    """A key as the config has it: people write ``watts<=300`` and ``for=edge`` for ``watts=300`` and ``use=edge``."""
    if word.startswith("for="):
        return word.replace("for", "use", 1)
    found = _LIMIT.match(word)
    if found is None:
        return word
    key, sign, value = found.groups()
    own, what = _LIMITS[key]
    if sign != own:
        raise ConfigError(
            f"{word!r} cannot be asked for: {key}= is {what}",
            fix=f"write '{key}{own}{value}' or {key}={value}; a device of exactly {value} is included",
        )
    return f"{key}={value}"


COMMAND = Command(
    choose,
    help="Find out which hardware suits a workload.\n\nHard facts come first: what fits, which build serves it, watts, "
    "prices. Then throughput is predicted, with intervals; devices that cannot be told apart form a group. Nothing is "
    "computed, and no framework is loaded for a model of hal's own.",
    panel=Panel.DEVICES,
    examples=(
        "hal choose model=cnn",
        "hal choose model=transfer model.backbone=resnet50 mode=infer watts=150",
        "hal choose model=net.py:Net use=training memory=24 prices=prices.csv html=choice.html",
        "hal choose --unknown",
    ),
    config_path="hal.cards.choose_config:ChooseConfig",
)
