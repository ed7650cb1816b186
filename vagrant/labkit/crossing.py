"""Servers of several families and releases side by side: this host's own, and Debian's newest in their directories."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from . import native
from .errors import LabError

# A busy machine takes long to make a server ready.
READY = 300.0
OPTIONS = ("--no-defaults", "--user=root", "--skip-networking", "--log-bin=b", "--innodb-flush-log-at-trx-commit=0",
           "--innodb-buffer-pool-size=64M", "--character-set-server=utf8mb4", "--max-allowed-packet=64M")
MARIADB = """
mariadb-install-db --no-defaults --user=root --auth-root-authentication-method=normal --skip-test-db \
    --datadir="$1/data" --tmpdir="$1/tmp" >"$1/made" 2>&1
home=$1
shift
exec mariadbd "$@" --datadir="$home/data" --tmpdir="$home/tmp" --socket="$home/socket" --log-error="$home/log.err"
"""
MYSQL = """
mysqld --no-defaults --user=root --initialize-insecure --datadir="$1/data" --tmpdir="$1/tmp" >"$1/made" 2>&1
home=$1
shift
exec mysqld "$@" --mysqlx=OFF --secure-file-priv= --datadir="$home/data" --tmpdir="$home/tmp" \
    --socket="$home/socket" --log-error="$home/log.err"
"""


@contextlib.contextmanager
def servers(scratch: Path) -> Iterator[dict[str, Path]]:
    """Sockets of three empty servers below `scratch`, by name; root of each has no password.

    `host` is the MariaDB of this host, `mariadb` and `mysql` are Debian's newest.
    """
    roots = {"host": None} | {name: native.tree(server) for name, server in native.SERVERS.items()}
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, root in roots.items():
            started[name] = _start(root, MYSQL if name == "mysql" else MARIADB, _home(scratch, name))
        for name, process in started.items():
            _wait(process, scratch / name)
        yield {name: scratch / name / "socket" for name in started}
    finally:
        for process in started.values():
            process.kill()
        for process in started.values():
            process.wait()


def _home(scratch: Path, name: str) -> Path:
    home = scratch / name
    (home / "tmp").mkdir(parents=True)
    return home


def _start(root: Path | None, script: str, home: Path) -> subprocess.Popen[bytes]:
    argv = ["sh", "-euc", script, "sh", str(home), *OPTIONS]
    if root is not None:
        argv = native.inside(root, argv, seen=[home.parent], alone=True)
    return subprocess.Popen(argv, env=native.ENVIRONMENT, stdin=subprocess.DEVNULL)


def _wait(process: subprocess.Popen[bytes], home: Path) -> None:
    """Until it listens: MySQL makes its socket when it is ready, and MariaDB just before."""
    until = time.monotonic() + READY
    while not (home / "socket").exists():
        if process.poll() is not None or time.monotonic() > until:
            told = [path.read_text(errors="replace") for path in (home / "made", home / "log.err") if path.exists()]
            raise LabError(f"the server in {home} does not start: {''.join(told)[-2000:]}")
        time.sleep(0.1)
