"""What people type who know other tools: options that are keys here, and commands of other names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from typer.core import TyperCommand, TyperGroup

from hal.cli.guard import guard
from hal.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["HintingCommand", "HintingGroup"]

_COMMANDS = {
    "run": "train fit resume finetune fine-tune start launch exec eval evaluate",
    "bench": "benchmark profile perf time speed measure",
    "tune": "autotune optimize optimise search sweep autoconfig",
    "verify": "check compare parity diff validate",
    "compile": "build lower aot",
    "card": "health certificate doctor stress burn gpu-burn check-device mixbench roofline",
    "choose": "buy hardware recommend advise which catalogue catalog shop",
    "devices": "device list info env gpus gpu smi backends",
    "plans": "plan import",
    "predict": "infer inference classify generate sample use apply",
    "export": "convert save onnx deploy to_onnx",
    "report": "html show view",
    "port": "migrate hipify lint scan",
}
"""Commands of hal, each with words for the same thing elsewhere."""


_WITH_VALUE = ("--config", "--out", "--export", "--import")
"""Options of all commands that a value follows."""


def _refuse(args: Sequence[str], message: str, fix: str) -> NoReturn:
    """End with an error about what was typed."""
    from hal.util.passwords import without_password

    def work() -> int:
        raise ConfigError(without_password(message), fix=without_password(fix))

    guard(work, json_output="--json" in args)
    raise AssertionError("an error ends the command")


class HintingGroup(TyperGroup):
    """The commands of hal; a word that is none of them gets the one that was probably meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is named."""
        if (
            args
            and self.get_command(ctx, args[0]) is None
            and not args[0].startswith("-")
            and not ctx.resilient_parsing
        ):
            _refuse(args, *_no_command(args[0], list(self.commands)))
        return super().resolve_command(ctx, args)


def _no_command(word: str, known: Collection[str]) -> tuple[str, str]:
    if "=" in word:
        return f"{word} is a key, and hal needs a command before it", f"write for example: hal run {word}"
    plain = word.lower()
    near = [name for name in known if plain in _COMMANDS.get(name, "").split()]
    near = near or difflib.get_close_matches(plain, known, n=1)
    if not near:
        return f"hal has no command {word}", f"the commands are {', '.join(known)}"
    meant = "hal run resume=FOLDER" if plain == "resume" else f"hal {near[0]}"
    return f"hal has no command {word}; did you mean {near[0]}?", f"write: {meant}"


class HintingCommand(TyperCommand):
    """A command that says how an option that it does not have is written as a key."""

    @property
    def config(self) -> type[BaseModel] | None:
        """The model of the command's keys; None: it takes none."""
        return None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse options that should be keys; all other words are parsed as usual."""
        if not ctx.resilient_parsing:
            self._check(ctx, args)
        return super().parse_args(ctx, args)

    def _check(self, ctx: Any, args: list[str]) -> None:
        known = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        known |= set(ctx.help_option_names)
        words = args[: args.index("--")] if "--" in args else args
        is_value = False
        for word, following in zip(words, [*words[1:], ""], strict=False):
            name, equals, value = word.partition("=")
            if is_value:
                is_value = False
            elif word in _WITH_VALUE:
                is_value = True
            elif not name.startswith("--") and (len(name) < len("-lr") or name[0] != "-" or name in known):
                if equals and not any(each.param_type_name == "argument" for each in self.params):
                    _refuse(args, f"hal {self.name} takes no keys: {word}", f"see: hal {self.name} --help")
            elif name not in known and (config := self.config) is not None and (key := _key(config, name.lstrip("-"))):
                given = value if equals else "" if "=" in following else following
                given = "VALUE" if not given or given.startswith("-") else given
                _refuse(args, f"hal {self.name} has no option {name}: {key} is a key", f"write {key}={given}")


def _key(config: type[BaseModel], word: str) -> str | None:
    """The key that an option stands for; None: no key comes near."""
    from hal.config import known_keys
    from hal.config.synonyms import nearest_key

    known = known_keys(config)
    plain = word.replace("-", "_")
    if plain in known or word.startswith("model."):
        return plain
    return nearest_key(plain, known)
