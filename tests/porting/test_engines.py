"""The engines: names, guards, data flow, conditions of the preprocessor, any bytes at all."""

import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hal.porting.c_conditions import evaluate
from hal.porting.c_guards import Compiled, compiled_lines
from hal.porting.c_scanner import scan_code
from hal.porting.catalogue import target
from hal.porting.config import PortConfig
from hal.porting.files import SourceFile
from hal.porting.notebooks import NotebookError
from hal.porting.python_engine import PythonSyntaxError
from hal.porting.requirements import requirement_of, requirements_in
from hal.porting.scan import Scanner

SCANNER = Scanner(PortConfig())
SYMBOLS = target("rocm").preprocessor


def lines(text, rule, path="a.py", kind="python"):
    """The lines at which a rule is found."""
    found = SCANNER.matches(SourceFile(path, kind, textwrap.dedent(text).encode()))
    return sorted({match.line for match, _ in found if match.rule == rule})


@pytest.mark.parametrize(
    "text",
    [
        "import torch as T\nif T.cuda.get_device_capability() >= (9, 0): pass",
        "from torch import cuda\nif cuda.get_device_capability()[0] >= 9: pass",
        "from torch.cuda import get_device_capability as cc\nok = cc() == (8, 0)",
        "import torch.cuda as c\nok = 9 <= c.get_device_capability()[0]",
        "import torch\ncc = torch.cuda.get_device_capability()\nmajor = cc[0]\nok = major > 8",
        "import torch\nma, mi = torch.cuda.get_device_capability(0)\nsm = ma * 10 + mi\nok = sm in (80, 86)",
        "import torch\ndef cap():\n    return torch.cuda.get_device_capability()\nok = cap()[0] >= 9",
        "import torch\nclass A:\n    def __init__(self):\n        self.cc = torch.cuda.get_device_capability()\n"
        "    def f(self):\n        return self.cc >= (8, 9)",
        "import torch\nok = torch.cuda.get_device_properties(0).major >= 9",
        "import torch\np = torch.cuda.get_device_properties(0)\nok = p.major >= 9",
        "import torch\nif torch.version.hip or x():\n    ok = torch.cuda.get_device_capability() >= (9, 0)",
    ],
)
def test_values_are_followed(text):
    assert lines(text, "HAL102")[-1:] == [text.count("\n") + 1]


CAP = "torch.cuda.get_device_capability() >= (9, 0)"


@pytest.mark.parametrize(
    "text",
    [
        f"if torch.version.hip is None:\n    ok = {CAP}",
        f"if not torch.version.hip:\n    ok = {CAP}",
        f"if torch.version.hip:\n    ok = 0\nelse:\n    ok = {CAP}",
        f"if torch.version.hip is not None:\n    ok = 0\nelif x:\n    ok = 1\nelse:\n    ok = {CAP}",
        f"ok = torch.version.hip is None and {CAP}",
        f"ok = False if torch.version.hip else {CAP}",
        f"def f():\n    if torch.version.hip:\n        return False\n    return {CAP}",
        f"IS_HIP = torch.version.hip is not None\nif not IS_HIP:\n    ok = {CAP}",
        f"if is_rocm():\n    ok = 0\nelse:\n    ok = {CAP}",
        f"if getattr(torch.version, 'hip', None) is None:\n    ok = {CAP}",
        f"if current_platform.is_cuda():\n    ok = {CAP}",
        f"if torch.version.cuda:\n    ok = {CAP}",
        f"if torch.version.cuda is None:\n    raise SystemExit\nok = {CAP}",
        f"while x:\n    if torch.version.hip:\n        continue\n    ok = {CAP}",
    ],
)
def test_guards_silence(text):
    assert lines("import torch\n" + text, "HAL102") == []


@pytest.mark.parametrize(
    "text",
    [
        f"if torch.cuda.is_available():\n    ok = {CAP}",
        f"if x:\n    return_ = 1\nok = {CAP}",
        f"try:\n    ok = {CAP}\nexcept RuntimeError:\n    ok = 0",
        f"if torch.version.hip is None:\n    a = 1\nok = {CAP}",
    ],
)
def test_other_conditions_do_not_silence(text):
    assert lines("import torch\n" + text, "HAL102")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import pynvml", [1]),
        ("def f():\n    import pynvml", [2]),
        ("try:\n    import pynvml\nexcept ImportError:\n    pass", []),
        ("try:\n    import pynvml\nexcept Exception as e:\n    raise", [2]),
        ("try:\n    import pynvml\nexcept ValueError:\n    pass", [2]),
        ("import contextlib\nwith contextlib.suppress(ImportError):\n    import pynvml", []),
        ("if is_pynvml_available():\n    import pynvml", []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pynvml", []),
        ("from . import pynvml", []),
        ("'import pynvml'", []),
    ],
)
def test_imports(text, expected):
    assert lines(text, "HAL106") == expected


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("defined(USE_ROCM)", True),
        ("!defined(USE_ROCM)", False),
        ("!defined USE_ROCM && X", False),
        ("defined(USE_ROCM) || X > 3", True),
        ("__CUDA_ARCH__ >= 700", False),
        ("__CUDA_ARCH__ < 700", True),
        ("(__CUDA_ARCH__ >= 0x2bc) && X", False),
        ("X >= 3", None),
        ("__has_include(<x.h>) || 1", True),
        ("F(1, 2) > 3", None),
        ("", None),
        ("((((", None),
        ("0", False),
    ],
)
def test_conditions(condition, value):
    assert evaluate("if", condition, SYMBOLS) is value


