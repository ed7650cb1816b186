"""A minimal initramfs: busybox, the modules for the root disk, and an init.

It is written here rather than by cpio because a plain user may not make the
directories and owners that an archive of a real tree would need.
"""

import stat
import subprocess
from pathlib import Path

from .errors import LabError

ROOT_DISK_MODULES = ("virtio_pci", "virtio_blk", "ext4")
DECOMPRESSORS = {".xz": ["xz", "-dc"], ".zst": ["zstd", "-dcq"]}
# The root is mounted writable at once: that replays its journal after a power cut.
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod "/modules/$module"; done
tries=0
until /bin/busybox mount -t ext4 -o rw,discard /dev/vda /root; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || exec /bin/busybox sh
    /bin/busybox sleep 0.1
done
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


def write(target: Path, busybox: Path, modules: Path) -> None:
    """Write the initramfs for the kernel whose modules lie in `modules`."""
    wanted = root_disk_modules(modules)
    files = {"bin/busybox": busybox.read_bytes()}
    names = []
    for module in wanted:
        name = module.name.split(".ko")[0] + ".ko"
        names.append(name)
        files[f"modules/{name}"] = decompressed(module)
    files["init"] = INIT.format(modules=" ".join(names)).encode()
    target.write_bytes(archive(files))


def root_disk_modules(modules: Path) -> list[Path]:
    """The modules that the root disk needs, in the order to load them."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        module, _, rest = line.partition(":")
        needs[module_name(module)] = (module, rest.split())
    built_in = {module_name(line) for line in (modules / "modules.builtin").read_text().split()}
    order: list[str] = []
    for name in ROOT_DISK_MODULES:
        if name in built_in:
            continue
        if name not in needs:
            raise LabError(f"kernel in {modules.name}: no module {name}")
        path, dependencies = needs[name]
        # modules.dep lists what is needed first last
        for module in [*reversed(dependencies), path]:
            if module not in order:
                order.append(module)
    return [modules / module for module in order]


def module_name(path: str) -> str:
    """`kernel/drivers/block/virtio-blk.ko.xz` -> `virtio_blk`."""
    return path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")


def decompressed(module: Path) -> bytes:
    """The module's bytes; busybox loads plain ones only."""
    command = DECOMPRESSORS.get(module.suffix)
    if command is None:
        return module.read_bytes()
    return subprocess.run([*command, module], check=True, stdout=subprocess.PIPE).stdout


def archive(files: dict[str, bytes]) -> bytes:
    """A cpio archive (newc) of `files`, all executable and root's."""
    directories = {"dev", "root"} | {str(Path(name).parent) for name in files} - {"."}
    parts = [entry(name, stat.S_IFDIR | 0o755, b"") for name in sorted(directories)]
    parts += [entry(name, stat.S_IFREG | 0o755, data) for name, data in files.items()]
    return b"".join(parts) + entry("TRAILER!!!", 0, b"")


def entry(name: str, mode: int, data: bytes) -> bytes:
    """One member: header, name and data, each padded to four bytes."""
    inode, uid, gid, links, mtime, zero = 0, 0, 0, 1, 0, 0
    fields = (inode, mode, uid, gid, links, mtime, len(data), zero, zero, zero, zero,
              len(name) + 1, zero)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return padded(header + name.encode() + b"\0") + padded(data)


def padded(data: bytes) -> bytes:
    """`data` and zeros up to a multiple of four."""
    return data + b"\0" * (-len(data) % 4)
