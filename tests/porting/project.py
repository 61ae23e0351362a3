"""A small project for one vendor's cards: a package with an extension, a Triton kernel, containers, CI, a notebook."""

import json
import subprocess

__all__ = ["FILES", "commit", "git", "write_project"]

FILES = {
    "pyproject.toml": '[project]\nname = "blurs"\nversion = "1"\n',
    "setup.py": """\
import torch
from setuptools import setup
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CUDAExtension

extensions = []
if CUDA_HOME is not None:
    flags = ["-O3", "--use_fast_math"]
    extensions = [CUDAExtension("blurs._C", ["csrc/blur.cu"], extra_compile_args={"nvcc": flags})]
setup(name="blurs", ext_modules=extensions, cmdclass={"build_ext": BuildExtension})
""",
    "csrc/blur.cu": """\
#include <cuda_runtime.h>
#include <THC/THCAtomics.cuh>

__global__ void blur(float* x, int n) {
  int at = blockIdx.x * blockDim.x + threadIdx.x;
  float v = at < n ? x[at] : 0.f;
  v += __shfl_down_sync(0xffffffff, v, 1);
#if __CUDA_ARCH__ >= 700
  __syncthreads();
#endif
  if (at < n) x[at] = v;
}

void launch(float* x, int n, cudaStream_t stream) {
  cudaFuncSetAttribute(blur, cudaFuncAttributePreferredSharedMemoryCarveout, 50);
  blur<<<n / 256 + 1, {256, 1, 1}, 0, stream>>>(x, n);
  cudaStreamSynchronize(stream);
}
""",
    "blurs/__init__.py": "",
    "blurs/kernel.py": """\
import triton
import triton.language as tl
from triton.language.extra.cuda import libdevice


@triton.jit
def blur(x, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(x + at, libdevice.rsqrt(tl.load(x + at, mask=at < n)), mask=at < n)


def run(x):
    blur[(1,)](x, x.numel(), BLOCK=1024, num_warps=32)
""",
    "blurs/train.py": """\
import torch

device = torch.device("hip")
scaler = torch.cuda.amp.GradScaler()
with torch.cuda.amp.autocast(dtype=torch.float16):
    pass
""",
    "blurs/net.py": """\
from hal import nn
from hal.data import Wanted


class Net(nn.Classifier):
    defaults = nn.Defaults(epochs=1, lr=3e-3, batch=64)

    def __init__(self, config, data):
        super().__init__(config, data)
        self.net = nn.Sequential(nn.Flatten(), nn.Dense(16, activation="relu"), nn.Dense(data.classes))

    @classmethod
    def wanted(cls, config):
        return Wanted("image", (8, 8, 1))
""",
    "Dockerfile": "FROM nvidia/cuda:12.4.0-devel-ubuntu22.04\nRUN pip install -r requirements.txt\n",
    "requirements.txt": (
        "--extra-index-url https://mirror.example/whl/cu124\ntorch==2.9.0\nbitsandbytes==0.42\nfaiss-gpu\ntriton==3.1\n"
    ),
    ".github/workflows/ci.yml": (
        "jobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - run: docker run --gpus all blurs pytest\n"
    ),
    "demo.ipynb": json.dumps(
        {"cells": [{"cell_type": "code", "source": ["import torch\n", "x = torch.ones(2).cuda()\n"], "outputs": []}]}
    ),
}
"""Files by their paths."""


def write_project(root):
    """Write the project to a folder, and commit it."""
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    git(root, "init", "-q")
    commit(root)
    return root


def git(root, *words, text=None):
    """Run Git in a folder."""
    command = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.example", *words]
    subprocess.run(command, check=True, capture_output=True, input=text, text=True)


def commit(root):
    """Commit all files."""
    git(root, "add", "-A")
    git(root, "commit", "-qm", "all", "--allow-empty")
