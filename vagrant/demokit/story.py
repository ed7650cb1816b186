"""The story: what a database host goes through, from the first row to the way back.

Each step shows what is typed and checks what came out; the first that is not
right ends the demo.
"""

import json
import re
import shlex
import time
from dataclasses import dataclass

from labkit.errors import LabError
from labkit.warm import GUEST_PROVISION

from . import ledger
from .screen import Screen
from .stage import Host

DESTINATION = "/srv/backup"
ACKNOWLEDGED = "/var/tmp/mysnap-load"
LOAD = f"{GUEST_PROVISION}/write-load.sh"


@dataclass(frozen=True)
class Dialect:
    """How the tools of a server are called, and how its binary log shows a row of the ledger."""

    name: str
    client: str
    service: str
    log_tool: str
    log_row: str


DIALECTS = {
    "mariadb": Dialect("MariaDB", "mariadb", "mariadb", "mariadb-binlog",
                       "^INSERT INTO shop.ledger"),
    "mysql": Dialect("MySQL", "mysql", "mysql",
                     "mysqlbinlog --verbose --base64-output=decode-rows",
                     "^### INSERT INTO .shop.\\..ledger"),
}


class Story:
    """The steps, in order, and what the later ones must know of the earlier ones."""

    def __init__(self, server: str, volume: str, screen: Screen, db: Host, node: Host):
        self.dialect, self.volume, self.screen, self.db, self.node = (
            DIALECTS[server], volume, screen, db, node)
        self.manifest: dict = {}
        self.hold = ledger.Hold(0, 0)
        self.kept_aside = ""
        self.restore_seconds = 0.0
        self.acknowledged: dict[ledger.Row, float] = {}

    def tell(self) -> None:
        """Everything."""
        for title, step in (
            ("A host with a database", self.load_data),
            ("Customers keep ordering", self.start_load),
            ("Would a backup work?", self.check),
            ("Back up to node2 while customers order", self.back_up),
            ("The accident", self.damage),
            ("The way back", self.restore),
            ("Is everything there again?", self.compare_tables),
            ("And the rows that customers wrote meanwhile?", self.compare_ledger),
            ("Remove the snapshot, and see that nothing is left", self.clean_up),
        ):
            self.screen.title(title)
            step()

    def load_data(self) -> None:
        """Demo data, and its checksums at a quiet moment."""
        kind = {"thick": "logical volume", "thin": "thin logical volume"}[self.volume]
        self.screen.say(f"""shop-db runs {self.dialect.name}. Its data directory lies on the
            {kind} vg0/data. We load a small shop (several engines, table names that trip tools up)
            and note rows and checksum of every table, to compare them in the end.""")
        self.db.type("lvs vg0; findmnt /var/lib/mysql")
        self.db.type(f"{GUEST_PROVISION}/demo-data.sh")
        self.db.type("demo-checksums >before.txt; wc -l before.txt")

    def start_load(self) -> None:
        """Writers that note what was acknowledged."""
        self.screen.say("""Two clients now write to the table shop.ledger, one row after another.
            Each notes the number and the time of every row that the server acknowledged: they will
            be our witnesses.""")
        self.db.type(f"{LOAD} start --pause 0.05")
        self.db.type(f"{LOAD} status")

    def check(self) -> None:
        """The configuration, and a look whether it would work."""
        self.screen.say("""Two lines of configuration are enough. `mysnap check` looks whether a
            backup would work, and changes nothing.""")
        self.db.type("cat >/etc/mysnap/mysnap.toml <<'END'\n[job.nightly]\n"
                     f'to = "root@node2:{DESTINATION}"\nEND')
        self.db.type("mysnap check nightly")

    def back_up(self) -> None:
        """A backup under load; its manifest tells the rest of the story what was promised."""
        self.screen.say("""Lock, note the position, snapshot, unlock: writers wait for that moment
            only. Then the snapshot is copied, and the copy read back and compared. mysnap removes the
            snapshot then; `--keep-snapshot` keeps it here, to be released in the last step.""")
        self.db.type("mysnap backup nightly --keep-snapshot")
        self.db.type("mysnap list")
        self.manifest = json.loads(self.db.ask("mysnap show latest --json"))
        self.hold = ledger.hold_of(self.manifest)

    def damage(self) -> None:
        """A wrong DROP and a wrong UPDATE."""
        self.screen.say("""Somebody takes this server for the test server, and forgets a WHERE
            besides. The checksums show what has become of two tables.""")
        mistake = "DROP TABLE items; UPDATE customers SET balance = 0"
        self.db.type(f"{self.dialect.client} shop -e {shlex.quote(mistake)}")
        shown = self.db.type("demo-checksums | diff before.txt -", status=1)
        for table in ("shop.items", "shop.customers"):
            if f"< {table}\t" not in shown:
                raise LabError(f"{table}: its checksum is the same after the accident")

    def restore(self) -> None:
        """Stop, restore, start."""
        service = self.dialect.service
        self.screen.say("""The clients are told to stop, then the server. One command fetches the
            backup, compares every file with its digest, puts the damaged data directory aside, and
            starts the server.""")
        self.db.type(f"{LOAD} stop")
        self.acknowledged = ledger.parse_acknowledged(
            self.db.ask(f"cd {ACKNOWLEDGED} && grep -H . acked.*"))
        self.db.type(f"systemctl stop {service}")
        began = time.monotonic()
        output = self.db.type("mysnap restore latest --to /var/lib/mysql --replace --start --yes")
        self.restore_seconds = time.monotonic() - began
        aside = re.search(r"what was there before: (\S+)", output)
        if not aside:
            raise LabError("restore does not say where the former data directory is")
        self.kept_aside = aside[1]

    def compare_tables(self) -> None:
        """The same checksums as before the accident."""
        self.screen.say("The same checksums as in the beginning? `diff` must find nothing.")
        self.db.type("demo-checksums | diff before.txt - && echo all the same")

    def compare_ledger(self) -> None:
        """The witnesses against the restored rows, and those against the binary log."""
        position = self.manifest["position"]["binlog"]
        at = f"{position['file']}:{position['offset']}"
        self.screen.say(f"""The backup promises the rows up to the position {at}. The former
            directory still has the whole binary log: how many rows has it up to there, and how
            many has the restored table?""")
        logs = [f"{self.kept_aside}/{name}" for name in self.binary_logs(position["file"])]
        promised = self.db.type(f"{self.dialect.log_tool} --stop-position={position['offset']} "
                                f"{' '.join(logs)} | grep -c {shlex.quote(self.dialect.log_row)}")
        self.db.type(f"{self.dialect.client} -e 'SELECT COUNT(*) FROM shop.ledger'")
        rows = ledger.parse_rows(self.db.ask(
            f"{self.dialect.client} -N -B -e 'SELECT client, n FROM shop.ledger'"))
        self.tell_verdict(ledger.judge(self.acknowledged, rows, int(promised.split()[-1]),
                                       self.hold), at)

    def binary_logs(self, last: str) -> list[str]:
        """The binary logs of the former data directory up to `last`."""
        found = self.db.ask(f"cd {shlex.quote(self.kept_aside)} && ls").split()
        return sorted(name for name in found if re.fullmatch(r"binlog\.\d+", name) and name <= last)

    def tell_verdict(self, verdict: ledger.Verdict, at: str) -> None:
        """What the comparison means, in plain words."""
        (client, number), moment = verdict.last_restored
        self.screen.say(f"""The two agree. All {verdict.before_hold} rows that were acknowledged
            before the backup took the lock are there. The last one in the backup is row {number} of
            client {client}, acknowledged at {ledger.clock(moment)}.""")
        if verdict.first_later is None:
            return
        (client, number), moment = verdict.first_later
        self.screen.say(f"""{verdict.later} rows were acknowledged later, from row {number} of
            client {client} at {ledger.clock(moment)} on. They are not in this backup, nor could
            they be: archived binary logs, replayed from {at}, are what brings those back.""")

    def clean_up(self) -> None:
        """Nothing of a snapshot, a mount or a run is left."""
        self.db.type("mysnap snapshots")
        self.db.type(f"mysnap release {self.manifest['id']} --yes")
        self.db.type(f"rm -r {shlex.quote(self.kept_aside)}")
        self.screen.say("Left now: no snapshot, no mount, nothing for `mysnap recover` to do.")
        self.db.type("lvs vg0")
        self.db.type("grep -c mysnap /proc/mounts", status=1)
        recovery = self.db.type("mysnap recover --dry-run")
        if "nothing to do" not in recovery:
            raise LabError("mysnap recover still finds something")
        volumes = set(self.db.ask("lvs --noheadings -o lv_name vg0").split())
        if volumes - {"data", "pool"}:
            raise LabError(f"volumes are left in vg0: {', '.join(sorted(volumes))}")

    def figures(self) -> list[tuple[str, str]]:
        """The summary."""
        hold, end = self.manifest["hold"], ledger.seconds(self.manifest["end"])
        size = self.manifest["files"]["totals"]["bytes"]
        pause = ledger.longest_wait(self.acknowledged, self.hold)
        return [
            ("writers waited", f"{hold['waited_ms'] + hold['held_ms']} ms for the lock and the "
                               f"snapshot (longest pause of a client: {pause * 1000:.0f} ms)"),
            ("backup", f"{size / 2**20:.0f} MiB in "
                       f"{end - ledger.seconds(self.manifest['begin']):.0f} s, read back included"),
            ("restore", f"{self.restore_seconds:.0f} s, start of the server included"),
        ]
