"""Where the lab keeps its things, and the locks around them."""

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Iterator

SOURCES = Path(__file__).resolve().parent.parent
PROVISION = SOURCES.parent / "provision"
GUEST_FILES = SOURCES / "guest"


def lab_dir() -> Path:
    """The one directory that holds images, snapshots and running guests."""
    chosen = os.environ.get("MYSNAP_LAB_DIR")
    if chosen:
        return Path(chosen).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "mysnap-lab"


def make_dir(*parts: str) -> Path:
    """A private directory below the lab's own, made when it is missing."""
    path = lab_dir().joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lab's lock `name`; whoever dies loses it."""
    with open(make_dir("locks") / name, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(*parts: object) -> str:
    """A short name for content: the same parts give the same name."""
    text = "\0".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tree_digest(*roots: Path) -> str:
    """A short name for what the files below `roots` hold, and for their modes."""
    total = hashlib.sha256()
    for root in roots:
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in files:
            if path.is_file() and "__pycache__" not in path.parts:
                mode = path.stat().st_mode & 0o111
                total.update(f"{path.relative_to(root.parent)} {mode}\0".encode())
                total.update(path.read_bytes())
    return total.hexdigest()[:16]
