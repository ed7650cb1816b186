"""The two hosts of the demo, and what is typed there."""

import contextlib
import fcntl
import os
import signal
import subprocess
from pathlib import Path
from typing import Iterator

from labkit import guest
from labkit.errors import LabError
from labkit.paths import make_dir
from labkit.warm import Kind

from .screen import Screen

GROUP = "demo"
DATABASE_HOST, SECOND_NODE = "shop-db", "node2"
# the file systems that the lab's tests have too: a guest of theirs is warm already
FILE_SYSTEMS = {"thick": "ext4", "thin": "xfs"}


class Host:
    """A running guest."""

    def __init__(self, running: guest.Guest, screen: Screen):
        self.name, self.connection, self.screen = running.name, running.connection, screen

    def type(self, command: str, *, status: int = 0) -> str:
        """Show `command`, run it with its output on the screen; it must end with `status`."""
        self.screen.command(self.name, command)
        returned, output = self.stream(command)
        if output and not output.endswith(b"\n"):
            self.screen.line("")
        if returned != status:
            raise LabError(f"on {self.name}, this ended with exit status {returned}, "
                           f"not {status}: {command}")
        return output.decode(errors="replace").replace("\r\n", "\n")

    def stream(self, command: str) -> tuple[int, bytes]:
        """Run `command`, on a terminal of its own if we have one; exit status and output."""
        self.connection.open()
        if self.screen.is_terminal:
            terminal, prepare = ["-tt"], f"stty cols {self.screen.width} rows 24"
        else:
            # two channels would arrive in any order
            terminal, prepare = [], "exec 2>&1"
        # the shell on the other side must stay, to turn a signal into a status
        argv = [*self.connection.ssh(*terminal), "--", f"{prepare}\n{command}\nexit $?"]
        with subprocess.Popen(argv, cwd=self.connection.home, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
            assert running.stdout is not None
            output = b""
            while piece := os.read(running.stdout.fileno(), 65536):
                self.screen.raw(piece)
                output += piece
        return running.returncode, output

    def ask(self, command: str) -> str:
        """Run `command` unseen and return its output."""
        return self.connection.output(command)

    def put(self, source: Path, target: str) -> None:
        """Copy a file into the guest."""
        self.connection.copy(str(source), target, put=True)


@contextlib.contextmanager
def hosts(server: str, volume: str, *, keep: bool, screen: Screen) -> Iterator[tuple[Host, Host]]:
    """The database host and the second node, taken down at the end unless they are kept."""
    with only_one():
        clear()
        try:
            kind = Kind(server, volume, FILE_SYSTEMS[volume])
            names = (DATABASE_HOST, SECOND_NODE)
            first, second = (guest.up(name, kind, GROUP) for name in names)
            yield Host(first, screen), Host(second, screen)
        finally:
            if not keep:
                with undisturbed():
                    clear()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Put off what an impatient person does: half a cleaning up leaves a guest running."""
    endings = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(ending, signal.SIG_IGN) for ending in endings]
    try:
        yield
    finally:
        for ending, handler in zip(endings, before):
            signal.signal(ending, handler)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Two demos at once would take each other's hosts down."""
    with open(make_dir("locks") / "demo", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another demo is running", "wait for its end") from None
        yield


def clear() -> None:
    """Take down what a demo has brought up, this one or one that kept its hosts."""
    for each in guest.known():
        if each.group == GROUP and each.name in (DATABASE_HOST, SECOND_NODE):
            guest.down(each.name)
