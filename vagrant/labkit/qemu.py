"""One QEMU process: its arguments, its monitor, its memory on disk, its end."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from .errors import LabError
from .image import Image
from .paths import digest
from .run import check

PROGRAM = "qemu-system-x86_64"
GROUP_SIZE = 4
KERNEL_ARGUMENTS = "console=ttyS0 quiet mitigations=off no5lvl nokaslr net.ifnames=0 rw"
# The disks of a guest in the order of /dev/vda, vdb, vdc. The first has a root
# file system below it, the others are made empty.
DISKS = {"root": None, "data": "4G", "extra": "3G"}
MONITOR = "qmp"
# QEMU's own limit of 128 MiB a second would make a saved memory take longer
UNLIMITED = 1 << 40


def can_use_kvm() -> bool:
    """/dev/kvm alone proves nothing: it also exists where the CPU can't."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        flags = re.search(r"^flags\s*:.*\b(vmx|svm)\b", file.read(), re.MULTILINE)
    return bool(flags) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def machine_arguments(memory_mb: int) -> list[str]:
    """The part of the machine that a saved memory must find again."""
    if can_use_kvm():
        accelerator = ["-accel", "kvm", "-cpu", "host"]
    else:
        accelerator = ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off,svm=off"]
    return ["-machine", "q35,sata=off", *accelerator, "-smp", "2", "-m", str(memory_mb),
            "-device", "vmgenid,guid=auto"]


def machine_key(memory_mb: int) -> str:
    """Names what a saved memory depends on besides its image."""
    version = check([PROGRAM, "--version"]).splitlines()[0]
    model = ""
    if can_use_kvm():
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            model = next((line for line in file if line.startswith("model name")), "")
    return digest(version, model, machine_arguments(memory_mb), KERNEL_ARGUMENTS, DISKS,
                  disk_arguments(Path("x"), ""), GROUP_SIZE)


def disk_arguments(home: Path, cache: str) -> list[str]:
    """The three disks, as files in `home`."""
    words = []
    for name in DISKS:
        words += [
            "-drive", f"if=none,id={name},format=qcow2,discard=unmap,detect-zeroes=unmap,"
                      f"file={comma_safe(home / disk_file(name))}{cache}",
            "-device", f"virtio-blk-pci,drive={name},serial={name}",
        ]
    return words


def disk_file(name: str) -> str:
    """Where the disk `name` lies in its directory."""
    return f"{name}.qcow2"


def comma_safe(path: Path) -> str:
    """QEMU separates options by commas and doubles those inside a value."""
    return str(path).replace(",", ",,")


def network_arguments(links: str, slot: int) -> list[str]:
    """The way in for ssh, and one link to each other slot of the group.

    Links are pairs of datagram sockets in the directory `links`, relative to
    where QEMU runs: a path of a socket may have 107 bytes only.
    """
    words = ["-netdev", "user,id=host,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:0-:22",
             "-device", "virtio-net-pci,netdev=host,romfile="]
    others = [peer for peer in range(GROUP_SIZE) if peer != slot]
    for number, peer in enumerate(others, start=1):
        words += [
            "-netdev", f"dgram,id=peer{number},"
                       f"local.type=unix,local.path={links}/{slot}-{peer},"
                       f"remote.type=unix,remote.path={links}/{peer}-{slot}",
            "-device", f"virtio-net-pci,netdev=peer{number},romfile=",
        ]
    return words


@dataclass(frozen=True)
class Process:
    """A QEMU, named by what the kernel never gives out twice."""

    pid: int
    started: int

    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def kill(self) -> None:
        """End it as a power cut does, and wait until it is gone."""
        if not self.alive():
            return
        os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while self.alive():
            if time.monotonic() > deadline:
                raise LabError(f"qemu, process {self.pid}: still there 30 s after SIGKILL")
            reap(self.pid)
            time.sleep(0.02)


def reap(pid: int) -> None:
    """Collect `pid` if it is a child of ours."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def start_time(pid: int) -> int | None:
    """When the process began, in ticks since boot; None for dead ones."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # a dead leader's other threads hold the locks of the disks until they are gone too
        dead = fields[0] in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if dead else int(fields[19])


