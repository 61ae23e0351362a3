"""Opens a study in SQLite, PostgreSQL, a journal file or another storage of Optuna, and explains why that failed.

PostgreSQL needs psycopg 3, which is an extra of hal. Passwords appear in no message and in no file that hal writes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from hal.config import without_password
from hal.errors import ConfigError, DataError, HalError, RunError, UnavailableError
from hal.util.paths import user_path

if TYPE_CHECKING:
    import optuna

__all__ = ["damage_explained", "open_study", "storage_errors"]

P = ParamSpec("P")
R = TypeVar("R")

_TRIES = 5
_CONNECT_S = 10
_SERVERS = ("postgresql://", "postgres://")
_DRIVER = "postgresql+psycopg://"


def open_study(
    storage: str, name: str, directions: Sequence[Literal["minimize", "maximize"]]
) -> tuple[optuna.Study, Callable[[], None]]:
    """Open a study; returned with a function that closes its connections.

    The study is created if it does not exist. Several processes may create it, or the tables, at the same moment.

    Args:
        storage: URL of an Optuna storage, or ``journal:FILE``.
        name: name of the study.
        directions: direction of each objective, ``minimize`` or ``maximize``.

    Raises:
        ConfigError: the storage cannot be opened, or holds another study under this name.
        DataError: its file is damaged.
        UnavailableError: its server does not answer, or its driver is not installed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for attempt in range(_TRIES):
            close = _nothing
            try:
                held, close = _opened(storage)
                study = optuna.create_study(
                    storage=held, study_name=name, directions=list(directions), load_if_exists=True
                )
                return study, close
            except Exception as error:
                close()
                refused = _is_server(storage) and _operational(error)
                if attempt == _TRIES - 1 or refused or isinstance(error, ImportError) or _malformed(error):
                    raise _named(storage, error) from error
                time.sleep(0.3 * (attempt + random.random()))
    raise AssertionError("the last attempt returns or raises")


