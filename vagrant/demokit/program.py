"""mysnap, built for the guests."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from labkit import tools
from labkit.errors import LabError
from labkit.paths import SOURCES, locked
from labkit.run import check

from .screen import Screen

ROOT = SOURCES.parent
RUSTUP = "https://rustup.rs installs a newer one"


def built(screen: Screen) -> Path:
    """The program, compiled when it is missing or older than its source."""
    need_cargo(screen)
    target = json.loads(cargo("metadata", "--no-deps", "--format-version", "1"))["target_directory"]
    program = Path(target, "debug", "mysnap")
    known = "which takes a minute or two the first time" if not program.exists() else "if it changed"
    screen.say(f"Compiling mysnap (cargo build), {known} ...")
    done = subprocess.run(["cargo", "build", "--quiet", "--locked"], cwd=ROOT)
    if done.returncode != 0:
        raise LabError(f"cargo build: exit status {done.returncode}")
    return program


def cargo(*arguments: str) -> str:
    """What cargo answers."""
    return check(["cargo", *arguments], cwd=ROOT)


def need_cargo(screen: Screen) -> None:
    """Have a compiler that is new enough: Debian's, where there is none yet."""
    missing = [package for package, tool in (("cargo", "cargo"), ("gcc", "cc"))
               if shutil.which(tool) is None]
    if missing:
        names = " ".join(missing)
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise LabError(f"missing on this host: {names}", f"sudo apt-get install {names}")
        screen.say(f"Installing {names} ...")
        with locked("tools"):
            tools.apt(["update"])
            tools.apt(["install", "-y", "--no-install-recommends", *missing])
    wanted = re.search(r'^rust-version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    present = re.match(r"cargo (\S+)", cargo("--version"))
    if wanted and present and release(present[1]) < release(wanted[1]):
        raise LabError(f"cargo {present[1]} is too old, mysnap needs {wanted[1]}", RUSTUP)


def release(text: str) -> tuple[int, ...]:
    """A version to compare."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
