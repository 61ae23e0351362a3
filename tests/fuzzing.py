"""Damages files, and holds readers to their answer: a result, or one error of hal, in time. Seeds are numbers.

``HAL_FUZZ=1000 pytest FILE...`` tries that many inputs of each reader, and prints at the end what came of them.
"""

import io
import json
import os
import re
import struct
import tempfile
import time
import zipfile
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from hal.errors import HalError

SEEDS = range(int(os.environ.get("HAL_FUZZ", "25")))
"""Inputs of each reader."""

LONGEST_S = 10
"""Of the processor; of the clock six times as much, since the machine may be busy."""
MOST_BYTES = 2 << 30

MARK = Path(tempfile.gettempdir()) / f"hal-fuzz-{os.getpid()}"
"""The inputs carry programs that write this file."""

PROGRAMS = {
    "pickle": f"cposix\nsystem\n(S'touch {MARK}'\ntR.".encode(),
    "yaml": f'!!python/object/apply:os.system ["touch {MARK}"]'.encode(),
}
STRANGE = [
    *(None, True, -1, 0, 1, 2**63, 2**70, 1.5, 1e400, -0.0, [], {}, [[]], {"": None}, ["a", 1], {"a": {"b": 1}}),
    *("", "a/b", "../x", "\0", "\x1b[31m", "~nosuchuser", "x" * 3000, "${nope}", "${oc.env:HOME}", "!!int foo", "NaN"),
    *(
        "\ud800",
        "nan",
        "-inf",
        "2024-01-01",
        10**400,
        "/dev/zero",
        PROGRAMS["yaml"].decode(),
        [None] * 1000,
        float("nan"),
    ),
]

COUNTS: dict[str, Counter[str]] = defaultdict(Counter)
"""What came of the inputs of each reader."""


def nested(depth, pair="[]"):
    return pair[0] * depth + pair[1] * depth


def damaged(content, rng):
    """Bytes with a few of them changed, removed, doubled or cut off."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(6)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif what == 1:
            del data[at:]
        elif what == 2:
            del data[at : at + rng.randint(1, 64)]
        elif what == 3:
            data[at:at] = rng.choice([b"\0", b"\xff" * 8, b"[" * 2000, b"{}", b"\n", *PROGRAMS.values()])
        elif what == 4:
            data[at : at + 8] = struct.pack("<Q", rng.choice([0, 2**31, 2**63, 2**64 - 1]))
        else:
            data[at:at] = data[max(0, at - 40) : at]
    return bytes(data)


def places(tree, path=()):
    yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in inner:
        yield from places(child, (*path, key))


def twisted(tree, rng):
    """JSON with one value replaced or removed, or one key added."""
    tree = json.loads(json.dumps(tree))
    path = rng.choice([p for p in places(tree) if p])
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    what = rng.randrange(4)
    if what == 0:
        del parent[path[-1]]
    elif what == 1 and isinstance(parent, dict):
        parent[rng.choice(["x", "", "é", "a.b", "a/b", "schema_version"])] = rng.choice(STRANGE)
    else:
        parent[path[-1]] = rng.choice(STRANGE)
    return tree


def mutated(content, rng):
    """A file's content changed: as JSON where it is some and the dice say so, otherwise byte by byte."""
    if rng.random() < 0.02:
        return rng.choice([b"", b"\0" * 100, nested(100_000).encode(), nested(100_000, "{}").encode(), os.urandom(300)])
    try:
        tree = json.loads(content)
    except ValueError:
        return damaged(content, rng)
    if rng.random() < 0.4:
        return damaged(content, rng)
    text = json.dumps(twisted(tree, rng))
    if rng.random() < 0.1:
        text = text.replace("{", '{"twice": 1, "twice": 2, ', 1)
    return text.encode()


# Files that are valid, except for one field


def strange_array(rng):
    """An array of some type and shape, as a .npy file."""
    shape = rng.choice(
        [(), (0,), (6,), (6, 1), (6, 4, 4), (6, 4, 4, 1), (6, 0, 4, 1), (5, 4, 4, 3), (6, 4, 4, 7), (1,) * 20]
    )
    dtype = rng.choice(
        [
            "u1",
            "i1",
            "<i2",
            ">i4",
            "<u8",
            "<f2",
            "<f4",
            ">f8",
            "<f16",
            "?",
            "<c8",
            "<U3",
            "S2",
            "<M8[s]",
            "<m8[D]",
            "i4,f4",
            "O",
        ]
    )
    if dtype == "O":
        header = {"descr": "|O", "fortran_order": False, "shape": shape}
        content = io.BytesIO()
        np.lib.format.write_array_header_1_0(content, header)
        return content.getvalue() + PROGRAMS["pickle"]
    array = np.zeros(shape, dtype)
    if array.dtype.kind in "fiu" and array.size:
        most = np.iinfo(array.dtype).max if array.dtype.kind != "f" else np.nan
        array = np.full_like(array, rng.choice([0, 1, 2, 100, most]))
        if array.dtype.kind == "f":
            array = np.full_like(array, rng.choice([np.inf, np.nan, 0.5, -1, np.finfo(array.dtype).max]))
    content = io.BytesIO()
    np.lib.format.write_array(content, array)
    made = content.getvalue()
    if rng.random() < 0.3:
        wrong = rng.choice([b"(9999999999999,)", b"(2**70,)", b"(-1,)", b"((((((", b"None", b"'x'", b"(True,)"])
        made = re.sub(rb"'shape': \([^)]*\)", b"'shape': " + wrong, made, count=1)
    return made


