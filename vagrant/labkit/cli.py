"""The command line of the lab."""

import argparse
import os
import signal
import sys
from typing import NoReturn, Sequence

from . import catalog, guest, image, qemu, tools
from .errors import LabError, UsageError
from .warm import Kind

EPILOG = """\
state and cache: $MYSNAP_LAB_DIR, else ~/.cache/mysnap-lab
packages from:   $MYSNAP_LAB_MIRROR, else this host's Debian mirror
Guests of one group reach each other by name, root's ssh included.
"""
# exit statuses above this tell of a signal, as in a shell
SIGNALLED = 128


class Parser(argparse.ArgumentParser):
    """Says what is wrong the way the rest of the lab does."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help")


def main(argv: Sequence[str]) -> int:
    """Run one command of the lab and return its exit status."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, end_by_signal)
    try:
        arguments = parser().parse_args(argv)
        tools.ensure()
        return arguments.run(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130


def end_by_signal(number: int, _frame: object) -> NoReturn:
    """End through every `finally`: a guest half made must not stay."""
    raise SystemExit(SIGNALLED + number)


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    top = Parser(prog="lab", description=sys.modules["__main__"].__doc__, epilog=EPILOG,
                 formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    up = command(commands, "up", run_up, "make a guest, or boot it again after a power cut")
    up.add_argument("name", metavar="NAME")
    up.add_argument("--server", choices=catalog.SERVERS, help="default: mariadb")
    up.add_argument("--volume", choices=catalog.VOLUMES, help="default: thick")
    up.add_argument("--fs", choices=catalog.FILE_SYSTEMS, help="default: ext4")
    up.add_argument("--group", help=f"up to {qemu.GROUP_SIZE} guests on one network; "
                                    "default: default")

    run = command(commands, "exec", run_exec, "run a command as root, with its exit status")
    run.add_argument("name", metavar="NAME")
    run.add_argument("argv", metavar="-- COMMAND", nargs=argparse.REMAINDER)

    shell = command(commands, "shell", run_shell, "root's shell on this terminal")
    shell.add_argument("name", metavar="NAME")

    for verb, handler, text in (("put", run_put, "copy a file or directory into a guest"),
                                ("get", run_get, "copy a file or directory out of a guest")):
        copy = command(commands, verb, handler, text)
        for name in ("name", "source", "target"):
            copy.add_argument(name, metavar={"source": "SRC", "target": "DST"}.get(name, "NAME"))

    kill = command(commands, "kill", run_kill, "cut the power; the disks stay")
    kill.add_argument("name", metavar="NAME")

    monitor = command(commands, "monitor", run_monitor, "run a line of QEMU's monitor")
    monitor.add_argument("name", metavar="NAME")
    monitor.add_argument("argv", metavar="-- COMMAND", nargs=argparse.REMAINDER)

    command(commands, "list", run_list, "the guests and what they are")

    down = command(commands, "down", run_down, "end a guest, or all, and remove its disks")
    down.add_argument("name", metavar="NAME", nargs="?")

    build = command(commands, "build", run_build, "only build the images")
    build.add_argument("--server", choices=catalog.SERVERS, help="default: all")
    build.add_argument("--refresh", action="store_true", help="with today's packages")
    return top


def command(commands, name: str, handler, text: str) -> argparse.ArgumentParser:
    """Add one command."""
    added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    added.set_defaults(run=handler)
    return added


def run_up(arguments: argparse.Namespace) -> int:
    chosen = (arguments.server, arguments.volume, arguments.fs)
    kind = None
    if any(chosen):
        kind = Kind(arguments.server or "mariadb", arguments.volume or "thick",
                    arguments.fs or "ext4")
    guest.up(arguments.name, kind, arguments.group)
    return 0


def words_after_dashes(arguments: argparse.Namespace) -> list[str]:
    """The command after `--`, which may be left out where nothing is unclear."""
    words = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not words:
        raise UsageError("no command given", "lab exec NAME -- COMMAND...")
    return words


def run_exec(arguments: argparse.Namespace) -> int:
    words = words_after_dashes(arguments)
    return exit_status(guest.find_running(arguments.name).connection.run(words))


def run_shell(arguments: argparse.Namespace) -> int:
    return exit_status(guest.find_running(arguments.name).connection.run([], terminal=True))


def exit_status(returned: int) -> int:
    """A shell's way to tell of a signal that ended ssh."""
    return returned if returned >= 0 else SIGNALLED - returned


def run_put(arguments: argparse.Namespace) -> int:
    if not os.path.exists(arguments.source):
        raise UsageError(f"{arguments.source}: no such file on this host")
    target = guest.find_running(arguments.name)
    target.connection.copy(arguments.source, arguments.target, put=True)
    return 0


def run_get(arguments: argparse.Namespace) -> int:
    source = guest.find_running(arguments.name)
    source.connection.copy(arguments.source, arguments.target, put=False)
    return 0


def run_kill(arguments: argparse.Namespace) -> int:
    guest.kill(arguments.name)
    return 0


def run_monitor(arguments: argparse.Namespace) -> int:
    target = guest.find_running(arguments.name)
    with qemu.monitor(target.home, target.process) as monitor:
        print(monitor.human(" ".join(words_after_dashes(arguments))), end="")
    return 0


def run_list(_: argparse.Namespace) -> int:
    rows = [("NAME", "STATE", "SERVER", "VOLUME", "FS", "GROUP")]
    for each in guest.known():
        state = "no power" if not each.running() else "up" if each.ready else "coming up"
        rows.append((each.name, state, each.server, each.volume, each.fs, each.group))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


def run_down(arguments: argparse.Namespace) -> int:
    guest.down(arguments.name)
    return 0


def run_build(arguments: argparse.Namespace) -> int:
    for server in [arguments.server] if arguments.server else catalog.SERVERS:
        print(image.ensure(server, refresh=arguments.refresh).dir)
    return 0
