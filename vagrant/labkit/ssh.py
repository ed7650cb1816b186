"""Commands in guests: keys, one shared connection a guest, exit statuses."""

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Sequence

from .errors import LabError
from .paths import locked, make_dir
from .run import check

# Every guest shows the same host key; this is the name that it is checked under.
HOST_ALIAS = "mysnap-lab"
CONTROL = "ssh"


def keys() -> Path:
    """The lab's two key pairs: the guests' host key, and root's on both sides."""
    directory = make_dir("keys")
    with locked("keys"):
        for name in ("host", "root"):
            if not (directory / f"{name}.pub").exists():
                (directory / name).unlink(missing_ok=True)
                check(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"mysnap-lab-{name}",
                       "-f", str(directory / name)])
        known = directory / "known_hosts"
        if not known.exists():
            known.write_text(f"{HOST_ALIAS} {(directory / 'host.pub').read_text()}")
    return directory


def public_key() -> str:
    """What an image's name depends on: the keys inside it."""
    return (keys() / "host.pub").read_text() + (keys() / "root.pub").read_text()


def guest_key_files() -> dict[str, tuple[bytes, int]]:
    """Path in the guest -> content and mode."""
    directory = keys()
    private, public = (directory / "root").read_bytes(), (directory / "root.pub").read_bytes()
    return {
        "etc/ssh/ssh_host_ed25519_key": ((directory / "host").read_bytes(), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": ((directory / "host.pub").read_bytes(), 0o644),
        "root/.ssh/id_ed25519": (private, 0o600),
        "root/.ssh/id_ed25519.pub": (public, 0o644),
        "root/.ssh/authorized_keys": (public, 0o600),
    }


def quoted(path: Path) -> str:
    """`path` as a value of one of ssh's options, which split at spaces."""
    return '"' + str(path).replace("%", "%%") + '"'


class Connection:
    """Root's shell in the guest behind `port`, from the directory `home`.

    ssh runs in `home` and names its control socket relative to it: the path of
    a socket may have 107 bytes only, that of a cache directory may be longer.
    """

    def __init__(self, home: Path, port: int):
        self.home, self.port = home, port

    def options(self) -> list[str]:
        directory = keys()
        chosen = {
            "Port": self.port, "User": "root", "HostKeyAlias": HOST_ALIAS,
            "IdentityFile": quoted(directory / "root"), "IdentitiesOnly": "yes",
            "UserKnownHostsFile": quoted(directory / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null", "StrictHostKeyChecking": "yes",
            "BatchMode": "yes", "LogLevel": "ERROR", "ControlPath": CONTROL,
            "ServerAliveInterval": 15, "ServerAliveCountMax": 4, "ConnectTimeout": 20,
        }
        words = ["-F", "/dev/null"]
        for name, value in chosen.items():
            words += ["-o", f"{name}={value}"]
        return words

    def ssh(self, *extra: str) -> list[str]:
        return ["ssh", *self.options(), *extra, "127.0.0.1"]

    def open(self) -> bool:
        """Have the shared connection; False when the guest does not answer."""
        if self.succeeds("-O", "check"):
            return True
        (self.home / CONTROL).unlink(missing_ok=True)
        return self.succeeds("-M", "-N", "-f")

    def succeeds(self, *extra: str) -> bool:
        return subprocess.run(self.ssh(*extra), cwd=self.home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def close(self) -> None:
        """End the shared connection."""
        if (self.home / CONTROL).exists():
            subprocess.run(self.ssh("-O", "exit"), cwd=self.home, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self, deadline: float) -> None:
        """Wait until the guest answers, at most up to the monotonic `deadline`."""
        while not self.open():
            if time.monotonic() > deadline:
                raise LabError("the guest does not answer by ssh",
                               f"its console: {self.home / 'console.log'}")
            time.sleep(0.3)

    def run(self, argv: Sequence[str], *, terminal: bool = False) -> int:
        """Run `argv` with our own stdin, stdout and stderr; its exit status."""
        self.open()
        extra = ["-t"] if terminal else []
        # the shell on the other side must stay, to turn a signal into a status
        command = ["--", f"{shlex.join(argv)}; exit $?"] if argv else []
        return subprocess.run([*self.ssh(*extra), *command], cwd=self.home).returncode

    def output(self, script: str, *, stdin: bytes = b"", timeout: float | None = None) -> str:
        """Run a shell script in the guest and return its stdout."""
        self.open()
        try:
            done = subprocess.run([*self.ssh(), "--", script], cwd=self.home, input=stdin,
                                  capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"in the guest: no end after {timeout:.0f} s") from None
        if done.returncode != 0:
            words = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise LabError(f"in the guest: exit status {done.returncode}\n{words[-3000:]}")
        return done.stdout.decode(errors="replace")

    def copy(self, source: str, target: str, *, put: bool) -> None:
        """Copy a file or a directory into the guest, or out of it."""
        self.open()
        local = os.path.abspath(source if put else target)
        pair = [local, f"127.0.0.1:{target}"] if put else [f"127.0.0.1:{source}", local]
        options = self.options()
        check(["scp", "-r", "-p", "-q", *options, *pair], cwd=self.home)
