"""Which acknowledged writes a restored ledger must have, and which it can't have.

The write load notes every row that the server acknowledged, with the time. A
backup promises the rows that were committed at its recorded position: all that
were acknowledged before the hold, and none that the binary log has later.
"""

import calendar
import time
from dataclasses import dataclass

from labkit.errors import LabError

# client and number
Row = tuple[int, int]


@dataclass(frozen=True)
class Hold:
    """When the backup held the server, in seconds since the epoch."""

    began: float
    ended: float


@dataclass(frozen=True)
class Verdict:
    """What was found; all is well."""

    acknowledged: int
    before_hold: int
    restored: int
    later: int
    last_restored: tuple[Row, float]
    first_later: tuple[Row, float] | None


def judge(acknowledged: dict[Row, float], restored: set[Row], promised: int, hold: Hold) -> Verdict:
    """Compare the witnesses; what doesn't fit is an error."""
    before = {row for row, at in acknowledged.items() if at < hold.began}
    lost = sorted(before - restored)
    if lost:
        raise LabError(f"the restored ledger lacks {len(lost)} rows that were acknowledged before "
                       f"the hold, the first is row {lost[0][1]} of client {lost[0][0]}")
    refuse_holes(restored)
    if len(restored) != promised:
        raise LabError(f"the restored ledger has {len(restored)} rows, the binary log has "
                       f"{promised} up to the recorded position")
    later = {row: at for row, at in acknowledged.items() if row not in restored}
    seen = {row: at for row, at in acknowledged.items() if row in restored}
    if not seen:
        raise LabError("the restored ledger has none of the acknowledged rows")
    by_time = lambda pair: pair[1]  # noqa: E731
    return Verdict(len(acknowledged), len(before), len(restored), len(later),
                   max(seen.items(), key=by_time), min(later.items(), key=by_time, default=None))


def refuse_holes(rows: set[Row]) -> None:
    """Each client writes 1, 2, 3 ..."""
    for client in {client for client, _ in rows}:
        numbers = {number for other, number in rows if other == client}
        if numbers != set(range(1, len(numbers) + 1)):
            raise LabError(f"the restored ledger has holes in the rows of client {client}")


def longest_wait(acknowledged: dict[Row, float], hold: Hold) -> float:
    """The longest time between two rows of one client around the hold, in seconds."""
    longest = 0.0
    for client in {client for client, _ in acknowledged}:
        times = sorted(at for (other, _), at in acknowledged.items() if other == client)
        gaps = (after - at for at, after in zip(times, times[1:])
                if after > hold.began and at < hold.ended)
        longest = max([longest, *gaps])
    return longest


def parse_acknowledged(text: str) -> dict[Row, float]:
    """Lines such as `acked.1:27 2026-11-21T09:22:33.123456Z`."""
    rows = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number, stamp = rest.split()
        rows[int(name.rpartition(".")[2]), int(number)] = seconds(stamp)
    return rows


def parse_rows(text: str) -> set[Row]:
    """Lines of client and number."""
    return {(int(client), int(number)) for client, number in map(str.split, text.splitlines())}


def hold_of(manifest: dict) -> Hold:
    """When the hold of a backup was, from its manifest; it may have begun a moment later."""
    took = {phase["name"]: phase["ms"] / 1000 for phase in manifest["phases"]}
    began = seconds(manifest["begin"]) + took["check"]
    return Hold(began, began + took["hold"])


def seconds(stamp: str) -> float:
    """Seconds since the epoch of a time in UTC with any number of decimals."""
    whole, _, decimals = stamp.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{decimals or 0}")


def clock(at: float) -> str:
    """The time of day."""
    return time.strftime("%H:%M:%S", time.gmtime(at)) + f"{at % 1:.3f}"[1:]
