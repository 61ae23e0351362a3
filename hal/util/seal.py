"""Marks what this user wrote on this machine, so that a folder from elsewhere is not taken for it.

A folder may name code: the file of a model, an interpreter. hal runs what the command line names. What a folder names
is run only if the folder carries a seal that this user made here: an HMAC (RFC 2104) under a key that lies in the
user's own state directory.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from pathlib import Path

__all__ = ["seal", "sealed"]

_KEY_BYTES = 32


def seal(text: str) -> str:
    """A mark for a text, which :func:`sealed` knows again; empty where no key can be kept."""
    key = _key(make=True)
    return "" if key is None else hmac.digest(key, text.encode("utf-8", "surrogateescape"), "sha256").hex()


def sealed(text: str, mark: object) -> bool:
    """Whether a mark was made for exactly this text, by this user on this machine."""
    key = _key(make=False)
    if key is None or not isinstance(mark, str) or not mark.isascii():
        return False
    return hmac.compare_digest(hmac.digest(key, text.encode("utf-8", "surrogateescape"), "sha256").hex(), mark)


def _folder() -> Path:
    import platformdirs

    chosen = os.environ.get("HAL_STATE")
    return Path(chosen) if chosen else Path(platformdirs.user_state_dir("hal"))


def _key(*, make: bool) -> bytes | None:
    """The user's key; None: there is none, or it cannot be read or is open to others."""
    path = _folder() / "seal.key"
    with contextlib.suppress(OSError):
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)  # of two processes that make one, the first counts
            temporary.unlink()
        found = path.stat()
        if found.st_uid == os.getuid() and not found.st_mode & 0o077:
            key = path.read_bytes()
            return key if len(key) == _KEY_BYTES else None
    return None
