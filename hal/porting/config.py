"""What ``hal port`` is asked for: options of the command, and ``[tool.hal.port]`` in pyproject.toml."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hal.errors import ConfigError
from hal.porting.catalogue import rules, select, target, vocabulary
from hal.porting.rule import SEVERITIES, Rule, Severity
from hal.util.reading import read_regular

__all__ = ["PortConfig", "chosen_rules", "project_settings", "settings"]


class PortConfig(BaseModel):
    """The settings; in pyproject.toml, each one under the name that it has on the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    to: str = Field(default_factory=lambda: vocabulary().default_target, description="The target.")
    origin: str | None = Field(None, alias="from", description="What the code was written for.")
    release: str | None = Field(None, description="Release of the target's software; None: the newest.")
    arch: str | None = Field(None, description="Architecture of the card; None: any.")
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    min_severity: Severity = Field("cosmetic", alias="min-severity")
    exclude: tuple[str, ...] = ()
    baseline: Path | None = None


def settings(path: Path, **given: Any) -> PortConfig:
    """The settings for a project: those given, then those of its pyproject.toml, then the defaults.

    Args:
        path: the project.
        given: options by the names of the fields; None and empty ones are not given.

    Raises:
        ConfigError: a setting is not known, or its value is not possible.
    """
    held = project_settings(path)
    options = {key: value for key, value in given.items() if value not in (None, (), [])}
    held = {key: value for key, value in held.items() if key.replace("-", "_") not in options and key not in options}
    held.update(options)
    try:
        config = PortConfig.model_validate(held)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, _names(), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            message = f"[tool.hal.port] in pyproject.toml has the unknown key {key}{hint}"
            raise ConfigError(message, fix=f"the keys are {', '.join(_names())}") from error
        allowed = f"allowed are {', '.join(SEVERITIES)}" if "severity" in key else "see: hal port --help"
        place = "" if key.replace("-", "_") in options else "[tool.hal.port] in pyproject.toml: "
        raise ConfigError(
            f"{place}{key.replace('_', '-')}={first['input']!r} is not possible for hal port", fix=allowed
        ) from error
    known = target(config.to).origins
    if config.origin is not None and config.origin not in known:
        raise ConfigError(
            f"hal port has no rules from {config.origin} to {config.to}",
            fix=f"to {config.to}, it knows code from: {', '.join(known)}",
        )
    if config.release is not None and re.fullmatch(r"\d+(\.\d+)*", config.release) is None:
        raise ConfigError(f"{config.release} is not the number of a release", fix="write for example 7.0")
    return config


def _names() -> list[str]:
    return [field.alias or name for name, field in PortConfig.model_fields.items()]


def project_settings(path: Path) -> dict[str, Any]:
    """``[tool.hal.port]`` of the pyproject.toml in the folder of a project, or in one above it.

    Raises:
        ConfigError: the file is damaged, or the section is no table.
    """
    start = path if path.is_dir() else path.parent
    for folder in (start, *start.absolute().parents):
        file = folder / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            held: Any = tomllib.loads(read_regular(file, 4_000_000).decode("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"cannot read {file}: {error}", fix="correct the file") from error
        for key in ("tool", "hal", "port"):
            held = held.get(key, {}) if isinstance(held, dict) else {}
        if not isinstance(held, dict):
            raise ConfigError(f"[tool.hal.port] in {file} is no table", fix="write settings below [tool.hal.port]")
        if isinstance(held.get("baseline"), str):
            held["baseline"] = folder / held["baseline"]
        return dict(held)
    return {}


def chosen_rules(config: PortConfig) -> list[Rule]:
    """The rules that hold for what was asked.

    Raises:
        ConfigError: select or ignore names a rule that does not exist.
    """
    wanted = set(select(config.select)) if config.select else set(rules())
    wanted -= set(select(config.ignore))
    origin = config.origin or target(config.to).origins[0]
    worst = SEVERITIES.index(config.min_severity)
    return [
        rule
        for rule in rules().values()
        if rule.id in wanted
        and config.to in rule.targets
        and origin in rule.origins
        and SEVERITIES.index(rule.severity) <= worst
        and _holds(rule, config)
    ]


def _holds(rule: Rule, config: PortConfig) -> bool:
    """Whether a rule holds for the release and the architecture."""
    if rule.until is not None and (config.release is None or _number(config.release) >= _number(rule.until)):
        return False
    if rule.since is not None and config.release is not None and _number(config.release) < _number(rule.since):
        return False
    return not (rule.architectures and config.arch and not config.arch.startswith(rule.architectures))


def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))
