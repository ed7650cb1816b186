//! What was typed. What it means is decided in each verb's file.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::id::CloneName;
use crate::sys::units::Bytes;

/// Where the configuration is looked for when nobody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/mysnap/mysnap.toml";

const EVERYWHERE: &str = "Options of every command";

const FILES: &str = "Files";
const DUMPS: &str = "Dumps";
const POINTS: &str = "Points in time";

/// The way through, for whoever does not do this every day.
const STEPS: &str = "\
At once:   mysnap backup --to /DIR    a dump of this host's server, nothing configured
Before:    mysnap check JOB           would a backup work?
Each day:  mysnap backup JOB --quiet  from cron or a timer
Each week: mysnap drill JOB --quiet   does the newest backup start?
Room:      mysnap expire --dry-run    what stays, what goes, and why
All along: mysnap binlog stream       a copy of the binary logs, to the second
At 3 a.m.: mysnap list                what is there
           mysnap restore latest --to /var/lib/mysql --replace --dry-run
           mysnap restore latest --database shop --as shop_then
           mysnap binlog find --kind drop    what was done, and the place just before it
           mysnap restore --before binlog.000007:4711 --to /srv/then
           mysnap recover             after a crash; takes nothing that is in use
To try:    mysnap clone ID --name x   a server beside the live one, on a kept snapshot or a backup

The exit status says what happened; README.md has the table.";

/// LVM snapshot backups of MySQL and MariaDB, and the way back.
#[derive(Debug, Parser)]
#[command(name = "mysnap", version, max_term_width = 100, after_help = STEPS)]
pub struct Arguments {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG, help_heading = EVERYWHERE)]
    pub config: PathBuf,
    /// Print nothing unless something needs attention (for cron)
    #[arg(long, short, global = true, help_heading = EVERYWHERE)]
    pub quiet: bool,
    /// Print what happens in a form for programs: `json`, one object a line
    #[arg(long, global = true, value_name = "FORMAT", hide_possible_values = true, help_heading = EVERYWHERE)]
    pub events: Option<EventFormat>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventFormat {
    /// JSON lines on standard output.
    Json,
}

/// Everything that mysnap does.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take a snapshot under a short read lock and copy or dump it to the job's destination
    Backup(BackupArgs),
    /// Look whether a backup, or an archive of binary logs, would work now; changes nothing
    Check(CheckArgs),
    /// How things stand: newest backups, archives, runs, leftovers, snapshots, pools; exits like a monitoring plugin
    Status(StatusArgs),
    /// List the backups that a destination holds
    List(ListArgs),
    /// Show what one backup holds, and how it was made
    Show(ShowArgs),
    /// Read every stored file of a backup and compare it with its digest
    Verify(VerifyArgs),
    /// Bring a backup back to scratch space, start a server on it, look whether it is whole; cleans up
    Drill(DrillArgs),
    /// Remove backups and archived binary logs that the rules of the configuration don't keep
    Expire(ExpireArgs),
    /// Bring a backup back: files into a data directory, a dump into a running server
    Restore(RestoreArgs),
    /// Clean up after a run that died: touches nothing else, and nothing that others have mounted
    Recover(RecoverArgs),
    /// List the snapshots that mysnap made and that still exist
    Snapshots(SnapshotsArgs),
    /// Remove a kept snapshot; backups stay
    Release(ReleaseArgs),
    /// Put the server back to a kept snapshot; everything written since is lost
    Rollback(RollbackArgs),
    /// Start a server beside the live one, on a kept snapshot or a backup, to be written to and thrown away
    Clone(CloneArgs),
    /// Archive the server's binary logs, and look into the archive
    #[command(subcommand)]
    Binlog(BinlogVerb),
    /// Show the configuration that is in force
    #[command(subcommand)]
    Config(ConfigVerb),
    /// What another host asks of this one, see `prove_on` and `dump_on`; standard input says what
    #[command(hide = true)]
    Node,
}

