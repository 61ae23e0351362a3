"""Cards that are not here: kernels that are compiled for them, what these use, and what is said where that fails."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hal import registry
from hal.backends.opencl.codegen.choices import offered
from hal.backends.opencl.targets import cards, clang
from hal.backends.opencl.targets.resources import CodeFacts, kernels_of, waves_of_a_simd
from hal.cli.app import app
from hal.contract import Available
from hal.contract.plan import Plan
from hal.contract.program import ArrayShape
from hal.errors import ConfigError, RunError, UnsupportedError

DOCS = Path(__file__).parents[2] / "docs"
SMALL = ("model.filters=[8,16]", "model.dense=16", "batch=8", "largest=false")
pytestmark = pytest.mark.skipif(
    not isinstance(registry.backend("opencl").probe_targets(), Available), reason="pyopencl is not installed"
)


def needs(vendor):
    lacking = clang.missing(vendor)
    return pytest.mark.skipif(lacking is not None, reason=lacking[0] if lacking else "")


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def compiled(target, *words, status=0):
    done = command("compile", "model=cnn", f"target={target}", *SMALL, *words, "--json")
    assert done.exit_code == status, done.output
    return json.loads(done.stdout)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "product", "arch", "units"),
        [
            ("opencl:gfx1030", "Radeon RX 6800", "gfx1030", 60),
            ("OpenCL:rx6900xt", "Radeon RX 6900 XT", "gfx1030", 80),
            ("opencl:gfx803", "Radeon RX 480", "gfx803", 36),
            ("opencl:arc-a770", "Arc A770", "acm-g10", 512),
        ],
    )
    def test_cards(self, name, product, arch, units):
        found = cards.target(name)
        assert found is not None
        device = found.device
        assert (device.name, device.arch, device.compute_units, found.devices) == (product, arch, units, 1)
        assert device.memory_bytes

    def test_a_card_is_named_as_it_is_asked_for(self):
        assert str(registry.backend("opencl").target("opencl:gfx1030").device) == "opencl:gfx1030:0"

    def test_names_of_others(self):
        assert cards.target("tpu-v5e:2x2") is None

    def test_unknown(self):
        with pytest.raises(ConfigError, match=r"did you mean opencl:gfx10\d\d\?"):
            cards.target("opencl:gfx1039")

    def test_all_names_are_cards(self):
        assert {cards.card_of(name).vendor for name in cards.names()} == {"amd", "intel"}


class TestPlans:
    def test_cards_offer_their_own_kernels(self):
        device = cards.target("opencl:gfx900").device
        plan = Plan().resolve(device)
        assert (plan.tile, plan.workgroup, plan.sums) == ("4x4", "256", "pieces")
        assert {key: device.capabilities.choices()[key] for key in ("tile", "workgroup", "sums")} == offered(
            cards.card_of("opencl:gfx900").facts
        )
        for wrong in (Plan(tile="6x16"), Plan(workgroup="32")):
            with pytest.raises(UnsupportedError, match="is not supported on opencl"):
                wrong.resolve(device)


class TestResources:
    def test_metadata(self):
        text = """
amdhsa.kernels:
  - .args:
      - .address_space:  global
        .name:           out
    .group_segment_fixed_size: 8192
    .name:           first
    .private_segment_fixed_size: 388
    .sgpr_count:     22
    .sgpr_spill_count: 1
    .vgpr_count:     90
    .vgpr_spill_count: 2
  - .args:           []
    .group_segment_fixed_size: 0
    .name:           second
    .private_segment_fixed_size: 0
    .sgpr_count:     11
    .sgpr_spill_count: 0
    .vgpr_count:     7
    .vgpr_spill_count: 0
