"""What ``hal export`` prints."""

from __future__ import annotations

from hal.after.exporting import Export
from hal.cli.styled import console, escaped
from hal.contract.text import bytes_text, number

__all__ = ["show_export"]


def show_export(found: Export) -> None:
    """The files, and how far they agree with the model."""
    out, proof = console(), found.proof
    out.print(
        f"[bold]{escaped(found.model)}[/] as {found.to}, {found.precision}, "
        f"batch {'of any size' if found.batch is None else found.batch}: [bold]{escaped(found.folder)}[/]",
        soft_wrap=True,
    )
    for name, size in found.files.items():
        out.print(f"  {escaped(name)}  {bytes_text(size)}")
    share = proof.largest_deviation / proof.largest_output if proof.largest_output else 0.0
    out.print(
        f"Run by {escaped(proof.runtime)} on {proof.samples:,} samples ({escaped(proof.samples_of)}).", soft_wrap=True
    )
    out.print(
        f"Largest deviation from the model: {number(proof.largest_deviation)}, which is {share:.2g} of the largest "
        f"output, {number(proof.largest_output)}."
    )
    if proof.same_top is not None:
        out.print(f"The most probable class is the same for {proof.same_top:.2%}.")
    if measured := proof.measured_text():
        out.print(measured)
    for note in found.notes:
        out.print(f"[yellow]Note:[/] {escaped(note)}")