impl Verb {
    /// Whether it mounts for itself, which nobody else may see; a rollback works on the host's own mounts.
    pub fn hides_its_mounts(&self) -> bool {
        match self {
            Self::Backup(_) | Self::Drill(_) | Self::Node => true,
            Self::Verify(verify) => verify.level.is_some(),
            Self::Restore(restore) => !restore.dump.databases.is_empty() || restore.point.is_given(),
            Self::Clone(clone) => clone.verb.is_none(),
            _ => false,
        }
    }
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The job, a `[job.NAME]` of the configuration
    #[arg(required_unless_present = "to")]
    pub job: Option<String>,
    /// Without a job and a configuration: dump the live server to `/DIR` or `USER@HOST:/DIR`
    #[arg(long, value_name = "DESTINATION", conflicts_with = "job")]
    pub to: Option<String>,
    /// Check and print the steps; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Keep the snapshot for `rollback` or a look inside; it uses room until `release`
    #[arg(long)]
    pub keep_snapshot: bool,
    /// A full backup, where the job's backups are increments (`incremental`)
    #[arg(long)]
    pub full: bool,
    /// Go on where the job's earlier backups are of another server, whose place this one has taken
    #[arg(long)]
    pub new_server: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The job, a `[job.NAME]` of the configuration, or an archive, a `[binlog.NAME]`
    pub job: String,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this job, or this archive, a `[binlog.NAME]`; all of them otherwise
    pub job: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which destination is meant.
#[derive(Debug, Args)]
pub struct Source {
    /// The job whose destination is meant; may be left out where there is one job
    #[arg(long, value_name = "JOB")]
    pub job: Option<String>,
    /// The destination itself, `/DIR` or `USER@HOST:/DIR`; needs no configuration
    #[arg(long, value_name = "DESTINATION", conflicts_with = "job")]
    pub from: Option<String>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which destination
    #[command(flatten)]
    pub source: Source,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The backup: an id, its beginning where that is unique, or `latest`
    pub id: String,
    /// Which destination
    #[command(flatten)]
    pub source: Source,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The backup: an id, its beginning where that is unique, or `latest`
    pub id: String,
    /// Which destination
    #[command(flatten)]
    pub source: Source,
    /// Afterwards a drill: `start`, `queries` or `tables`
    #[arg(long, value_name = "LEVEL", hide_possible_values = true)]
    pub level: Option<DrillLevel>,
    /// Where the drill has room for all of it, on another volume than the server's
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", requires = "level")]
    pub scratch: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// The job, a `[job.NAME]` of the configuration
    pub job: String,
    /// The backup: an id, its beginning where that is unique, or `latest`
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub id: String,
    /// Where there is room for all of it, on another volume than the server's
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub scratch: PathBuf,
    /// How much is looked at: `start`, the server recovers and stands at the recorded position;
    /// `queries`, besides it answers the job's `queries` right; `tables`, besides it reads every table
    #[arg(long, value_name = "LEVEL", default_value = "tables", hide_possible_values = true)]
    pub level: DrillLevel,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// How much a drill looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DrillLevel {
    /// The server recovers.
    Start,
    /// It has the right answers to the job's queries.
    Queries,
    /// It reads every table.
    Tables,
}

/// Arguments of `expire`.
#[derive(Debug, Args)]
pub struct ExpireArgs {
    /// Jobs and archives; all that have `keep` or `binlog_keep` otherwise
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Print what stays, what goes, and why; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Once, instead of `keep`: backups that are older than this go, `36h`, `30d`; two proved ones stay
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    /// Don't ask, for scripts
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup: an id, its beginning where that is unique, or `latest`. An increment is a point in time: where it
    /// ends. With --until or --before it may be left out: then the newest one is taken that leads there
    #[arg(required_unless_present_any = ["until", "before"])]
    pub id: Option<String>,
    /// Then what the server logged after it, from the archive of its binary logs
    #[command(flatten)]
    pub point: PointArgs,
    /// Files: where the data directory goes; the server there must be stopped
    #[arg(long, value_name = "DIR", help_heading = FILES)]
    pub to: Option<PathBuf>,
    /// Which destination
    #[command(flatten)]
    pub source: Source,
    /// Where a part that lay outside the data directory goes, else to its old place; `show` lists
    /// them after "contains". Can be given several times
    #[arg(long = "root", value_name = "NAME=PATH", requires = "to", help_heading = FILES)]
    pub roots: Vec<String>,
    /// Take the place of what is there already: files are kept aside; tables and databases are dropped, when
    /// the new ones are complete. Asks first
    #[arg(long)]
    pub replace: bool,
    /// For a server that will run beside the original: it gets an identity of its own
    #[arg(long, requires = "to", help_heading = FILES)]
    pub clone: bool,
    /// Restore although the installed server is of another family or release
    #[arg(long, requires = "to", help_heading = FILES)]
    pub any_version: bool,
    /// Start the system's service on it (mariadb, mysql, mysqld), wait until it answers
    #[arg(long, requires = "to", help_heading = FILES)]
    pub start: bool,
    /// What of a dump, and where it goes
    #[command(flatten)]
    pub dump: DumpArgs,
    /// Print the plan; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask, for scripts
    #[arg(long)]
    pub yes: bool,
}

/// A point in time.
#[derive(Debug, Args)]
pub struct PointArgs {
    /// Replay the archived binary logs up to here: a time with its zone (all transactions up to the first later one),
    /// a GTID or FILE:OFFSET (inclusive), or `latest`
    #[arg(long, value_name = "POINT", help_heading = POINTS)]
    pub until: Option<String>,
    /// The same, but nothing of what is there: a place or GTID as `binlog find` prints it
    #[arg(long, value_name = "POINT", conflicts_with = "until", help_heading = POINTS)]
    pub before: Option<String>,
    /// Round a time down to whole ones of these, such as `15min`
    #[arg(long, value_name = "DURATION", requires = "until", help_heading = POINTS)]
    pub round: Option<String>,
    /// The archive, a `[binlog.NAME]`, or its own directory; may be left out where there is one
    #[arg(long, value_name = "NAME|/DIR", help_heading = POINTS)]
    pub archive: Option<String>,
}

impl PointArgs {
    /// Whether one was given.
    pub fn is_given(&self) -> bool {
        self.until.is_some() || self.before.is_some()
    }
}

/// What of a dump is restored, and where it goes.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// This database alone, of a dump or out of files. Can be given several times
    #[arg(long = "database", value_name = "NAME", conflicts_with = "to", help_heading = DUMPS)]
    pub databases: Vec<String>,
    /// This table of the database alone. Can be given several times
    #[arg(long = "table", value_name = "NAME", requires = "databases", help_heading = DUMPS)]
    pub tables: Vec<String>,
    /// A new name for it, beside what is there
    #[arg(long = "as", value_name = "NAME", requires = "databases", help_heading = DUMPS)]
    pub new_name: Option<String>,
    /// Another collation for texts that have OLD. Can be given several times
    #[arg(long = "collation", value_name = "OLD=NEW", value_parser = pair, conflicts_with = "to", help_heading = DUMPS)]
    pub collations: Vec<(String, String)>,
    /// The server that gets it: a socket, an option file, HOST or HOST:PORT; else that of the job
    #[arg(long, value_name = "SERVER", conflicts_with = "to", help_heading = DUMPS)]
    pub into: Option<String>,
    /// Out of a backup of files: where a second server on them may write, not on the live server's volume
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", conflicts_with = "to", help_heading = DUMPS)]
    pub scratch: PathBuf,
    /// How many connections load side by side
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64), help_heading = DUMPS)]
    pub workers: u32,
    /// Keep it from the server's binary log, and so from its replicas
    #[arg(long, conflicts_with = "to", help_heading = DUMPS)]
    pub no_binary_log: bool,
}

