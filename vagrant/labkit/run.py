"""One way to run a host tool: quiet when it works, with its words when not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Mapping, Sequence

from .errors import LabError


def say(text: str) -> None:
    """Tell the person what takes time; results go to stdout, this does not."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def check(argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None,
          timeout: float | None = None) -> str:
    """Run `argv` and return its stdout; failing is a LabError with its stderr."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, env={**os.environ, **(env or {})}, timeout=timeout,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        )
    except FileNotFoundError:
        raise LabError(f"{argv[0]}: no such program") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{argv[0]}: no end after {timeout:.0f} s") from None
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise LabError(f"{argv[0]}: exit status {done.returncode}\n{tail}")
    return done.stdout