def start(image: Image, home: Path, *, memory_mb: int, slot: int = 0, links: str = ".",
          memory_file: Path | None = None, throw_away: bool = False) -> Process:
    """Start a guest on the disks in `home`: cold, or with a saved memory."""
    arguments = [PROGRAM, "-nodefaults", "-display", "none", "-no-user-config",
                 *machine_arguments(memory_mb),
                 *disk_arguments(home, ",cache=unsafe" if throw_away else ""),
                 *network_arguments(links, slot),
                 "-serial", "file:console.log",
                 "-qmp", f"unix:{MONITOR},server=on,wait=off",
                 "-kernel", str(image.kernel), "-initrd", str(image.initrd),
                 "-append", KERNEL_ARGUMENTS]
    if memory_file is not None:
        arguments += ["-incoming", f"exec:cat {shlex.quote(str(memory_file))}"]
    if throw_away:
        # a build must not outlive the command that wants it, not even its SIGKILL
        arguments = ["setpriv", "--pdeathsig", "KILL", "--", *arguments]
    with open(home / "qemu.log", "ab") as log:
        child = subprocess.Popen(arguments, cwd=home, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=log, start_new_session=True)
    started = start_time(child.pid)
    if started is None:
        raise LabError(f"qemu did not start\n{last_words(home)}")
    return Process(child.pid, started)


class Monitor:
    """QEMU's machine protocol."""

    def __init__(self, stream: socket.socket):
        self.file = stream.makefile("rwb")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: object) -> Any:
        """Send one command and return what it returns."""
        request = {"execute": command, "arguments": arguments}
        self.file.write(json.dumps(request).encode() + b"\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise LabError(f"qemu: monitor closed during {command}")
            answer = json.loads(line)
            if "error" in answer:
                raise LabError(f"qemu: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def human(self, line: str) -> str:
        """Run one line as QEMU's human monitor does."""
        return str(self.ask("human-monitor-command", **{"command-line": line}))

    def ssh_port(self) -> int:
        """The port of 127.0.0.1 that leads to the guest's port 22."""
        table = self.human("info usernet")
        found = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", table)
        if not found:
            raise LabError("qemu: no forwarded port in `info usernet`")
        return int(found.group(1))

    def save_memory(self, target: Path) -> None:
        """Stop the guest and write its memory to `target`; its disks then fit."""
        self.ask("stop")
        self.ask("migrate-set-parameters", **{"max-bandwidth": UNLIMITED})
        self.ask("migrate", uri=f"exec:cat >{shlex.quote(str(target))}")
        self.wait_for("query-migrate", {"completed"}, {"failed", "cancelled"}, 300)

    def resume(self) -> None:
        """Wait until a saved memory has arrived and let it run.

        It was stopped before it was saved, and so it arrives.
        """
        self.wait_for("query-status", {"paused", "running"}, {"internal-error", "shutdown"}, 120)
        self.ask("cont")

    def wait_for(self, query: str, good: set[str], bad: set[str], seconds: float) -> None:
        """Ask `query` until its status is one of `good`."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.ask(query)["status"]
            if status in good:
                return
            if status in bad or time.monotonic() > deadline:
                raise LabError(f"qemu: {query} says {status}")
            time.sleep(0.05)


def last_words(home: Path) -> str:
    """The end of what the QEMU in `home` wrote."""
    return (home / "qemu.log").read_text(errors="replace")[-2000:]


@contextmanager
def monitor(home: Path, process: Process) -> Iterator[Monitor]:
    """Talk to the QEMU that runs in `home`."""
    deadline = time.monotonic() + 20
    directory = os.open(home, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as stream:
            while True:
                try:
                    stream.connect(f"/proc/self/fd/{directory}/{MONITOR}")
                    machine = Monitor(stream)
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    reap(process.pid)
                    if not process.alive() or time.monotonic() > deadline:
                        raise LabError(f"qemu ended or is silent\n{last_words(home)}") from None
                    time.sleep(0.02)
                except ConnectionError:
                    raise LabError(f"qemu ended as it began\n{last_words(home)}") from None
            yield machine
    finally:
        os.close(directory)


def make_disks(home: Path, below: dict[str, tuple[Path, str]]) -> None:
    """Make each disk in `home`, on top of the file and format in `below` if any.

    A path below is resolved: it stays right when the lab's directory was
    reached by a link.
    """
    for name, size in DISKS.items():
        path = str(home / disk_file(name))
        if name in below:
            base, base_format = below[name]
            check(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base.resolve()),
                   "-F", base_format, path])
        else:
            check(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)])
