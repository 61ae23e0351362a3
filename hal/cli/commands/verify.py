"""``hal verify``: compare what a model computes on two devices."""

from __future__ import annotations

from hal.cli.command import Command, ConfigFile, Json, Keys, Panel
from hal.cli.guard import guard, shown_though_unsaved
from hal.cli.terminal import print_json

__all__ = ["COMMAND"]


def verify(keys: Keys = None, config: ConfigFile = None, json_output: Json = False) -> None:
    """Compare devices."""

    def work() -> int:
        from hal.cli.commands._verify_view import show_verification
        from hal.cli.styled import note
        from hal.config import build, read
        from hal.parity import Verification
        from hal.parity import verify as compare
        from hal.parity.config import VerifyConfig

        def show(found: Verification) -> None:
            show_verification(found, to_stderr=json_output)
            if json_output:
                print_json(found.model_dump(mode="json"))

        with shown_though_unsaved(show):
            found = compare(build(VerifyConfig, read(VerifyConfig, keys or [], config)), note)
        show(found)
        return 0 if found.agrees else 1

    guard(work, json_output)


COMMAND = Command(
    verify,
    help="Compare what a model computes on different devices, op by op.\n\n"
    "The gradients, the optimizer and the loss are compared too. Use backends=A,B for devices in this machine. For "
    "another machine, write a trace here with record=DIR, copy it, and compare with it there with against=DIR.",
    panel=Panel.PORTABILITY,
    examples=(
        "hal verify model=cnn backends=cpu,auto precision=bf16",
        "hal verify model=cnn backend=cpu record=trace",
        "hal verify against=trace backend=auto",
    ),
    config_path="hal.parity.config:VerifyConfig",
)
