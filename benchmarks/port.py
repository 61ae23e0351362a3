"""How fast ``hal port`` reads: time and memory for a project of a given size, made of the examples of its own rules.

Run ``python -m benchmarks.port``, or ``python -m benchmarks.port --megabytes 10``. Each size is scanned in a process of
its own, so that the memory is that of one scan.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

SCAN = """
import resource, sys, time
started = time.perf_counter()
from pathlib import Path
from hal.porting.config import PortConfig
from hal.porting.scan import scan
loaded = time.perf_counter()
report = scan(Path(sys.argv[1]), PortConfig())
ended = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(f"{loaded - started:.2f} {ended - loaded:.2f} {peak:.0f} {len(report.findings)} {sum(report.files.values())}")
"""
FILLING = {
    ".py": "def f{n}(x, y):\n    z = [a * {n} for a in x if a > y]\n    return sum(z) / max(len(z), 1)\n\n",
    ".cu": "static __device__ float f{n}(float x, const float* y) {{ // a comment\n  return x * y[{n}] + 1.f;\n}}\n\n",
    ".sh": "echo {n}; python train.py --epochs {n}\n",
    ".txt": "package-{n}==1.{n}\n",
}
SHARES = {".py": 0.55, ".cu": 0.35, ".sh": 0.06, ".txt": 0.04}
FILE_BYTES = 20_000


def write_sources(folder: Path, megabytes: float) -> None:
    """Write sources of which one example of a rule stands in each twenty thousand bytes."""
    from hal.porting.catalogue import rules

    for suffix, share in SHARES.items():
        examples = [each.text for rule in rules().values() for each in rule.flag if each.file.endswith(suffix)]
        for number in range(int(megabytes * 1e6 * share / FILE_BYTES)):
            parts = [examples[number % len(examples)]] if examples else []
            size = 0
            while size < FILE_BYTES:
                parts.append(FILLING[suffix].format(n=len(parts)))
                size += len(parts[-1])
            name = f"requirements-{number}{suffix}" if suffix == ".txt" else f"source{number}{suffix}"
            (folder / name).write_text("".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1, 3, 10], help="Sizes of the project.")
    print("size MB   files  findings   load s   scan s   MB/s   peak MiB")
    for size in parser.parse_args().megabytes:
        with tempfile.TemporaryDirectory() as held:
            write_sources(Path(held), size)
            done = subprocess.run([sys.executable, "-c", SCAN, held], capture_output=True, text=True, check=True)
        load, scan, peak, findings, files = done.stdout.split()
        speed = size / float(scan)
        print(f"{size:7g} {files:>7} {findings:>9} {load:>8} {scan:>8} {speed:6.2f} {peak:>10}")


if __name__ == "__main__":
    main()