def test_branches():
    text = textwrap.dedent("""\
        #if defined(USE_ROCM)
        mine
        #elif X
        theirs
        #else
        others
        #endif
        #if __CUDA_ARCH__ >= 700
        never
        #else
        always
        #endif
        #if __CUDA_ARCH__ >= 700 || defined(USE_ROCM)
        shared
        #endif
        #ifndef A_H
        both
        #endif
        """)
    scanned = scan_code(text)
    states = compiled_lines(scanned.directives, SYMBOLS, text.count("\n"))
    held = {line: states[number] for number, line in enumerate(text.split("\n"), 1) if line and line[0] != "#"}
    assert held == {
        "mine": Compiled.DECIDED,
        "theirs": Compiled.LEFT_OUT,
        "others": Compiled.LEFT_OUT,
        "never": Compiled.NO,
        "always": Compiled.YES,
        "shared": Compiled.YES,
        "both": Compiled.YES,
    }


def test_comments_and_strings_are_no_code():
    text = '// asm("x")\n/* asm("y") */ auto s = "asm(1)"; auto r = R"a(asm("z"))a"; char c = \'"\'; int n = 1\'000;\n'
    code = scan_code(text).code
    assert "asm" not in code
    assert len(code) == len(text)
    assert "int n = 1'000;" in code


def test_sides():
    text = "template<int N>\n__global__ void k(F f = {}) { a; }\nvoid h() { b; }\n__device__ int d();\n"
    text += "__host__ __device__ int e() { c; }\n"
    scanned = scan_code(text)
    assert [scanned.side(text.index(f" {name};")) for name in "abc"] == ["device", "host", "device"]


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        ("torch[x]>=2.0 ; python_version > '3'", "requirements", [("torch", "x", ">=2.0")]),
        ("Flash_Attn", "requirements", [("flash-attn", "", "")]),
        ("-r other.txt", "requirements", []),
        ("  - cudatoolkit=11.3", "environment", [("cudatoolkit", "", "=11.3")]),
        ('dependencies = ["torch>=2", "triton==3.1"]', "project", [("torch", "", ">=2"), ("triton", "", "==3.1")]),
        ('bitsandbytes = "^0.41"', "project", [("bitsandbytes", "", ">=0.41")]),
        ("RUN pip install -U 'torch==2' xformers", "docker", [("torch", "", "==2"), ("xformers", "", "")]),
        ("echo pip", "shell", []),
        ("pip install 'flash-attn @ git+https://x.example/a'", "shell", [("flash-attn", "", "")]),
        ("triton >= 3.0 , < 4", "requirements", [("triton", "", ">=3.0,<4")]),
        ("triton>=3.0, !=3.1, <4", "requirements", [("triton", "", ">=3.0,!=3.1,<4")]),
        ('pip install "triton>=3.0, <4" xformers', "shell", [("triton", "", ">=3.0,<4"), ("xformers", "", "")]),
    ],
)
def test_requirements(text, kind, names):
    found = [(each.name, each.extras, each.version) for _, each in requirements_in(text, kind)]
    assert [each for each in found if each in names] == names


def test_extras_for_another_vendor():
    text = 'keywords = ["tensorrt"]\ncuda-compile = ["tensorrt"]\nall = ["tensorrt"]\n'
    assert lines(text, "HAL504", "pyproject.toml", "project") == [3]


def test_no_requirement():
    assert requirement_of("http://x/y") is None


NOTEBOOK = """{"cells": [
 {"cell_type": "markdown", "source": ["import pynvml"]},
 {"cell_type": "code", "source": ["%matplotlib inline\\n", "!nvidia-smi\\n", "import torch"],
  "outputs": [{"text": "torch.device('rocm')"}]},
 {"cell_type": "code", "source": "x = 1\\nd = torch.device('hip')"}]}"""


def test_notebooks():
    found = SCANNER.matches(SourceFile("a.ipynb", "notebook", NOTEBOOK.encode()))
    assert {(match.rule, cell, match.line) for match, cell in found} == {("HAL614", 1, 2), ("HAL101", 2, 2)}


def test_shell_conditions():
    assert lines(
        "if [ $USE_ROCM = 1 ]; then\n  a\nelse\n  nvidia-smi\nfi\nnvidia-smi\n", "HAL614", "a.sh", "shell"
    ) == [6]


