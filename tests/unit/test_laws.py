"""The laws that hold across modules: what importing costs, who imports whom, who names vendors, what is public."""

import ast
import dataclasses
import graphlib
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hal
import hal.errors

ROOT = Path(__file__).parents[2]
FOLDERS = {"hal": "hal", "backends": "hal.backends", "models": "hal.models", "tuner": "hal.tuner"}
LINKS = tuple(ROOT / "hal" / name for name in ("backends", "models", "tuner"))


def modules():
    """Each module of the package by its name, found once: by its own folder, not by the link to it."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(path.is_relative_to(link) for link in LINKS):
                parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
                found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()
OUTSIDE_BACKENDS = {name: path for name, path in MODULES.items() if not name.startswith("hal.backends")}


REPORT = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
"""


def modules_after(code):
    """The modules that a fresh interpreter holds after it ran the code."""
    done = subprocess.run([sys.executable, "-c", REPORT + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def loaded_after(code):
    """Top-level names of those modules."""
    return {name.partition(".")[0] for name in modules_after(code)}


def hal_with(words):
    """Code that runs ``hal`` with some words."""
    return f"import sys; sys.argv = {['hal', *words.split()]}; from hal.cli import main; main()"


BARE_HELP = """
import sys, typer
sys.argv = ["bare", "--help"]
app = typer.Typer(rich_markup_mode="rich")
app.command()(lambda: None)
app()
"""


FRAMEWORKS = {"torch", "jax", "jaxlib", "tensorflow", "keras", "lightning"}


class TestImports:
    """Law 1: importing hal loads no framework, and a backend is loaded when it is first asked for."""

    def test_hal_alone(self):
        loaded = loaded_after("import hal")
        assert "hal" in loaded
        assert loaded.isdisjoint(FRAMEWORKS | {"numpy", "sklearn", "pydantic", "typer", "rich", "plotly", "jinja2"})

    def test_help(self):
        loaded = loaded_after(hal_with("--help"))
        assert "typer" in loaded
        assert loaded.isdisjoint(FRAMEWORKS | {"numpy", "sklearn", "pydantic", "yaml", "plotly", "jinja2"})

    def test_help_loads_little_more_than_typer(self):
        """What an error, a completion or the work of a command needs is loaded when it is needed."""
        more = modules_after(hal_with("--help")) - modules_after(BARE_HELP)
        own = {name for name in more if name.partition(".")[0] == "hal"}
        assert more - own == {"pkgutil"}
        assert own.isdisjoint({"hal.cli.completion", "hal.cli.styled", "hal.cli.help", "hal.config", "hal.contract"})

    def test_the_version_loads_no_styles(self):
        loaded = loaded_after(hal_with("--version"))
        assert "typer" in loaded
        assert loaded.isdisjoint(FRAMEWORKS | {"numpy", "rich", "pygments", "markdown_it"})

    def test_all_modules_outside_backends(self):
        apart = ("hal.__main__", "hal.testing", "hal.torch.")  # hal.torch alone loads no framework; its parts need one
        names = [name for name in OUTSIDE_BACKENDS if not name.startswith(apart)]
        assert loaded_after("\n".join(f"import {name}" for name in names)).isdisjoint(FRAMEWORKS)

    def test_asking_for_one_backend_loads_no_other(self):
        assert loaded_after("import hal; hal.device('null').xp.ones((2, 3))").isdisjoint(FRAMEWORKS)


# Lower ones first: a part of hal imports only what stands above it in this list, which is below it in the design.
LAYERS = (
    "errors types util page catalogue tensor contract registry ops backends testing measure data nn torch models "
    "config workload job processes targets run after parity porting tuner cards api cli __main__"
).split()
# Imports against that order, inside functions, with what they are for.
UPWARD: dict[tuple[str, str], str] = {}


@dataclasses.dataclass(frozen=True)
class Import:
    module: str
    target: str
    line: int

    @staticmethod
    def part(name):
        return name.split(".")[1] if "." in name else ""

    def __str__(self):
        return f"{self.module}:{self.line} imports {self.target}"


def imports_of(module, path):
    """What a module imports when it is loaded and when its functions run; imports for annotations do not count."""

    def visit(node):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            nodes = node.orelse
        else:
            nodes = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import; write it from the root, hal."
            for alias in node.names:
                target = f"{node.module}.{alias.name}"
                inside = target in MODULES or node.module == "hal"
                yield Import(module, target if inside else str(node.module), node.lineno)
        for child in nodes:
            yield from visit(child)

    yield from visit(ast.parse(path.read_text()))


IMPORTS = [found for module, path in MODULES.items() for found in imports_of(module, path)]
INTERNAL = [found for found in IMPORTS if found.target.split(".")[0] == "hal" and found.target != "hal.__version__"]


class TestDependencies:
    """Dependencies point one way."""

    def test_every_part_has_its_place(self):
        assert {Import.part(name) for name in MODULES} - {""} == set(LAYERS)

    def test_they_point_down(self):
        rank = {part: position for position, part in enumerate(LAYERS)}
        wrong = [
            str(found)
            for found in INTERNAL
            if (pair := (Import.part(found.module), Import.part(found.target))) not in UPWARD
            and (pair[0] == "" or rank.get(pair[1], len(LAYERS)) > rank[pair[0]])
        ]
        assert wrong == []

    def test_no_circles(self):
        """No module needs itself, at whatever distance; imports inside functions count too."""
        needs = {}
        for found in INTERNAL:
            target = found.target if found.target in MODULES else found.target.rpartition(".")[0]
            if target != found.module:
                needs.setdefault(found.module, set()).add(target)
        graphlib.TopologicalSorter(needs).prepare()  # raises CycleError, which names the circle

    def test_exceptions_are_needed(self):
        assert {(Import.part(found.module), Import.part(found.target)) for found in INTERNAL} >= set(UPWARD)

    @pytest.mark.parametrize("part", ["backends", "models"])
    def test_found_by_name_alone(self, part):
        """Others find backends by entry points and models by name, so that one from outside is worth as much."""
        wrong = [
            str(found) for found in INTERNAL if Import.part(found.target) == part and Import.part(found.module) != part
        ]
        assert wrong == []

    def test_vendors_do_not_import_each_other(self):
        wrong = []
        for found in INTERNAL:
            if found.module.startswith("hal.backends.") and found.target.startswith("hal.backends."):
                mine, its = found.module.split(".")[2], found.target.split(".")[2]
                if its not in (mine, "_torch", "_host", "_traced"):
                    wrong.append(str(found))
        assert wrong == []


VENDORS = set("cuda rocm hip nvidia amd tpu mps xpu intel jax cudnn nvml miopen".split())
# Texts for people may give examples, and they alone: docstrings, comments, and what these keyword arguments hold.
TEXTS = {"help", "description", "fix"}


def words_of(text):
    """The words in an identifier or a text, in small letters: ``CudaBackend`` has cuda, ``to_hip2`` has hip."""
    humps = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)
    return {word.lower() for word in humps} | set(re.findall(r"[a-z]+", text.lower()))


def docstrings(tree):
    """The text that stands alone as a statement: docstrings of modules, classes, functions and attributes."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def vendors_named(tree):
    """Lines of code, neither docstring nor comment nor help text, that name a vendor, with the vendor."""
    texts = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in TEXTS:
            texts |= {id(inner) for inner in ast.walk(node.value)}
    for node in ast.walk(tree):
        if id(node) in texts:
            continue
        named = [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
        for field in ("id", "attr", "name", "arg", "asname", "module", "rest"):
            if isinstance(held := getattr(node, field, None), str):
                named.append(held)
        named += getattr(node, "names", ()) if isinstance(node, ast.Global | ast.Nonlocal) else ()
        for vendor in {word for text in named for word in words_of(text)} & VENDORS:
            yield getattr(node, "lineno", 0), vendor


@pytest.mark.parametrize("name", OUTSIDE_BACKENDS)
def test_no_vendor_is_named(name):
    """Law 2: only a backend knows its vendor."""
    assert list(vendors_named(ast.parse(OUTSIDE_BACKENDS[name].read_text()))) == []


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("import jax", [1]),
        ("from jax import numpy", [1]),
        ("if x.type == 'cuda':\n    pass", [1]),
        ("\nuse_hip = 1", [2]),
        ("def on_cuda(x): ...", [1]),
        ("class CudaThing: ...", [1]),
        ("f(cuda=1)", [1]),
        ("f'{x}: needs ROCm'", [1]),
        ("'''cuda'''", []),
        ("Field(0, description='for example cuda:1')", []),
        ("ship, chip, jaxtyping, clamps = 1, 2, 3, 4  # cuda", []),
    ],
)
def test_vendors_are_noticed(code, lines):
    assert [line for line, _ in vendors_named(ast.parse(code))] == lines


LONGEST = 400
SOURCES = sorted(path for name in (*FOLDERS, "tests", "benchmarks", "docs") for path in (ROOT / name).rglob("*.py"))
SOURCES = [path for path in SOURCES if not any(path.is_relative_to(link) for link in LINKS)]


def too_long(text):
    """Whether a module has more lines than fit in the head, and its docstring does not say why."""
    docstring = ast.get_docstring(ast.parse(text)) or ""
    return len(text.splitlines()) > LONGEST and re.search(r"^Long because ", docstring, re.MULTILINE) is None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_too_long(path):
    """Split it at the seam, or say in a sentence of its docstring, on a line of its own, that it is long because ..."""
    assert not too_long(path.read_text())


@pytest.mark.parametrize(
    ("head", "lines", "expected"),
    [
        ("", LONGEST, False),
        ("", LONGEST + 1, True),
        ("'A title.'", LONGEST + 1, True),
        ("'''A title.\n\nLong because it is one table.\n'''", LONGEST + 1, False),
        ("# Long because nobody splits it.", LONGEST + 1, True),
    ],
)
def test_long_modules_are_noticed(head, lines, expected):
    assert too_long(head + "\n" * (lines - head.count("\n"))) is expected


def public(module):
    return sorted(importlib.import_module(module).__all__)


PUBLIC = {
    "hal": (
        "Capabilities Device Model Plan Workload __version__ api bench card choose compile device devices errors "
        "export load nn ops predict train tune verify"
    ),
    "hal.contract": (
        "Available Backend BuildsTargets Capabilities CountsCosts Device ExportedFunction ExportsPrograms Group Load "
        "MeasuresDevices MemoryUse PRECISIONS Plan Precision PrecisionName SpreadsOver Telemetry Unavailable"
    ),
    "hal.errors": (
        "AxisError CheckpointError ConfigError DataError DeviceLostError HalError InUseError InputError NotFoundError "
        "NumericsError OutOfMemoryError PlanError RequestError RunError ShapeError SizeError UnavailableError "
        "UnsavedError UnsupportedError"
    ),
    "hal.nn": (
        "Activation Auxiliary AvgPool2d BatchNorm Classifier Conv2d Conv2dTranspose Defaults Dense Dropout Embedding "
        "Flatten GRU GlobalAvgPool LSTM Layer LayerNorm LearnedPositions LossOutput MaxPool2d Model ModelConfig "
        "MultiHeadAttention Objective Param Phase Report Reshape Residual Sequential SimpleRNN SinusoidalPositions "
        "TrainedModel TrainingView TransformerBlock initialize"
    ),
    "hal.torch": "translate",
    "hal.ops": (
        "abs acos acosh add all any argmax argmin argsort asin asinh astype atan atan2 atanh attention avg_pool2d "
        "batch_norm bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor "
        "broadcast_to cast ceil clip concat conj conv1d conv2d conv2d_transpose copysign cos cosh count_nonzero "
        "cross_entropy cumulative_prod cumulative_sum diff divide dropout einsum elu embedding empty_like equal erf "
        "exp expand_dims expm1 filled flip floor floor_divide fold_in full_like gelu greater greater_equal "
        "group_norm gru hypot imag index_put isfinite isinf isnan layer_norm leaky_relu less less_equal linear log "
        "log10 log1p log2 log_softmax logaddexp logical_and logical_not logical_or logical_xor lstm matmul "
        "matrix_transpose max max_pool2d maximum mean min minimum moveaxis multiply namespace negative nextafter "
        "nonzero normal not_equal ones_like permute_dims positions positive pow prod real reciprocal relu remainder "
        "repeat reshape rnn roll round scan scatter searchsorted sigmoid sigmoid_cross_entropy sign signbit silu sin "
        "sinh softmax softplus sort split_key sqrt square squared_error squeeze stack std stop_gradient subtract sum "
        "take take_along_axis tan tanh tensordot tile topk translate2d tril triu trunc uniform unique_all "
        "unique_counts unique_inverse unique_values unstack var vecdot where zeros_as zeros_like"
    ),
}


class TestPublicNames:
    """Law 10: what a user may rely on. A name that comes or goes here belongs in CHANGELOG.md."""

    @pytest.mark.parametrize(("module", "names"), PUBLIC.items(), ids=list(PUBLIC))
    def test_pinned(self, module, names):
        assert sorted(importlib.import_module(module).__all__) == sorted(names.split())

    @pytest.mark.parametrize("name", [name for name in MODULES if name != "hal.__main__"])
    def test_every_module_lists_its_own(self, name):
        module = importlib.import_module(name)
        held = [key for key, value in vars(module).items() if key[0] != "_" and not isinstance(value, ModuleType)]
        listed = getattr(module, "__all__", None if held else [])
        assert listed is not None, f"{name} has no __all__"
        assert len(set(listed)) == len(listed)
        assert [key for key in listed if not hasattr(module, key)] == []

    def test_no_module_hides_a_function(self):
        """Importing ``hal.x`` sets the attribute ``x`` of hal (docs/decisions/0001)."""
        planned = {"card", "choose", "export", "port"}
        taken = {name.split(".")[1] for name in MODULES if "." in name}
        assert taken & ({name for name in hal.__all__ if callable(getattr(hal, name))} | planned) == set()

    def test_dir_of_hal(self):
        assert sorted(dir(hal)) == sorted(hal.__all__)


class TestErrors:
    """The tree in the docstring of hal.errors is the tree of its classes."""

    def test_tree(self):
        drawn, above = {}, []
        for line in hal.errors.__doc__.splitlines():
            if found := re.match(r"    ([ │├└─]*)([A-Z]\w+) +(\d)?", line):
                depth = len(found[1]) // 4
                parent = above[depth - 1] if depth else None
                status = int(found[3]) if found[3] else drawn[parent][1]
                drawn[found[2]] = (parent, status)
                above[depth:] = [found[2]]
        real = {name: getattr(hal.errors, name) for name in hal.errors.__all__}
        parents = {name: cls.__base__.__name__ for name, cls in real.items()} | {"HalError": None}
        assert drawn == {name: (parents[name], cls.exit_status) for name, cls in real.items()}

    def test_every_error_is_public(self):
        classes = {key for key, held in vars(hal.errors).items() if isinstance(held, type) and not key.startswith("_")}
        assert classes == set(hal.errors.__all__)
