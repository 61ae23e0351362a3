"""What kernels use of a card, from the metadata of AMD's code objects, and how many of them a unit holds at once.

The metadata is described in LLVM's User Guide for AMDGPU Backend, under Code Object V3 and later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hal.backends.opencl.targets.cards import data

__all__ = ["CodeFacts", "kernels_of", "waves_of_a_simd"]

_FIELDS = {
    "vgprs": "vgpr_count",
    "sgprs": "sgpr_count",
    "local_bytes": "group_segment_fixed_size",
    "scratch_bytes": "private_segment_fixed_size",
    "vgpr_spills": "vgpr_spill_count",
    "sgpr_spills": "sgpr_spill_count",
}


@dataclass(frozen=True)
class CodeFacts:
    """What one kernel uses.

    Attributes:
        vgprs: vector registers, of each lane.
        sgprs: scalar registers, of each wave.
        local_bytes: local memory of a work-group.
        scratch_bytes: memory of each work-item for what registers do not hold.
        vgpr_spills: vector registers that were written there.
        sgpr_spills: scalar registers that were written elsewhere.
    """

    vgprs: int
    sgprs: int
    local_bytes: int
    scratch_bytes: int
    vgpr_spills: int
    sgpr_spills: int


def kernels_of(assembly: str) -> dict[str, CodeFacts]:
    """Each kernel of a program by its name.

    Args:
        assembly: as clang writes it for amdgcn-amd-amdhsa.
    """
    _, _, metadata = assembly.partition("amdhsa.kernels:")
    metadata, _, _ = metadata.partition("amdhsa.target:")
    found: dict[str, CodeFacts] = {}
    for entry in re.split(r"^  - ", metadata, flags=re.M)[1:]:
        # Entries of arguments stand deeper.
        fields: Mapping[str, str] = dict(re.findall(r"^(?:    )?\.(\w+):\s+(\S+)$", entry, flags=re.M))
        numbers = {name: int(fields.get(field, "0")) for name, field in _FIELDS.items()}
        found[fields["name"]] = CodeFacts(**numbers)
    return found


def waves_of_a_simd(arch: str, used: CodeFacts, group: int) -> tuple[int, int]:
    """How many waves of a kernel a SIMD holds at once, and how many it could hold.

    The least of what vector registers, scalar registers and local memory allow: what there is, divided by what a wave
    or a work-group takes, in the steps in which it is given out. The numbers are those of LLVM 15
    (``AMDGPUBaseInfo.cpp``). LLVM's own remark on occupancy assumes a work-group of its own, and counts one wave more
    where a wave takes 81 to 88 scalar registers.

    Args:
        arch: of the card.
        used: by the kernel.
        group: work-items of a work-group.
    """
    rules = data()["generations"][data()["amd"]["architectures"][arch]]

    def most(total: int, step: int, taken: int) -> int:
        return total // (max(math.ceil(taken / step), 1) * step) if total and taken else int(rules["waves"])

    waves_of_a_group = math.ceil(group / rules["wave"])
    groups = most(rules["local_bytes"], rules["local_step"], used.local_bytes) if used.local_bytes else 0
    limits = [
        int(rules["waves"]),
        most(rules["vgprs"], rules["vgpr_step"], used.vgprs),
        most(rules["sgprs"], rules["sgpr_step"], used.sgprs),
    ]
    if groups:
        limits.append(max(math.ceil(groups * waves_of_a_group / rules["simds"]), 1))
    return max(min(limits), 0), int(rules["waves"])