def test_block_comments_of_cmake():
    assert lines(
        "#[==[\nenable_language(CUDA)\n]==]\nenable_language(CUDA)\n", "HAL406", "CMakeLists.txt", "cmake"
    ) == [4]


def test_windows_line_ends():
    assert lines("import torch\r\nx = 1\r\nd = torch.device('rocm')\r\n", "HAL101") == [3]


NASTY = [
    b"",
    b"\xff\xfe\x00",
    b"(" * 5000,
    b"x = " + b"-" * 20000 + b"1",
    b"[" * 150 + b"]" * 150,
    b"a" + b".b()" * 3000,
    b"x = 1\n" * 3 + b"if 1:\n" + b"elif 1: pass\n" * 2000,
    b"x" * 100_000,
    b"__global__ " * 3000,
    b'R"(' * 30_000,
    b"/*" * 20_000,
    b"#if (" * 5000 + b"\n",
    b"#if " + b"(" * 20_000 + b"\n",
    b"#if " + b"!" * 20_000 + b"\n",
    b"__device__ f(" * 3000,
    b"<<<" * 30_000,
    b"k<<<a, " * 8000,
    b"constexpr " * 20_000,
    b"__launch_bounds__(" * 10_000,
    b"'" * 100_000,
    b"\\\n" * 20_000,
    b"{" * 100_000,
    b"--gpus " * 15_000,
    b"pip install " * 3000,
    b"#[=[" * 5000,
    "é\u2028\x0c\x85".encode() * 500,
]


@pytest.mark.parametrize("content", NASTY, ids=range(len(NASTY)))
def test_nasty(content):
    read(content)


def read(content):
    for path, kind in (
        ("setup.py", "python"),
        ("a.cu", "c"),
        ("a.ipynb", "notebook"),
        ("requirements.txt", "requirements"),
    ):
        try:
            SCANNER.matches(SourceFile(path, kind, content))
        except (PythonSyntaxError, NotebookError):
            assert kind in ("python", "notebook")
    for kind in ("docker", "shell", "cmake", "make", "ci", "project", "yaml", "environment"):
        SCANNER.matches(SourceFile("a", kind, content))


WORDS = st.sampled_from(
    'import torch\n~#if ~#else\n~#endif\n~defined(~USE_ROCM~__CUDA_ARCH__~(~)~{~}~<<<~>>>~"~\'~/*~*/~//~\\\n~R"x(~'
    "__global__ ~asm~torch.version.hip~if ~:\n    ~else:\n~try:\n~except:\n~x = ~\r\n~\t~\x0c~[~]~pip install ~"
    "==1.0".split("~")
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=300), st.text(max_size=300).map(str.encode), st.lists(WORDS).map("".join).map(str.encode)
    )
)
def test_any_bytes(content):
    read(content)


NVCC = "def version(home):\n    return subprocess.check_output([home + '/bin/nvcc', '-V'])\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (NVCC + "if torch.version.cuda:\n    print(version(h))", False),
        (NVCC + "def other():\n    return version(h)\nif torch.version.cuda:\n    print(other())", False),
        (NVCC + "if torch.version.hip:\n    pass\nelse:\n    print(version(h))", False),
        (NVCC + "x = torch.version.cuda is not None and version(h)", False),
        (NVCC + "def is_cuda():\n    return torch.version.cuda is not None\nif is_cuda():\n    version(h)", False),
        (NVCC, True),
        (NVCC + "if torch.version.cuda:\n    print(version(h))\nversion(h)", True),
        (NVCC + "if x:\n    print(version(h))", True),
        (NVCC + "if is_hip() and version(h):\n    pass", True),
        (NVCC + "def is_cuda():\n    return x\nif is_cuda():\n    version(h)", True),
    ],
)
def test_functions_that_the_target_never_calls(text, found):
    assert bool(lines("import subprocess, torch\n" + text, "HAL405")) is found


def test_conditions_hold_what_is_known_where_they_stand():
    text = """\
        import subprocess, torch
        def helper():
            subprocess.check_output(["nvcc", "-V"])
        def early(ok):
            x = helper() if ok else None
        def late():
            ok = torch.version.hip is None
        """
    assert lines(text, "HAL405") == [3]


def test_names_defined_for_others_alone_are_unknown_to_the_target():
    text = """\
        #ifndef USE_ROCM
        #define FAST
        #endif
        #ifdef FAST
        void f(){ cudnnCreate(&h); }
        #endif
        """
    assert lines(text, "HAL342", "a.cu", "c") == []
    assert lines(text.replace("USE_ROCM", "SLOW"), "HAL342", "a.cu", "c") == [5]


def test_only_requirements_in_setup_are_packages():
    text = "from setuptools import setup\nNAME = 'xformers'\nsetup(name=NAME, install_requires=['flash-attn'])\n"
    found = {match.what for match, _ in SCANNER.matches(SourceFile("setup.py", "python", text.encode()))}
    assert found == {"flash-attn"}
