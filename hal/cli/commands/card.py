"""``hal card``: does a device compute right, and as fast as it should."""

from __future__ import annotations

from hal.cli.command import Command, ConfigFile, Json, Keys, Panel
from hal.cli.guard import guard, shown_though_unsaved
from hal.cli.terminal import print_json

__all__ = ["COMMAND"]


def card(keys: Keys = None, config: ConfigFile = None, json_output: Json = False) -> None:
    """Examine a device."""

    def work() -> int:
        from hal.cards.certificate import Certificate
        from hal.cards.certify import certify
        from hal.cards.config import CardConfig
        from hal.cli.commands._card_view import show_certificate
        from hal.cli.styled import note
        from hal.config import build, read

        def show(found: Certificate) -> None:
            show_certificate(found, to_stderr=json_output)
            if json_output:
                print_json(found.model_dump(mode="json"))

        asked = build(CardConfig, read(CardConfig, keys or [], config))
        with shown_though_unsaved(show):
            found = certify(asked, note)
        show(found)
        return 0 if found.healthy else 1

    guard(work, json_output)


COMMAND = Command(
    card,
    help="Examine a device: does it compute right, is it as fast as it should be, does it hold its speed, and if not, "
    "why.\n\nResults are compared with the host, speeds with the sheet and with what healthy devices of the kind "
    "reach. The result is kept, so that the next one says what has changed. Exit status: 0 healthy, or not to be "
    "judged; 1 something is wrong.",
    panel=Panel.DEVICES,
    examples=(
        "hal card",
        "hal card seconds=45 html=card.html",
        "hal card power_limits=400,500,600,700",
    ),
    config_path="hal.cards.config:CardConfig",
)
