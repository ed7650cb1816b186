"""The command line of the demo."""

import argparse
import signal
import sys
import time
from typing import NoReturn, Sequence

from labkit import catalog, tools
from labkit.cli import end_by_signal
from labkit.errors import LabError, UsageError

from . import program
from .screen import Screen
from .stage import DATABASE_HOST, SECOND_NODE, Host, hosts
from .story import Story

EPILOG = """\
The hosts are guests of the lab (vagrant/lab --help); nothing outside them is
touched. They are taken down in the end, unless --keep says otherwise.
Any step that doesn't come out right ends the demo with exit status 1.
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong the way the rest of the demo does."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help")


def main(argv: Sequence[str]) -> int:
    """Tell the story and return the exit status."""
    # a polite kill and a closed terminal must take the guests down too
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, end_by_signal)
    screen = Screen()
    try:
        arguments = parser().parse_args(argv)
        run(arguments, screen)
        return 0
    except LabError as error:
        where = f"\ndemo: step {screen.steps}: " if screen.steps else "demo: "
        print(f"{where}{error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    top = Parser(prog="demo", description=sys.modules["__main__"].__doc__, epilog=EPILOG,
                 formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    top.add_argument("--server", choices=catalog.SERVERS, default="mariadb",
                     help="default: mariadb")
    top.add_argument("--volume", choices=catalog.VOLUMES, default="thick", help="default: thick")
    top.add_argument("--keep", action="store_true", help="leave the hosts up to look around")
    return top


def run(arguments: argparse.Namespace, screen: Screen) -> None:
    """Build what is missing, tell the story, sum up."""
    tools.ensure()
    binary = program.built(screen)
    screen.say(f"Bringing up two hosts, {DATABASE_HOST} and {SECOND_NODE}: virtual machines with "
               "real LVM and a real server (seconds when warm, a few minutes the first time) ...")
    with hosts(arguments.server, arguments.volume, keep=arguments.keep, screen=screen) as (db, node):
        equip(db, binary)
        began = time.monotonic()
        story = Story(arguments.server, arguments.volume, screen, db, node)
        story.tell()
        sum_up(screen, story, time.monotonic() - began, keep=arguments.keep)


def equip(db: Host, binary) -> None:
    """mysnap, and what notes the checksums."""
    db.put(binary, "/usr/local/sbin/mysnap")
    db.put(program.ROOT / "vagrant/demokit/demo-checksums", "/usr/local/bin/demo-checksums")


def sum_up(screen: Screen, story: Story, took: float, *, keep: bool) -> None:
    """Figures, and where to go from here."""
    screen.title("In short")
    screen.table([*story.figures(), ("the whole story", f"{took:.0f} s")])
    down = f"vagrant/lab down {DATABASE_HOST}; vagrant/lab down {SECOND_NODE}"
    if keep:
        screen.table([("look around", f"vagrant/lab shell {DATABASE_HOST}"), ("clean up", down)])
    else:
        screen.say("The hosts go down now. `vagrant/demo --keep` leaves them up for "
                   f"`vagrant/lab shell {DATABASE_HOST}` (clean up with `{down}`).")