/// Two names of collations.
fn pair(text: &str) -> Result<(String, String), String> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    let names = text.split_once('=').filter(|(old, new)| is_name(old) && is_name(new));
    let (old, new) = names.ok_or("allowed: the names of two collations, OLD=NEW")?;
    Ok((old.to_owned(), new.to_owned()))
}

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Print what would be removed; touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The run that made the snapshot, as `snapshots` prints it
    pub id: String,
    /// Don't ask, for scripts
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The run that made the snapshot, as `snapshots` prints it
    pub id: String,
    /// Print the plan; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask, for scripts
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `clone`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CloneArgs {
    /// What to do with those that there are
    #[command(subcommand)]
    pub verb: Option<CloneVerb>,
    /// A new one
    #[command(flatten)]
    pub start: Option<CloneStart>,
    /// Which destination
    #[command(flatten)]
    pub source: Source,
}

/// A clone to be started.
#[derive(Debug, Args)]
pub struct CloneStart {
    /// The run of a kept snapshot, as `snapshots` prints it, or a backup: an id, its beginning where that is
    /// unique, or `latest`. Of a backup whose snapshot is kept that is taken, unless --job or --from is given
    #[arg(value_name = "SNAPSHOT|ID")]
    pub id: String,
    /// What it is called
    #[arg(long, value_name = "NAME")]
    pub name: CloneName,
    /// Listen on this TCP port too; else on the socket alone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Listen at this address; other hosts reach any but the loopback one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", requires = "port")]
    pub bind: IpAddr,
    /// The size of its buffer pool
    #[arg(long, value_name = "SIZE", default_value = "128MiB")]
    pub buffer_pool: Bytes,
    /// Lock the accounts of the data, and make one that may do everything; its password goes into a file
    #[arg(long)]
    pub replace_accounts: bool,
    /// Of a backup: where there is room for all of it, on another volume than the live server's
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub scratch: PathBuf,
    /// No unit of systemd: run until Ctrl-C
    #[arg(long)]
    pub foreground: bool,
    /// Where the command that started the unit waits for an answer
    #[arg(long, value_name = "FILE", hide = true)]
    pub report: Option<PathBuf>,
    /// Print the plan; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask, for scripts
    #[arg(long)]
    pub yes: bool,
}

