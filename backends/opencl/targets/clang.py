"""Compiles OpenCL C for cards that are not here, with clang and the built-in functions of libclc."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hal.backends.opencl.targets.cards import Card
from hal.errors import RunError, UnavailableError

__all__ = ["Compiler", "compile_source", "find_compiler", "missing"]

_VERSIONS = ("15", "16", "17", "18", "19")
"""Of clang, the one that hal's tests use first."""
_BUILTINS = Path("/usr/lib/clc/amdgcn--amdhsa.bc")
_SECONDS = 600
_FIXES = {
    "amd": "on Debian or Ubuntu, run: apt-get install clang-15 libclc-15",
    "intel": "on Debian or Ubuntu, run: apt-get install clang-15 llvm-spirv-15",
}


@dataclass(frozen=True)
class Compiler:
    """Programs that are installed.

    Attributes:
        clang: path of clang.
        version: its version.
        translator: path of the translator to SPIR-V; empty where there is none.
        builtins: OpenCL's functions for AMD's cards, as LLVM bitcode; None where they are not installed.
    """

    clang: str
    version: str
    translator: str
    builtins: Path | None


@functools.cache
def find_compiler() -> Compiler | None:
    """The compiler that is installed; None: none is."""
    for version in _VERSIONS:
        clang = shutil.which(f"clang-{version}")
        if clang:
            translator = shutil.which(f"llvm-spirv-{version}") or ""
            return Compiler(clang, version, translator, _BUILTINS if _BUILTINS.exists() else None)
    return None


def missing(vendor: str) -> tuple[str, str] | None:
    """What is missing to compile for a vendor's cards, and what to do; None: nothing is."""
    found = find_compiler()
    if found is None:
        return "clang is not installed, which compiles kernels for cards that are not here", _FIXES[vendor]
    if vendor == "amd" and found.builtins is None:
        return "OpenCL's functions for AMD's cards are not installed (libclc)", _FIXES[vendor]
    if vendor == "intel" and not found.translator:
        return "the translator from LLVM to SPIR-V is not installed (llvm-spirv)", _FIXES[vendor]
    return None


def compile_source(source: str, card: Card) -> str:
    """Compile a program.

    Args:
        source: OpenCL C.
        card: what for.

    Returns:
        Assembly of an AMD card with the metadata of its code object; empty for Intel's, whose SPIR-V is only checked.

    Raises:
        UnavailableError: the compiler is not installed.
        RunError: it refuses the program.
    """
    lacking = missing(card.vendor)
    found = find_compiler()
    if lacking is not None or found is None:
        reason, fix = lacking or ("", "")
        raise UnavailableError(f"target={card.name}: {reason}", fix=fix)
    with tempfile.TemporaryDirectory(prefix="hal-opencl-") as folder:
        text = Path(folder, "program.cl")
        text.write_text(source)
        common = [found.clang, "-x", "cl", "-cl-std=CL1.2", "-Wno-linker-warnings", str(text)]
        if card.vendor == "amd":
            output = Path(folder, "program.s")
            link = ["-nogpulib", "-Xclang", "-mlink-builtin-bitcode", "-Xclang", str(found.builtins)]
            _run(
                [*common, "-O3", "-target", "amdgcn-amd-amdhsa", f"-mcpu={card.arch}", *link, "-S", "-o", str(output)],
                card,
            )
            return output.read_text()
        # The translator does not know all that optimization makes (freeze), and the driver optimizes SPIR-V itself.
        bitcode = Path(folder, "program.bc")
        _run([*common, "-O0", "-target", "spir64", "-emit-llvm", "-c", "-o", str(bitcode)], card)
        _run([found.translator, str(bitcode), "-o", str(Path(folder, "program.spv"))], card)
        return ""


def _run(command: list[str], card: Card) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode:
        errors = [line.strip() for line in done.stderr.splitlines() if re.search(r"\berror\b", line, re.I)]
        said = " / ".join(errors[:3]) or f"status {done.returncode}"
        raise RunError(f"target={card.name}: the compiler refused hal's kernels: {said}")
