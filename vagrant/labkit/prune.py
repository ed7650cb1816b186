"""Old cache entries go, so that the lab's directory stays of one size."""

import shutil
import time
from pathlib import Path

from .paths import lab_dir
from .warm import IMAGE_NAME

# What was not used for so long goes at the next `lab up`.
STALE_SECONDS = 14 * 24 * 3600
# Of one kind of entry, the newest this many stay: enough for some branches.
KEPT_OF_A_KIND = 3
SCRATCH_SECONDS = 3600


def old_entries(images_in_use: set[str], warm_in_use: set[str]) -> None:
    """Remove images and snapshots that nothing uses or will use soon."""
    snapshots, images = lab_dir() / "warm", lab_dir() / "images"
    prune(snapshots, warm_in_use)
    below = {name.read_text() for name in snapshots.glob(f"*/{IMAGE_NAME}")}
    prune(images, images_in_use | below)


def prune(directory: Path, in_use: set[str]) -> None:
    """Remove stale, surplus and abandoned entries of one directory."""
    now = time.time()
    kept: dict[str, int] = {}
    entries = [(path.stat().st_mtime, path) for path in directory.iterdir()]
    for used_at, path in sorted(entries, reverse=True):
        if not path.is_dir():
            continue
        if path.name.startswith(".new-"):
            surplus = now - used_at > SCRATCH_SECONDS
        else:
            kind = path.name.rpartition("-")[0]
            kept[kind] = kept.get(kind, 0) + 1
            surplus = kept[kind] > KEPT_OF_A_KIND or now - used_at > STALE_SECONDS
        if surplus and path.name not in in_use:
            shutil.rmtree(path, ignore_errors=True)