def strange_npz(rng):
    """An archive of arrays, of which one is odd, or the archive is."""
    good = {name: io.BytesIO() for name in ("x", "y")}
    np.save(good["x"], np.zeros((6, 4, 4, 1), np.uint8))
    np.save(good["y"], np.arange(6) % 2)
    members = {f"{name}.npy": content.getvalue() for name, content in good.items()}
    name = rng.choice(
        ["x.npy", "y.npy", "x_test.npy", "y_test.npy", "x_val.npy", "../x.npy", "x", "labels.npy", "x\x01.npy"]
    )
    members[name] = strange_array(rng)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        if rng.random() < 0.1:
            big = zlib.compressobj(9)
            archive.writestr("x_train.npy", big.compress(b"") + strange_array(rng) + bytes(rng.choice([0, 50_000_000])))
    return content.getvalue()


def strange_png(content, rng):
    """A PNG with one field of its header changed, whose checksums are right."""
    fields = list(struct.unpack(">IIBBBBB", content[16:29]))
    at = rng.randrange(len(fields))
    fields[at] = rng.choice([0, 1, 7, 16, 255] if at > 1 else [0, 1, 5, 13_000, 50_000, 2**31 - 1, 2**31])
    header = b"IHDR" + struct.pack(">IIBBBBB", *fields)
    rest = content[33:]
    if rng.random() < 0.3:
        data = b"zTXta\0\0" + zlib.compress(bytes(20_000_000))
        rest = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)) + rest
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + rest


def strange_safetensors(content, rng):
    """A safetensors file with one value of its header changed, whose length is right; or with a header of another."""
    (length,) = struct.unpack("<Q", content[:8])
    tree = twisted(json.loads(content[8 : 8 + length]), rng)
    header = json.dumps(tree).encode()
    if rng.random() < 0.1:
        header += b" " * rng.choice([1, 1000, 99_999_000])
    told = len(header) if rng.random() < 0.9 else rng.choice([0, 2**40, 2**63, 2**64 - 1])
    return struct.pack("<Q", told) + header + content[8 + length :]


# The answers


def survives(call, about):
    """The call returns, or raises an error of hal, in time, in little memory, without running what it was given.

    Args:
        call: reads an input.
        about: names the reader and the seed, as in ``npz, seed 3``.
    """
    counts = COUNTS[re.sub(r",? ?seed \d+.*", "", about, flags=re.DOTALL) or "others"]
    counts["inputs"] += 1
    begun, begun_cpu = time.monotonic(), time.process_time()
    before = _peak_bytes(restart=True)
    try:
        call()
    except HalError as error:
        counts["refused"] += 1
        if not error.message or "Traceback" in error.message or "\n" in error.message:
            counts["traceback"] += 1
            raise
    except Exception as error:
        counts["traceback"] += 1
        raise AssertionError(f"{about}: {type(error).__name__}: {error}") from error
    took = max(time.process_time() - begun_cpu, (time.monotonic() - begun) / 6)
    peak, ran = _peak_bytes() - before, MARK.exists()
    counts["over 10 s"] += took > LONGEST_S
    counts["over 2 GB"] += peak > MOST_BYTES
    counts["executed"] += ran
    MARK.unlink(missing_ok=True)
    assert took < LONGEST_S, f"{about}: {took} s"
    assert peak < MOST_BYTES, f"{about}: {peak} bytes"
    assert not ran, f"{about}: a program in it was run"


def _peak_bytes(*, restart=False):
    """The most memory of this process since the last restart; 0 where the system does not say."""
    try:
        if restart:
            Path("/proc/self/clear_refs").write_text("5")
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def table():
    """What came of all inputs, by reader."""
    columns = ("inputs", "refused", "traceback", "over 10 s", "over 2 GB", "executed")
    total = sum(COUNTS.values(), Counter())
    rows = [*sorted(COUNTS.items()), ("all", total)]
    yield f"{'reader':<44}" + "".join(f"{column:>11}" for column in columns)
    for name, counts in rows:
        yield f"{name:<44}" + "".join(f"{counts[column]:>11,}" for column in columns)
