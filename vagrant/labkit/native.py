"""Debian's servers in a directory, run at full speed by this host's own kernel: as root, by chroot."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import tools
from .errors import LabError
from .image import APT_OPTIONS, DPKG_OPTIONS, KEYRING
from .paths import digest, locked, make_dir
from .run import check, say

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}


@dataclass(frozen=True)
class Server:
    """A server of Debian's, and the names of its programs."""

    name: str
    suite: str
    packages: tuple[str, ...]
    daemon: str
    client: str
    dump: str
    # the package of what its own tests are made of, and where it has them
    tests: tuple[str, str]


# tests have a node of their own behind it
SSH = ("openssh-client", "openssh-server")
# sid is the one suite that has both servers
SERVERS = {
    "mariadb": Server("mariadb", "sid",
                      ("mariadb-server-core", "mariadb-client", "mydumper", "rsync", "zstd", *SSH),
                      "mariadbd", "mariadb", "mariadb-dump",
                      ("mariadb-test-data", "usr/share/mariadb/mariadb-test")),
    "mysql": Server("mysql", "sid",
                    ("mysql-server-core", "mysql-client", "mydumper", "rsync", "zstd", *SSH),
                    "mysqld", "mysql", "mysqldump",
                    ("mysql-testsuite", "usr/lib/mysql-test")),
}


def tree(server: Server) -> Path:
    """Debian's packages of `server` in a directory; made once."""
    target = make_dir("bench-trees") / f"{server.name}-{server.suite}-{digest(server.packages)}"
    with locked(f"bench-tree-{server.name}"):
        if not target.exists():
            say(f"unpacking {', '.join(server.packages)} of {server.suite}")
            scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
            argv = ["mmdebstrap", "--variant=minbase", "--mode=root", f"--keyring={KEYRING}",
                    f"--include={','.join(server.packages)}"]
            argv += [f"--aptopt={option}" for option in APT_OPTIONS]
            argv += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
            check([*argv, server.suite, str(scratch), tools.mirror()], env={"TMPDIR": str(target.parent)})
            scratch.chmod(0o755)
            scratch.rename(target)
    return target


UNPACK_TESTS = """
apt-get update -qq
cd /tmp
apt-get download -qq -o APT::Sandbox::User=root "$1"
dpkg-deb --fsys-tarfile "$1"_*.deb | tar -x -C "$2" --strip-components="$4" --wildcards "./$3/*.test" "./$3/*.inc"
"""


def own_tests(server: Server) -> Path:
    """The scripts of the server's own tests in a directory; unpacked once."""
    package, inner = server.tests
    target = make_dir("bench-trees") / f"{server.name}-{server.suite}-tests"
    root = tree(server)
    with locked(f"bench-tree-{server.name}"):
        if not target.exists():
            say(f"unpacking {package} of {server.suite}")
            scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
            depth = str(len(Path(inner).parts) + 1)
            argv = ["sh", "-euc", UNPACK_TESTS, "sh", package, str(scratch), inner, depth]
            check(inside(root, argv, seen=[scratch]), env=ENVIRONMENT)
            scratch.chmod(0o755)
            scratch.rename(target)
    return target


# A program that makes mounts of its own needs `/` to be one. What it leaves in /run and /tmp ends with it, and what
# mysnap keeps of its runs: another's at the same time would be a dead one's.
ENTER = """
root=$1
shift
mount --rbind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 none "$root/run"
mount -t tmpfs -o mode=1777 none "$root/tmp"
mkdir -p "$root/var/lib/mysnap"
mount -t tmpfs -o mode=755 none "$root/var/lib/mysnap"
[ -e "$root/etc/hosts" ] || echo "127.0.0.1 localhost" > "$root/etc/hosts"
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    shift
done
shift
exec chroot "$root" "$@"
"""


def inside(root: Path, argv: Sequence[str], *, seen: Sequence[Path] = (), alone: bool = False) -> list[str]:
    """What runs `argv` in a tree, with mounts of its own; it sees the host's directories `seen` at the same paths.

    `alone` it sees no process of the host, and whatever it has started ends with it.
    """
    namespaces = ["--mount", "--pid", "--fork", "--kill-child"] if alone else ["--mount"]
    return ["unshare", *namespaces, "sh", "-euc", ENTER, "sh", str(root), *map(str, seen), "--", *argv]


def run_inside(root: Path, argv: Sequence[str]) -> str:
    """Run `argv` in a tree; its output, or an error with its last words."""
    done = subprocess.run(inside(root, argv), capture_output=True, text=True, check=False,
                          env=ENVIRONMENT, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise LabError(f"`{' '.join(argv)}` failed: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout
