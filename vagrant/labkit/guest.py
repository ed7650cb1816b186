"""Guests: coming up warm or cold, losing power, going away for good."""

import contextlib
import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterator

from . import catalog, prune, qemu, warm
from .errors import LabError, UsageError
from .image import Image
from .paths import lab_dir, locked, make_dir
from .qemu import Process
from .run import say
from .ssh import Connection
from .warm import Kind

RECORD = "guest.json"
NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
REGISTRY = "guests"
# generous: an emulated guest on a busy host is slow, not broken
COLD_BOOT_SECONDS = 600
RESUME_SECONDS = 300
PEER_SECONDS = 30
BECOME_ANOTHER_MACHINE = "rm /etc/machine-id && systemd-machine-id-setup 2>/dev/null"


@dataclass
class Guest:
    """A guest and what must be remembered about it."""

    name: str
    group: str
    slot: int
    server: str
    volume: str
    fs: str
    image: str
    warm: str
    pid: int = 0
    started: int = 0
    port: int = 0
    ready: bool = False

    @property
    def home(self) -> Path:
        return lab_dir() / "run" / self.name

    @property
    def kind(self) -> Kind:
        return Kind(self.server, self.volume, self.fs)

    @property
    def process(self) -> Process:
        return Process(self.pid, self.started)

    @property
    def connection(self) -> Connection:
        return Connection(self.home, self.port)

    def running(self) -> bool:
        return self.pid != 0 and self.process.alive()

    def save(self) -> None:
        """Write the record so that a reader sees the old one or the new one."""
        scratch = self.home / f"{RECORD}.new"
        scratch.write_text(json.dumps(asdict(self), indent=1) + "\n")
        scratch.rename(self.home / RECORD)


def known() -> list[Guest]:
    """Every guest, running or not, by name."""
    found = []
    for record in sorted((lab_dir() / "run").glob(f"*/{RECORD}")):
        with contextlib.suppress(FileNotFoundError):  # it has just gone down
            found.append(Guest(**json.loads(record.read_text())))
    return found


def find(name: str) -> Guest:
    """The guest `name`, or a word about which ones there are."""
    check_name(name, "guest")
    for guest in known():
        if guest.name == name:
            return guest
    names = ", ".join(guest.name for guest in known()) or "none is up"
    raise UsageError(f"guest {name}: not known ({names})", f"`lab up {name}` makes it")


def find_running(name: str) -> Guest:
    """The guest `name`, which must have power."""
    guest = find(name)
    if not guest.running():
        raise UsageError(f"guest {name}: has no power", f"`lab up {name}` boots it again")
    return guest


def check_name(name: str, what: str) -> None:
    """Names become host names, directories and parts of commands."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{what} name {name!r}: want lower-case letters, digits and inner "
                         "hyphens, a letter first, at most 32 in all")


def up(name: str, kind: Kind | None, group: str | None) -> Guest:
    """Have the guest `name` running and ready; None stands for what it was."""
    check_name(name, "guest")
    if group is not None:
        check_name(group, "group")
    with locked(f"guest-{name}"):
        existing = next((guest for guest in known() if guest.name == name), None)
        if existing is None:
            return create(name, kind or Kind("mariadb", "thick", "ext4"), group or "default")
        refuse_change(existing, kind, group)
        if existing.running() and existing.ready:
            say(f"{name} is up already")
            return existing
        return boot_again(existing)


def refuse_change(guest: Guest, kind: Kind | None, group: str | None) -> None:
    """A known guest keeps what it is made of."""
    if (kind or guest.kind) != guest.kind or (group or guest.group) != guest.group:
        raise UsageError(f"guest {guest.name}: is {guest.kind} in group {guest.group} already",
                         f"`lab down {guest.name}` first, or choose another name")


def create(name: str, kind: Kind, group: str) -> Guest:
    """A new guest, resumed from the warm snapshot of its kind."""
    snapshot = warm.ensure(kind)
    guest = register(name, kind, group, snapshot)
    with powered_off_on_failure(guest, forget=True):
        qemu.make_disks(guest.home, snapshot.disks())
        power_on(guest, snapshot.image, snapshot.memory)
        guest.connection.wait(time.monotonic() + RESUME_SECONDS)
        guest.connection.output(BECOME_ANOTHER_MACHINE)
        introduce(guest)
    prune.old_entries({g.image for g in known()}, {g.warm for g in known()})
    return guest


def boot_again(guest: Guest) -> Guest:
    """Boot a known guest cold on the disks it was left with."""
    power_off(guest)
    with powered_off_on_failure(guest, forget=False):
        power_on(guest, Image(lab_dir() / "images" / guest.image), None)
        guest.connection.wait(time.monotonic() + COLD_BOOT_SECONDS)
        introduce(guest)
    return guest


def register(name: str, kind: Kind, group: str, snapshot: warm.Warm) -> Guest:
    """Take a free place in the group and remember the guest."""
    with locked(REGISTRY):
        taken = {guest.slot for guest in known() if guest.group == group}
        free = [slot for slot in range(qemu.GROUP_SIZE) if slot not in taken]
        if not free:
            raise UsageError(f"group {group}: has {qemu.GROUP_SIZE} guests already, no more fit",
                             "`--group OTHER` begins another group, `lab down NAME` makes room")
        guest = Guest(name, group, free[0], kind.server, kind.volume, kind.fs,
                      snapshot.image.dir.name, snapshot.dir.name)
        shutil.rmtree(guest.home, ignore_errors=True)
        make_dir("run", name)
        guest.save()
    return guest


@contextlib.contextmanager
def powered_off_on_failure(guest: Guest, *, forget: bool) -> Iterator[None]:
    """Leave no half-made guest running when coming up fails or is interrupted."""
    try:
        yield
    except BaseException:
        power_off(guest)
        if forget and not os.environ.get("KEEP_TEST_HOST"):
            shutil.rmtree(guest.home, ignore_errors=True)
        raise


def power_on(guest: Guest, base: Image, memory: Path | None) -> None:
    """Start QEMU and learn its ssh port."""
    links = make_dir("links", guest.group)
    process = qemu.start(base, guest.home, memory_mb=guest.kind.memory_mb, slot=guest.slot,
                         links=f"../../links/{links.name}", memory_file=memory)
    guest.pid, guest.started, guest.ready = process.pid, process.started, False
    guest.save()
    with qemu.monitor(guest.home, process) as monitor:
        guest.port = monitor.ssh_port()
        guest.save()
        if memory is not None:
            monitor.resume()


def introduce(guest: Guest) -> None:
    """Wait until the guest is ready, and tell it and its peers about each other."""
    guest.connection.output(f"date -s @{time.time():.3f} >/dev/null; {settled(guest)}")
    guest.ready = True
    guest.save()
    with locked(f"group-{guest.group}"):
        group = members(guest.group)
        guest.connection.output(identify(guest, group))
        for peer in group:
            if peer.name != guest.name and peer.ready and peer.running():
                tell(peer, group)


def settled(guest: Guest) -> str:
    """The shell command that waits for the server on its volume."""
    service = catalog.SERVERS[guest.server].service
    return ("systemctl is-system-running --wait >/dev/null; mountpoint -q /var/lib/mysql || "
            "{ echo /var/lib/mysql is not mounted >&2; exit 1; }; "
            f"systemctl is-active --quiet {service} || "
            f"{{ systemctl status {service} --no-pager -n 20 >&2; exit 1; }}")


def tell(peer: Guest, group: list[Guest]) -> None:
    """Tell a running peer who its group is; one that hangs can't stop others."""
    try:
        peer.connection.output(identify(peer, group), timeout=PEER_SECONDS)
    except LabError as error:
        say(f"{peer.name} does not know of its new peer: {error}")


def members(group: str) -> list[Guest]:
    """All guests of a group, whether they have power or not."""
    return [guest for guest in known() if guest.group == group]


def identify(guest: Guest, group: list[Guest]) -> str:
    """The shell command that makes `guest` know itself and its peers."""
    peers = " ".join(f"{member.slot}:{member.name}" for member in group)
    lines = f"SLOT={guest.slot}\nNAME={guest.name}\nPEERS='{peers}'\n"
    return f"cat >/etc/lab-identity <<'END'\n{lines}END\n/usr/lib/lab/identity"


def power_off(guest: Guest) -> None:
    """Kill QEMU, and ssh's background process with it; the disks stay."""
    if guest.pid:
        guest.connection.close()
        guest.process.kill()
    guest.ready = False


def kill(name: str) -> None:
    """Cut the power of a guest; its disks stay."""
    guest = find_running(name)
    # nothing may come between the caller's last write and the cut
    guest.process.kill()
    power_off(guest)
    guest.save()


def down(name: str | None) -> list[str]:
    """End one guest, or all of them, and remove their disks."""
    names = [find(name).name] if name is not None else [guest.name for guest in known()]
    for each in names:
        with locked(f"guest-{each}"):
            for guest in known():
                if guest.name == each:
                    remove(guest)
    return names


def remove(guest: Guest) -> None:
    """End a guest, and leave nothing of it."""
    power_off(guest)
    with locked(REGISTRY):
        shutil.rmtree(guest.home)
        if not members(guest.group):
            shutil.rmtree(lab_dir() / "links" / guest.group, ignore_errors=True)
