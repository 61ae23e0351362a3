"""Compiles the cards made of the processor, once for each PyTorch and each state of the source."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

SOURCES = Path(__file__).parent / "card" / "fake_card"
TORCH = "2.13"
"""The version whose C++ interfaces the source implements."""


class CannotBuildError(Exception):
    """Why there can be no such cards here."""


def compiler():
    """The C++ compiler's path, or None."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


def build(folder):
    """The path of the library in a folder; it is compiled unless it is there.

    Raises:
        CannotBuildError: there is no compiler, or PyTorch is another than the source is for.
    """
    import torch

    version = metadata.version("torch")
    if torch.version.cuda or torch.version.hip:
        raise CannotBuildError(f"torch {version} is built for real GPUs; install a CPU build of torch")
    if not version.startswith(f"{TORCH}."):
        raise CannotBuildError(f"tests/fake_gpu is written for torch {TORCH}, but {version} is installed")
    found = compiler()
    if found is None:
        raise CannotBuildError("there is no C++ compiler; install g++ or clang")
    sources = sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    library = Path(folder) / f"card-{version}-{digest}.so"
    with library.with_suffix(".lock").open("w") as lock:  # several workers of pytest may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _compile(found, Path(torch.__file__).parent, library)
    return library


def _compile(command, torch_folder, library):
    include = torch_folder / "include"
    begun = library.with_suffix(".new")
    words = [command, "-std=c++20", "-O1", "-fPIC", "-shared", "-Wno-deprecated", "-o", begun, SOURCES / "kernels.cpp"]
    words += [f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}"]
    words += [f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stderr}"
    begun.rename(library)
