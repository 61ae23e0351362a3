"""A PostgreSQL server of the tests' own, on a free port of this machine, gone when they end."""

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

SECRET = "open-sesame"


def binaries():
    """Folder of initdb and pg_ctl; None: there is no server here."""
    # Debian keeps them off the path.
    known = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
    found = known[-1] if known else shutil.which("initdb")
    return Path(found).parent if found else None


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class Server:
    """Three users: tuner owns the database tuning; stranger may create nothing there; both have SECRET as password."""

    def __init__(self, folder, tools, port):
        self.port, self._made = port, 0
        self._data, self._tools, self._folder = folder / "data", tools, folder
        # A server refuses to run as root.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def run(self, tool, *words, text=None):
        command = [*self._as, str(self._tools / tool), *words]
        done = subprocess.run(command, cwd=self._folder, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def make(self):
        secret = self._folder / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o644)
        # Over sockets, which the tests' own commands use, everybody may in; over TCP it takes the password.
        self.run("initdb", "-D", str(self._data), "-U", "postgres", "--no-sync", "--pwfile", str(secret))
        rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self._data / "pg_hba.conf").write_text(rules)

    def start(self):
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def sql(self, *statements, database="postgres"):
        import psycopg

        where = {"host": str(self._folder), "port": self.port, "user": "postgres", "dbname": database}
        with psycopg.connect(**where, autocommit=True) as connection:
            return [connection.execute(each) for each in statements]

    def new_database(self):
        """URL of one that is empty."""
        self._made += 1
        name = f"study{self._made}"
        self.sql(f"create database {name} owner tuner")
        return self.url(database=name)

    def stop(self):
        self.run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def url(self, user="tuner", password=SECRET, database="tuning", port=None):
        return f"postgresql://{user}:{password}@127.0.0.1:{port or self.port}/{database}"


@contextmanager
def server(tools):
    """A running server."""
    folder = Path(tempfile.mkdtemp(prefix="hal-pg-", dir="/tmp"))  # a socket's path must be short
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    made = Server(folder, tools, free_port())
    try:
        made.make()
        made.start()
        try:
            made.sql(
                f"create role tuner login password '{SECRET}'",
                f"create role stranger login password '{SECRET}'",
                "create database tuning owner tuner",
            )
            made.sql(
                "revoke create on schema public from public",
                "alter schema public owner to tuner",
                database="tuning",
            )
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