amdhsa.target:   amdgcn-amd-amdhsa--gfx900
"""
        assert kernels_of(text) == {
            "first": CodeFacts(90, 22, 8192, 388, 2, 1),
            "second": CodeFacts(7, 11, 0, 0, 0, 0),
        }

    @pytest.mark.parametrize(
        ("arch", "vgprs", "sgprs", "local", "group", "waves"),
        [
            ("gfx900", 24, 16, 0, 256, 10),
            ("gfx900", 25, 16, 0, 256, 9),
            ("gfx900", 90, 16, 0, 256, 2),
            ("gfx900", 24, 96, 0, 256, 8),  # 800 scalar registers in steps of 16
            ("gfx900", 24, 16, 32768, 256, 2),  # two groups of four waves on four SIMDs
            ("gfx900", 24, 16, 16384, 64, 1),
            ("gfx1010", 48, 108, 0, 256, 20),
            ("gfx1030", 65, 108, 0, 256, 12),
            ("gfx1030", 90, 108, 0, 256, 10),
        ],
    )
    def test_waves(self, arch, vgprs, sgprs, local, group, waves):
        assert waves_of_a_simd(arch, CodeFacts(vgprs, sgprs, local, 0, 0, 0), group)[0] == waves


@needs("amd")
class TestCompiling:
    @pytest.mark.parametrize("arch", ["gfx900", "gfx1030"])
    def test_kernels_of_the_cnn(self, arch, tmp_path):
        """They compile, and no register is spilled; the waves are those that LLVM says."""
        found = compiled(f"opencl:{arch}", f"out={tmp_path / 'made'}")
        assert (found["stage"], found["fits"]) == ("compiled", True)
        assert len(found["kernels"]) > 20
        assembly = (tmp_path / "made" / "program.s").read_text()
        said = dict(re.findall(r"^\t\.size\t(\w+), .*?; Occupancy: (\d+)", assembly, re.MULTILINE | re.DOTALL))
        for kernel in found["kernels"]:
            assert (kernel["spilled_registers"], kernel["scratch_bytes"]) == (0, 0), kernel
            assert int(said[kernel["name"]]) - kernel["waves"] in (0, 1), kernel
        assert found["cost"]["estimate_s"] > 0
        assert "have not run on this card" in found["cost"]["source"]

    @pytest.mark.skipif(getattr(clang.find_compiler(), "version", "") != "15", reason="the page is clang 15's word")
    def test_the_page_is_current(self):
        """What docs/opencl-cards.md says of one card is what is compiled for it."""
        spec = importlib.util.spec_from_file_location("hal_docs_cards", DOCS / "generate_card_resources.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        page, found = (DOCS / "opencl-cards.md").read_text(), module.compiled("cnn", "gfx1030")
        _, _, section = page.partition("on gfx1030")
        assert len(module.product_rows(found)) > 10
        for row in module.product_rows(found):
            assert row in section, "run: python docs/generate_card_resources.py"
        assert module.summary_row("cnn", found) in page, "run: python docs/generate_card_resources.py"

    def test_tiles_of_a_plan(self):
        """A larger tile takes more registers."""
        most = {
            tile: max(k["registers"]["VGPR"] for k in compiled("opencl:gfx900", f"tile={tile}")["kernels"])
            for tile in ("2x4", "8x8")
        }
        assert most["8x8"] > 1.5 * most["2x4"]

    def test_inference(self):
        found = compiled("opencl:gfx1030", "mode=infer")
        assert any(kernel["label"].startswith("product") for kernel in found["kernels"])

    def test_memory_grows_with_the_batch(self):
        small, large = (compiled("opencl:arc-a770", f"batch={n}")["memory"] for n in (64, 256))
        assert small["temporaries"] * 2 < large["temporaries"] < small["temporaries"] * 8

    def test_what_people_see(self):
        done = command("compile", "model=cnn", "target=opencl:gfx1030", *SMALL)
        assert "Radeon RX 6800" in done.stdout
        assert "none needs more registers" in done.stdout
        assert "waves side by side" in " ".join(done.stdout.split())

    def test_a_kernel_that_the_compiler_refuses(self):
        with pytest.raises(RunError, match=r"refused hal's kernels: .*undeclared"):
            clang.compile_source(
                "__kernel void k(__global int *out) { out[0]=nothing; }", cards.card_of("opencl:gfx900")
            )


@needs("intel")
def test_intel_is_compiled_to_spirv():
    found = compiled("opencl:arc-a770")
    assert (found["stage"], found["kernels"]) == ("compiled", [])


class TestMissing:
    def test_no_clang(self, monkeypatch):
        """The reason, and one line that installs what is missing."""
        monkeypatch.setattr(shutil, "which", lambda name: None)
        monkeypatch.setattr(clang, "find_compiler", clang.find_compiler.__wrapped__)
        done = compiled("opencl:gfx1030", status=3)
        assert "clang is not installed" in done["error"]["message"]
        assert "apt-get install clang-15 libclc-15" in done["error"]["fix"]

    @pytest.mark.parametrize(("vendor", "package"), [("amd", "libclc-15"), ("intel", "llvm-spirv-15")])
    def test_a_part_of_it(self, monkeypatch, vendor, package):
        monkeypatch.setattr(clang, "find_compiler", lambda: clang.Compiler("clang", "15", "", None))
        assert package in clang.missing(vendor)[1]

    def test_no_device_is_needed(self, monkeypatch):
        """Machines without a driver compile all the same."""
        from hal.backends.opencl import backend, platforms

        monkeypatch.setattr(backend, "find", lambda: platforms.Found(problem="no driver", fix="install one"))
        assert isinstance(registry.backend("opencl").probe_targets(), Available)
        lost = platforms.Found(problem="none", fix="install", lacks_pyopencl=True)
        monkeypatch.setattr(backend, "find", lambda: lost)
        assert registry.backend("opencl").probe_targets().fix == "install"


def test_a_value_while_compiling_for_a_card():
    """What looks at values is refused as it is on a device."""
    backend, target = registry.backend("opencl"), cards.target("opencl:gfx1030")
    ops = backend.ops(target.device)
    for function in (
        lambda x: x if float(ops.sum(x)) else x + 1,
        lambda x: x + float(ops.asarray(np.ones(3, np.float32))[0]),
    ):
        with pytest.raises(UnsupportedError, match="a value"):
            backend.build(function, [ArrayShape((3,), "float32")], target.device, Plan())
