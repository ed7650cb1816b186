"""Images: Debian packages become a kernel, an initramfs and a root file system."""

import io
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import catalog, initrd, ssh, tools
from .errors import LabError
from .paths import GUEST_FILES, SOURCES, digest, lab_dir, locked, make_dir, tree_digest
from .run import check, say

ROOT_SIZE = "6G"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
APT_OPTIONS = (
    'APT::Install-Recommends "false"',
    # sid's Release file expires within days when a mirror lags behind
    'Acquire::Check-Valid-Until "false"',
    'Acquire::Retries "3"',
    'Acquire::Languages "none"',
)
DPKG_OPTIONS = (
    "force-unsafe-io",
    # a question about a configuration file would end the whole build
    "force-confold",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
)


@dataclass(frozen=True)
class Image:
    """A built image: what `dir` holds does not change any more."""

    dir: Path

    @property
    def kernel(self) -> Path:
        return self.dir / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.dir / "initrd"

    @property
    def root(self) -> Path:
        return self.dir / "root.img"

    @property
    def versions(self) -> str:
        """The exact packages in it, one on a line."""
        return (self.dir / "packages").read_text()


def key(server_name: str) -> str:
    """Names the image of `server_name` by all that goes into it."""
    server = catalog.SERVERS[server_name]
    return f"{server_name}-" + digest(
        generation_file(server_name).read_text() if generation_file(server_name).exists() else "",
        server.suite, catalog.packages(server), APT_OPTIONS, DPKG_OPTIONS, ROOT_SIZE,
        tree_digest(GUEST_FILES, SOURCES / "labkit" / "image.py", SOURCES / "labkit" / "initrd.py"),
        ssh.public_key(),
    )


def generation_file(server_name: str) -> Path:
    """Its content tells images of one recipe and different days apart."""
    return make_dir("images") / f".generation-{server_name}"


def ensure(server_name: str, *, refresh: bool = False) -> Image:
    """The image for `server_name`, built when it is missing.

    A suite moves on while its recipe stays the same: `refresh` builds another
    image beside the old one, which guests may still stand on.
    """
    with locked(f"image-{server_name}"):
        if refresh:
            generation_file(server_name).write_text(f"{time.time():.0f}\n")
        target = lab_dir() / "images" / key(server_name)
        if not target.exists():
            build(server_name, target)
    os.utime(target)
    return Image(target)


def build(server_name: str, target: Path) -> None:
    """Build into a scratch directory and rename it into place last."""
    say(f"building the {server_name} image (about a minute)")
    images = make_dir("images")
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=images))
    try:
        tree_tar = scratch / "tree.tar"
        bootstrap(catalog.SERVERS[server_name], tree_tar, scratch)
        in_user_namespace(["sh", "-euc", UNPACK_AND_FORMAT, "sh", str(scratch), ROOT_SIZE])
        take_kernel(scratch)
        tree_tar.unlink()
        result = scratch / "image"
        result.mkdir()
        for name in ("vmlinuz", "initrd", "root.img", "packages"):
            (scratch / name).rename(result / name)
        result.rename(target)
    finally:
        in_user_namespace(["rm", "-rf", str(scratch)])


# Owners in the tree are only real inside the namespace, so it is unpacked,
# formatted and removed in one go there.
UNPACK_AND_FORMAT = """
cd "$1"
mkdir tree
tar -xf tree.tar -C tree --numeric-owner --exclude='./dev/*'
mkdir modules
cp tree/boot/vmlinuz-* vmlinuz
cp tree/usr/lib/lab/packages packages
cp -r tree/usr/lib/modules/*/. modules/
mke2fs -q -t ext4 -J size=16 -E lazy_itable_init=1,lazy_journal_init=1 -d tree root.img "$2"
rm -rf tree
"""


def take_kernel(scratch: Path) -> None:
    """Write the initramfs that fits the kernel just unpacked."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LabError("busybox: no such program")
    initrd.write(scratch / "initrd", Path(busybox), scratch / "modules")


def in_user_namespace(argv: list[str]) -> None:
    """Run `argv` where all owners of a Debian tree can exist."""
    if os.geteuid() != 0:
        argv = ["unshare", "--map-root-user", "--map-auto", "--", *argv]
    check(argv)


def bootstrap(server: catalog.Server, target: Path, scratch: Path) -> None:
    """Have mmdebstrap install the packages into the tar file `target`."""
    ours = scratch / "ours.tar"
    ours.write_bytes(guest_files())
    argv = ["mmdebstrap", "--variant=minbase", "--format=tar", f"--keyring={KEYRING}",
            f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
            f"--include={','.join(catalog.packages(server))}"]
    argv += [f"--aptopt={option}" for option in APT_OPTIONS]
    argv += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
    argv += [
        f"--customize-hook=upload {shlex.quote(str(ours))} /ours.tar",
        '--customize-hook=chroot "$1" tar -xf /ours.tar -C /',
        '--customize-hook=rm "$1/ours.tar"',
        '--customize-hook=chroot "$1" /usr/lib/lab/setup',
        server.suite, str(target), tools.mirror(),
    ]
    # no initramfs of Debian's is used, so none is generated
    environment = {"INITRD": "No"}
    if os.geteuid() == 0:
        # elsewhere the tree's foreign owners must be let in, as /tmp does
        environment["TMPDIR"] = str(scratch)
    try:
        check(argv, env=environment)
    except LabError as error:
        raise LabError(f"packages of {server.suite} from {tools.mirror()}: {error}",
                       bootstrap_hint()) from None


def bootstrap_hint() -> str:
    """What most likely stopped mmdebstrap."""
    if os.geteuid() != 0 and subprocess.run(
            ["unshare", "--map-root-user", "--map-auto", "true"], capture_output=True).returncode:
        return ("this user can't have a user namespace: give it ranges in /etc/subuid and "
                "/etc/subgid, allow unprivileged user namespaces, or run the lab as root")
    return "is the mirror reachable? MYSNAP_LAB_MIRROR chooses another one"


def guest_files() -> bytes:
    """What the lab adds to the packages, as a tar file owned by root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in sorted(GUEST_FILES.iterdir()):
            add(tar, f"usr/lib/lab/{path.name}", path.read_bytes(), path.stat().st_mode & 0o777)
        for name, (data, mode) in ssh.guest_key_files().items():
            add(tar, name, data, mode)
    return out.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    """Add one file that belongs to root."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))
