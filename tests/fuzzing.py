"""Damages files, and holds readers to their answer: a result, or one error of hal, in time. Seeds are numbers."""

import json
import os
import struct
import time

from hal.errors import HalError

SEEDS = range(int(os.environ.get("HAL_FUZZ", "25")))
"""Inputs of each reader; ``HAL_FUZZ=1000 pytest tests/run/test_malformed.py`` looks longer."""

LONGEST_S = 10
STRANGE = [
    *(None, True, -1, 0, 1, 2**63, 2**70, 1.5, 1e400, -0.0, [], {}, [[]], {"": None}, ["a", 1], {"a": {"b": 1}}),
    *("", "a/b", "../x", "\0", "\x1b[31m", "~nosuchuser", "x" * 3000, "${nope}", "${oc.env:HOME}", "!!int foo", "NaN"),
]


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
            data[at:at] = rng.choice(
                [
                    *(b"\0", b"\xff" * 8, b"[" * 2000, b"{}", b"\n", b"!!python/object/apply:os.system"),
                    b"cos\nsystem\n(S'true'\ntR.",
                ]
            )
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
    return json.dumps(twisted(tree, rng)).encode()


def survives(call, about):
    """The call returns, or raises an error of hal; in time."""
    begun = time.monotonic()
    try:
        call()
    except HalError as error:
        if not error.message or "Traceback" in error.message or "\n" in error.message:
            raise
    except Exception as error:
        raise AssertionError(f"{about}: {type(error).__name__}: {error}") from error
    assert time.monotonic() - begun < LONGEST_S, about
