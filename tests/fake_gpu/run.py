"""Runs a command on a machine with GPUs made of the processor: ``python tests/fake_gpu/run.py hal devices``."""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE / "card")]

from building import CannotBuildError, build  # noqa: E402
from fake_card import Wanted  # noqa: E402


def main():
    """Read the options, and become the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", default="h100_sxm5_80gb", help="a file of tests/golden/cards, without .json")
    parser.add_argument("--count", type=int, default=1, help="how many of them")
    parser.add_argument("--memory", type=int, default=1 << 30, help="bytes of memory of each")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    folder = HERE.parents[1] / ".pytest_cache" / "d" / "fake_gpu"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        library = build(folder)
    except CannotBuildError as error:
        sys.exit(f"error: {error}")
    os.environ.update(Wanted(str(library), asked.card, asked.count, asked.memory).environment())
    os.execvp(asked.command[0], asked.command)


if __name__ == "__main__":
    main()
