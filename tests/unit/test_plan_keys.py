"""A new key of the plan is one field of Plan and what the backends offer: everything else follows."""

import subprocess
import sys

import pytest

from hal.config import PlanKeys
from hal.contract.plan import Plan
from hal.contract.text import plan_changes, plan_line
from hal.tuner.config import SpaceSection

NEW_KEY = """
import dataclasses, importlib.machinery, sys

FIELD = '''    tile: Literal["auto", "small", "large"] = Field(
        default="auto", description="Tile size of the toy kernels."
    )
'''


class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, name):
        text = self.get_data(self.path).decode()
        place = text.index("    threads: Annotated")
        return compile(text[:place] + FIELD + text[place:], self.path, "exec")


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "hal.contract.plan":
            return importlib.machinery.ModuleSpec(name, Loader(name, path[0] + "/plan.py"))


sys.meta_path.insert(0, Finder)
import hal
from hal.config import PlanKeys, build
from hal.contract.plan import Plan
from hal.errors import HalError

device = hal.device("null")
can = device.capabilities
offers = dataclasses.replace(can, algorithms={**can.algorithms, "tile": ("large", "small")})
toy = dataclasses.replace(device, capabilities=offers)


def refused(action):
    try:
        action()
    except HalError as error:
        print(error.message, error.fix, sep=" -> ")
"""


def with_new_key(code):
    """What code prints where Plan has one key more, ``tile``; ``toy`` is a device that offers values of it."""
    done = subprocess.run([sys.executable, "-c", NEW_KEY + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_new_key_resolves():
    assert with_new_key(
        """
print(Plan().resolve(toy).tile, Plan(tile="small").resolve(toy).tile, Plan().resolve(device).tile)
refused(lambda: Plan(tile="small").resolve(device))
other = dataclasses.replace(toy, capabilities=dataclasses.replace(offers, algorithms={"tile": ("large",)}))
refused(lambda: Plan(tile="small").resolve(other))
"""
    ) == [
        "large small auto",
        "tile=small was given, but null:0 does not support the key tile -> leave tile= out",
        "tile=small is not supported on null:0 (shapes only) -> use one of: large",
    ]


def test_a_new_key_is_a_key_of_commands():
    found = with_new_key(
        """
from hal.run.config import BenchConfig
from hal.tuner.config import TuneConfig

config = build(BenchConfig, {"tile": "small", "versus": {"tile": "large"}})
print(config.base_plan(batch=8).tile, config.versus.over(Plan()).tile)
refused(lambda: build(BenchConfig, {"tlie": "small"}))
refused(lambda: build(BenchConfig, {"tile": "huge"}))
refused(lambda: build(TuneConfig, {"space": {"tiel": "small"}}))
refused(lambda: build(TuneConfig, {"space": {"tile": "auto"}}))
"""
    )
    assert found == [
        "small large",
        "unknown key tlie; did you mean tile? -> None",
        "tile=huge: input should be 'auto', 'small' or 'large' -> None",
        "unknown key space.tiel; did you mean space.tile? -> None",
        "space.tile=auto: input should be 'small' or 'large' -> None",
    ]


def test_a_new_key_is_in_help():
    shown = "from hal.cli.app import COMMANDS; from hal.cli.help import print_keys; print_keys(COMMANDS['bench'])"
    lines = with_new_key(shown)
    assert any("tile" in line and "Tile size of the toy kernels." in line for line in lines)


def test_a_new_key_is_shown_and_tuned():
    found = with_new_key(
        """
from types import SimpleNamespace
from hal.contract.text import plan_changes, plan_line
from hal.tuner.config import SpaceSection
from hal.tuner.space import Space, costlier, key_of, signature_of

print(plan_line(Plan(tile="small")), "|", plan_changes(Plan(tile="small"), Plan()))
default = Plan(batch=8).resolve(toy)
workload = SimpleNamespace(mode="train")
described = SimpleNamespace(
    device=toy, default=default, samples=64, images=False, own_ops=True, target=None, devices=1, workload=workload
)
for listed in ({}, {"tile": ["small"]}):
    print(Space(described, PlanKeys(), SpaceSection(**listed), ("throughput",)).dimensions["tile"])
other = default.model_copy(update={"tile": "small"})
print(key_of(other) == key_of(default), signature_of(other) == signature_of(default), costlier(other, default))
"""
    )
    assert found == [
        "batch 128, fp32, auto, auto, tile small | tile small",
        "('large', 'small')",
        "('small',)",
        "False False False",
    ]


@pytest.mark.parametrize("derived", [PlanKeys, SpaceSection])
def test_derived_configs_have_the_keys_of_the_plan(derived):
    assert list(derived.model_fields) == list(Plan.model_fields)
    assert derived().given() == {}


def test_descriptions_are_the_plans_own():
    for key, field in Plan.model_fields.items():
        assert PlanKeys.model_fields[key].description == field.description
        assert field.description[0].isupper()
        assert field.description.endswith(".")


@pytest.mark.parametrize(
    ("keys", "line", "changes"),
    [
        ({}, "batch 128, fp32, auto, auto", "the default plan"),
        ({"compile": "eager", "conv": "direct"}, "batch 128, fp32, auto, eager", "compile eager, conv direct"),
        ({"compile": "max", "conv": "patches"}, "batch 128, fp32, auto, compile max, conv patches", None),
        ({"threads": 1, "precision": "bf16"}, "batch 128, bf16, auto, auto, 1 thread", "bf16, 1 thread"),
        ({"threads": 2, "parallel": "dp=2"}, "batch 128, fp32, auto, auto, 2 threads, dp=2", "2 threads, dp=2"),
        ({"batch": 8, "accumulate": 2}, "batch 8, fp32, auto, auto, accumulate 2", "batch 8, accumulate 2"),
    ],
)
def test_plans_in_words(keys, line, changes):
    assert plan_line(Plan(**keys)) == line
    if changes is not None:
        assert plan_changes(Plan(**keys), Plan()) == changes
    assert plan_changes(Plan(), Plan(threads=2)) == "threads auto"
