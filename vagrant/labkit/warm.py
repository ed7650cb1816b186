"""Warm snapshots: an image booted and provisioned once, kept with its memory.

A guest resumed from one shares the snapshot's files read-only: its own disks
lie on top of them.
"""

import io
import os
import shutil
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import catalog, image, qemu
from .image import Image
from .paths import PROVISION, SOURCES, digest, lab_dir, locked, make_dir, tree_digest
from .run import say
from .ssh import Connection

GUEST_PROVISION = "/usr/lib/mysnap/provision"
BOOT_SECONDS = 600
# says on which image a snapshot's disks lie
IMAGE_NAME = "image"


@dataclass(frozen=True)
class Kind:
    """What a guest is made of."""

    server: str
    volume: str
    fs: str

    def __str__(self) -> str:
        return f"{self.server}-{self.volume}-{self.fs}"

    @property
    def memory_mb(self) -> int:
        return catalog.SERVERS[self.server].memory_mb


@dataclass(frozen=True)
class Warm:
    """A snapshot in `dir`, taken of a guest on `image`."""

    dir: Path
    image: Image

    @property
    def memory(self) -> Path:
        return self.dir / "memory"

    def disks(self) -> dict[str, tuple[Path, str]]:
        """What the disks of a resumed guest lie on."""
        return {name: (self.dir / qemu.disk_file(name), "qcow2") for name in qemu.DISKS}


def key(kind: Kind, base: Image) -> str:
    """Names a snapshot by all that it depends on."""
    return f"{kind}-" + digest(base.dir.name, base.versions, qemu.machine_key(kind.memory_mb),
                               tree_digest(PROVISION, SOURCES / "labkit" / "warm.py"))


def ensure(kind: Kind) -> Warm:
    """The snapshot for `kind`, made when it is missing."""
    base = image.ensure(kind.server)
    name = key(kind, base)
    target = lab_dir() / "warm" / name
    with locked(f"warm-{kind}"):
        if not target.exists():
            build(kind, base, target)
    os.utime(target)
    return Warm(target, base)


def build(kind: Kind, base: Image, target: Path) -> None:
    """Boot and provision in a scratch directory, renamed into place last."""
    say(f"preparing {kind}: first boot and provisioning (about a minute)")
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=make_dir("warm")))
    try:
        qemu.make_disks(scratch, {"root": (base.root, "raw")})
        process = qemu.start(base, scratch, memory_mb=kind.memory_mb, throw_away=True)
        try:
            with qemu.monitor(scratch, process) as monitor:
                connection = Connection(scratch, monitor.ssh_port())
                connection.wait(time.monotonic() + BOOT_SECONDS)
                provision(connection, kind)
                connection.close()
                monitor.save_memory(scratch / "memory")
                monitor.ask("quit")
        finally:
            process.kill()
        keep_only_state(scratch)
        (scratch / IMAGE_NAME).write_text(base.dir.name)
        scratch.rename(target)
    finally:
        if not os.environ.get("KEEP_TEST_HOST"):
            shutil.rmtree(scratch, ignore_errors=True)


def provision(connection: Connection, kind: Kind) -> None:
    """Make a database host of the guest, then drop what need not be saved."""
    connection.output(
        f"mkdir -p {GUEST_PROVISION} && tar -xf - -C {GUEST_PROVISION} --no-same-owner",
        stdin=packed(PROVISION))
    connection.output(f"{GUEST_PROVISION}/host.sh --device /dev/vdb --server {kind.server} "
                      f"--volume {kind.volume} --fs {kind.fs}")
    connection.output("systemctl is-system-running --wait >/dev/null || true; sync; "
                      "fstrim -a; sync; echo 3 >/proc/sys/vm/drop_caches")


def packed(directory: Path) -> bytes:
    """A tar archive of the files in `directory`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in sorted(directory.iterdir()):
            if path.is_file():
                tar.add(path, arcname=path.name)
    return out.getvalue()


def keep_only_state(directory: Path) -> None:
    """Remove sockets and logs: only disks and memory are the snapshot."""
    wanted = {"memory", *(qemu.disk_file(name) for name in qemu.DISKS)}
    for path in directory.iterdir():
        if path.name not in wanted:
            path.unlink()