@contextlib.contextmanager
def storage_errors(storage: str, folder: Path) -> Iterator[None]:
    """Convert the error of a storage that stops answering while a tuning runs.

    Raises:
        RunError: the storage does not answer any more.
        DataError: its file is damaged.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        if _malformed(error):
            raise _damaged(storage, error) from error
        raise RunError(
            f"storage={without_password(storage)} no longer answers: {_said(error)}",
            fix=f"when it is available again, continue with: hal tune resume={folder}",
        ) from error


def damage_explained(method: Callable[P, R]) -> Callable[P, R]:
    """Convert what a method of a study raises where the storage holds what makes no sense, or cannot be written.

    Errors of a database are left to :func:`storage_errors`.
    """

    @functools.wraps(method)
    def converted(*args: P.args, **kwargs: P.kwargs) -> R:
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return method(*args, **kwargs)
        except (HalError, StorageInternalError, SQLAlchemyError):
            raise
        except OSError as error:
            raise RunError(
                f"the storage of the tuning cannot be used any more: {error.filename or ''} {error.strerror or error}",
                fix="make it accessible again, then continue with: hal tune resume=FOLDER",
            ) from error
        except Exception as error:
            raise _damaged("", error) from error

    return converted


def _damaged(storage: str, error: Exception) -> DataError:
    where = f"storage={without_password(storage)}" if storage else "the storage of the tuning"
    return DataError(
        f"{where} is damaged: {type(error).__name__}: {_said(error)}",
        fix="start a new tuning with another out= or storage=; trials.jsonl in the folder of the old one holds its "
        "trials",
    )


def _malformed(error: BaseException) -> bool:
    """Whether SQLite says that a file is damaged or is no database."""
    said = _said(error)
    return any(words in said for words in ("malformed", "file is not a database", "Could not decode to UTF-8"))


def _opened(storage: str) -> tuple[Any, Callable[[], None]]:
    from optuna import storages

    if storage.startswith("journal:"):
        file = user_path(storage.partition(":")[2])
        file.parent.mkdir(parents=True, exist_ok=True)
        return storages.JournalStorage(_journal(file)), _nothing
    options: dict[str, Any] = {}
    if storage.startswith("sqlite"):
        # Two processes that write to SQLite at once wait for each other.
        options = {"connect_args": {"timeout": 60}}
    for scheme in (*_SERVERS, _DRIVER):
        if storage.startswith(scheme):
            storage = _DRIVER + storage.removeprefix(scheme)
            # A connection that was dropped during a long trial is opened again.
            options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": _CONNECT_S}}
    # Made in two steps, since what fails in its constructor leaves connections open.
    held = storages.RDBStorage.__new__(storages.RDBStorage)

    def close() -> None:
        if "scoped_session" in vars(held):
            held.remove_session()
        if "engine" in vars(held):
            held.engine.dispose()

    try:
        held.__init__(storage, engine_kwargs=options)  # type: ignore[misc]
    except BaseException:
        close()
        raise
    return held, close


def _nothing() -> None:
    """A file that is not held open needs no closing."""


def _journal(file: Path) -> Any:
    """Optuna's journal in a file, which half a line does not break.

    Optuna appends to what a writer that was killed has left of its line, and cannot read the file from then on. Such a
    rest was told to nobody, so it is cut off; under the lock, since a line without an end may be one that is written.
    """
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    lock = JournalFileSymlinkLock(str(file))

    class WholeLines(JournalFileBackend):
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            if _torn(file):
                lock.acquire()
                try:
                    if _torn(file):
                        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
                finally:
                    lock.release()
            super().append_logs(logs)

    return WholeLines(str(file), lock)


def _torn(file: Path) -> bool:
    with file.open("rb") as held:
        size = held.seek(0, os.SEEK_END)
        held.seek(max(0, size - 1))
        return held.read() not in (b"", b"\n")


def _is_server(storage: str) -> bool:
    return storage.startswith((*_SERVERS, _DRIVER))


def _operational(error: BaseException) -> bool:
    from sqlalchemy.exc import OperationalError

    return isinstance(error, OperationalError)


def _named(storage: str, error: Exception) -> HalError:
    """The error of hal that stands for why a storage could not be opened."""
    shown = without_password(storage)
    if _malformed(error):
        return _damaged(storage, error)
    if "disk is full" in _said(error):
        return RunError(
            f"storage={shown} cannot be written: {_said(error)}", fix="free some space, or give another out="
        )
    if isinstance(error, ImportError):
        if _is_server(storage):
            return UnavailableError(
                f"storage={shown} needs the driver of PostgreSQL, psycopg, which is not installed",
                fix="pip install 'hal-tensor[postgresql]'",
            )
        return ConfigError(
            f"storage={shown} needs a package that is not installed: {error}", fix="install the database's driver"
        )
    if _is_server(storage):
        if _operational(error) and not _answers(storage):
            return UnavailableError(
                f"storage={shown}: no server answers at this address: {_said(error)}",
                fix="start the server, or correct the host and port",
            )
        return ConfigError(
            f"storage={shown} cannot be used: {_said(error)}",
            fix="check the user, the password (also in PGPASSWORD or ~/.pgpass) and the database; "
            "the user must be allowed to create tables there",
        )
    return ConfigError(
        f"storage={shown} cannot be used: {type(error).__name__}: {_said(error)}",
        fix="give the URL of an Optuna storage, for example sqlite:///FILE, journal:FILE or postgresql://USER@HOST/NAME",
    )


def _answers(storage: str) -> bool:
    """Whether a PostgreSQL server is there at all; it may refuse us."""
    from psycopg.pq import PGconn, Ping

    address = "postgresql://" + storage.partition("://")[2]
    address += f"{'&' if '?' in address else '?'}connect_timeout={_CONNECT_S}"
    return PGconn.ping(address.encode()) in (Ping.OK, Ping.NO_ATTEMPT)


def _said(error: BaseException) -> str:
    """The first line of what a database or its driver said."""
    cause = error
    while (inner := getattr(cause, "orig", None) or cause.__cause__) is not None:
        cause = inner
    return without_password(next(iter(str(cause).strip().splitlines()), "")[:300])