/// Verbs about clones.
#[derive(Debug, Subcommand)]
pub enum CloneVerb {
    /// List the clones
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a clone, and remove what was made for it
    Stop {
        /// Its name
        name: CloneName,
        /// Don't ask, for scripts
        #[arg(long)]
        yes: bool,
    },
}

/// Verbs about archives of binary logs.
#[derive(Debug, Subcommand)]
pub enum BinlogVerb {
    /// Follow the server and keep a copy of everything it logs, until ended
    Stream {
        /// The archive, a `[binlog.NAME]` of the configuration; may be left out where there is one
        archive: Option<String>,
        /// Begin another archive where the one that was there is not any more
        #[arg(long)]
        new_archive: bool,
    },
    /// Copy what is new, and end (for cron)
    Ship(ShipArgs),
    /// List what an archive holds: the windows of time that hang together, and the gaps between them
    List {
        /// Which archive
        #[command(flatten)]
        which: BinlogArchive,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every archived file, compare it with its digest, and its events with their checksums
    Verify(VerifyArchiveArgs),
    /// Find what was done to the data, with the place just before it
    Find(FindArgs),
    /// What another host asks of this one, where its archive is kept here; standard input says what
    #[command(hide = true)]
    Receive,
}

/// Which archive is meant.
#[derive(Debug, Args)]
pub struct BinlogArchive {
    /// The archive, a `[binlog.NAME]` of the configuration; may be left out where there is one
    pub archive: Option<String>,
    /// The archive's own directory, `/srv/binlog/NAME` or `USER@HOST:/srv/binlog/NAME`; needs no configuration
    #[arg(long, value_name = "DESTINATION", conflicts_with = "archive")]
    pub from: Option<String>,
}

/// Arguments of `binlog ship`.
#[derive(Debug, Args)]
pub struct ShipArgs {
    /// The archive, a `[binlog.NAME]` of the configuration; may be left out where there is one
    pub archive: Option<String>,
    /// Let the server begin a new file first, so that all before it is closed and packed
    #[arg(long)]
    pub rotate: bool,
    /// Begin another archive where the one that was there is not any more
    #[arg(long)]
    pub new_archive: bool,
}

/// Arguments of `binlog verify`.
#[derive(Debug, Args)]
pub struct VerifyArchiveArgs {
    /// Which archive
    #[command(flatten)]
    pub which: BinlogArchive,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `binlog find`: all that is given must fit.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// Which archive
    #[command(flatten)]
    pub which: BinlogArchive,
    /// What was done to this table, `NAME` or `DATABASE.NAME`
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// The first word of a statement: `drop`, `alter`, …; rows are `insert`, `update` and `delete`. Can be given several
    /// times
    #[arg(long = "kind", value_name = "WORD")]
    pub kinds: Vec<String>,
    /// A part of the statement, whatever its case
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Not before this moment, in UTC unless it says otherwise
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Not after this moment
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// In this transaction, `uuid:number` or `domain-server-number`
    #[arg(long, value_name = "GTID")]
    pub gtid: Option<String>,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Verbs about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print what is in force for every job, defaults included, as a configuration file
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_clone_is_started_by_an_id_and_others_by_their_verb() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["mysnap", "clone"], words].concat());
        let started = parse(&["latest", "--name", "shop", "--port", "3307", "--from", "/srv/backup"]).unwrap();
        let Verb::Clone(CloneArgs { verb: None, start: Some(start), source }) = started.verb else {
            panic!("{started:?}")
        };
        assert_eq!((start.id.as_str(), start.name.as_str(), start.port), ("latest", "shop", Some(3307)));
        assert_eq!((start.buffer_pool, source.from.as_deref()), (Bytes(128 << 20), Some("/srv/backup")));
        let listed = parse(&["list", "--json"]).unwrap().verb;
        assert!(matches!(listed, Verb::Clone(CloneArgs { verb: Some(CloneVerb::List { json: true }), .. })));
        assert!(parse(&["stop", "shop", "--yes"]).is_ok());
        for wrong in [&["latest"][..], &[], &["latest", "--name", "../x"], &["latest", "--name", "x", "--bind", "::1"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
