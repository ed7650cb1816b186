//! The configuration file: what may stand in it, what is in force.
//!
//! Two lines suffice: `[job.nightly]` and `to = "root@node2:/srv/backup"`. A job's keys are looked
//! up in its own section, then in `[defaults]`, then in the table of built-in defaults
//! ([`schema`]). Unknown keys are refused, and every error names file, line, key, value and what is
//! allowed.

mod document;
mod file;
mod incremental;
pub mod schema;
mod setting;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::dump::{self, Compression, DumpSource, Selection};
use crate::expire::Keep;
use crate::fault::{Fault, Kind};
use crate::id::JobName;
use crate::server::{Access, HoldLimits, LockChoice, LogEngine, LongQueryPolicy};
use crate::store::{Destination, Method, Niceness, ProofLevel, Side, SshOptions, Transfer};
use document::{Document, Layers};
pub use incremental::Incremental;
use setting::{After, Age, Number, PlainPath};

use crate::sys::units::{Bytes, Percent};

/// Where the configuration is unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/mysnap/mysnap.toml";

/// The job of a dump that was asked for without a configuration.
pub const LIVE: &str = "live";

/// A configuration that was read and is right in every job.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    jobs: Vec<Job>,
    archives: Vec<Archive>,
    shown: toml::Table,
}

/// One job, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// How to reach the server.
    pub server: Access,
    /// Where backups go.
    pub to: Destination,
    /// How to get there.
    pub ssh: SshOptions,
    /// How backups are made.
    pub method: Method,
    /// What a dump reads.
    pub source: DumpSource,
    /// What it takes, and how.
    pub dump: dump::Options,
    /// How bytes are moved.
    pub transfer: Transfer,
    /// How much proof a backup needs.
    pub prove: ProofLevel,
    /// What a second server on it must answer with "true".
    pub queries: Vec<String>,
    /// How long a second server may take to recover and to answer.
    pub start_timeout: Duration,
    /// Where the server works that proves a copy, or that is dumped from.
    pub server_on: Side,
    /// Where one on the node may write.
    pub node_scratch: PathBuf,
    /// Whether what is copied has been recovered and shut down in order.
    pub prepared: bool,
    /// The lock.
    pub lock: LockChoice,
    /// What a hold may cost.
    pub hold: HoldLimits,
    /// How many tries.
    pub retries: u32,
    /// The pause between them.
    pub retry_pause: Duration,
    /// What to do about long queries.
    pub long_queries: LongQueryPolicy,
    /// The size of a snapshot's store.
    pub snapshot_size: SnapshotSize,
    /// Whether to keep the snapshot.
    pub keep_snapshot: bool,
    /// What a snapshot's store may use.
    pub store: StoreLimits,
    /// What a thin pool may use.
    pub pool: PoolLimits,
    /// What stays of its backups; everything where nothing is said.
    pub keep: Option<Keep>,
    /// How old its newest good backup may be.
    pub max_age: Duration,
    /// What is between two full backups; none where every one is full.
    pub incremental: Option<Incremental>,
}

/// An archive of binary logs, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its name.
    pub name: JobName,
    /// How to reach the server.
    pub server: Access,
    /// How its binary logs are read.
    pub engine: LogEngine,
    /// Where what the tool reads lies until it is archived.
    pub spool: Option<PathBuf>,
    /// Where it lies, under its name.
    pub to: Destination,
    /// How to get there.
    pub ssh: SshOptions,
    /// How closed files are packed.
    pub compression: Compression,
    /// How often a stream makes durable what is new.
    pub sync_interval: Duration,
    /// How old what is archived must be before it goes; nothing goes where nothing is said.
    pub binlog_keep: Option<Duration>,
    /// How long ago its last pass may be.
    pub max_lag: Duration,
}

/// The size of a snapshot's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotSize {
    /// As large as can be needed where the group has room for it, else predicted.
    Auto,
    /// A share of the origin.
    Share(Percent),
    /// This much.
    Bytes(Bytes),
}

/// What a snapshot's copy-on-write store may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// From when on to warn.
    pub warn: Percent,
    /// From when on to grow it.
    pub grow_at: Percent,
    /// By which share of its size.
    pub grow_by: Percent,
    /// From when on to give the run up.
    pub give_up: Percent,
}

/// What a thin pool may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Above which use of its data no snapshot is taken.
    pub data: Percent,
    /// Above which use of its metadata no snapshot is taken.
    pub metadata: Percent,
    /// From which use of either on our snapshot is given up.
    pub give_up: Percent,
}

impl Config {
    /// Reads and checks the file at `path`; refuses one that others can write.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        Self::parse(path, &file::read(path)?)
    }

    /// One with the job [`LIVE`] alone, which dumps the live server to `to`.
    pub fn of_a_live_dump(to: &str) -> anyhow::Result<Self> {
        let to = toml::Value::from(to);
        let text = format!("[job.{LIVE}]\nto = {to}\nmethod = \"dump\"\nsource = \"live\"\n");
        Self::parse(Path::new("--to"), &text)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> anyhow::Result<Self> {
        let document = Document::parse(path, text)?;
        let archives = document.binlogs().map(|name| Archive::read(name, &document));
        let archives = archives.collect::<anyhow::Result<Vec<_>>>()?;
        let jobs = document.jobs().map(|name| Job::read(name, &document, &archives)).collect::<anyhow::Result<_>>()?;
        let section = |name: &JobName, own: &Layers<'_>, server: &Layers<'_>| {
            let mut section = own.shown();
            section.insert("server".to_owned(), server.shown().into());
            (name.to_string(), toml::Value::Table(section))
        };
        let jobs_shown = document.jobs().map(|name| section(name, &document.job(name), &document.server(name)));
        let binlogs = document.binlogs();
        let binlogs = binlogs.map(|name| section(name, &document.binlog(name), &document.binlog_server(name)));
        let shown = [("job", jobs_shown.collect::<toml::Table>()), ("binlog", binlogs.collect())];
        let shown = shown.into_iter().map(|(kind, all)| (kind.to_owned(), all.into())).collect();
        Ok(Self { path: path.to_owned(), jobs, archives, shown })
    }

    /// The job of that name.
    pub fn job(&self, name: &str) -> anyhow::Result<&Job> {
        self.jobs.iter().find(|job| job.name.as_str() == name).ok_or_else(|| {
            let names: Vec<&str> = self.jobs.iter().map(|job| job.name.as_str()).collect();
            let known =
                if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
            let message = format!("{} has no job {name:?}", self.path.display());
            Fault::new(Kind::NotFound, message).hint(known).into()
        })
    }

    /// The archive of that name, or the only one.
    pub fn archive(&self, name: Option<&str>) -> anyhow::Result<&Archive> {
        let names = || self.archives.iter().map(|archive| archive.name.as_str()).collect::<Vec<_>>().join(", ");
        let file = self.path.display();
        let missing = |message: String, hint: String| Fault::new(Kind::NotFound, message).hint(hint).into();
        match (name, self.archives.as_slice()) {
            (None, [only]) => Ok(only),
            (_, []) => {
                let hint = "two lines make one: [binlog.NAME] and to = \"/srv/binlog\"";
                Err(missing(format!("{file} has no archive of binary logs"), hint.to_owned()))
            }
            (None, _) => {
                let fault = Fault::new(Kind::Config, format!("which archive is meant? there are {}", names()));
                Err(fault.hint("name it").into())
            }
            (Some(name), all) => all
                .iter()
                .find(|archive| archive.name.as_str() == name)
                .ok_or_else(|| missing(format!("{file} has no archive {name:?}"), format!("it has {}", names()))),
        }
    }

    /// All archives of binary logs, in the order of their names.
    pub fn archives(&self) -> &[Archive] {
        &self.archives
    }

    /// All jobs, in the order of their names.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// What is in force in every job, built-in defaults included: to be written as JSON. It holds no
    /// secrets: the file can't have any.
    pub fn shown(&self) -> &toml::Table {
        &self.shown
    }

    /// The same as a configuration file, keys in the order in which they are documented.
    pub fn written(&self) -> String {
        let mut lines = vec![format!("# in force with {}", self.path.display())];
        for (kind, keys) in [("job", schema::JOB), ("binlog", schema::BINLOG)] {
            for (name, own) in self.shown.get(kind).and_then(toml::Value::as_table).into_iter().flatten() {
                lines.extend([String::new(), format!("[{kind}.{name}]")]);
                lines.extend(assignments(own, keys));
                lines.push(format!("[{kind}.{name}.server]"));
                let server: Vec<String> = own.get("server").map(|s| assignments(s, schema::SERVER)).unwrap_or_default();
                let unset = server.is_empty().then(|| "# looked up: option files, then the usual sockets".to_owned());
                lines.extend(server.into_iter().chain(unset));
            }
        }
        lines.join("\n")
    }
}

impl Job {
    fn read(name: &JobName, document: &Document, archives: &[Archive]) -> anyhow::Result<Self> {
        let job = document.job(name);
        let server = access(&document.server(name))?;
        Ok(Self {
            name: name.clone(),
            incremental: Incremental::read(&job, &server, archives)?,
            server,
            to: job.get("to")?,
            ssh: ssh_options(&job)?,
            method: job.get("method")?,
            source: source(&job)?,
            dump: dump_options(&job)?,
            transfer: transfer(&job)?,
            prove: prove(&job)?,
            queries: queries(&job)?,
            start_timeout: start_timeout(&job)?,
            server_on: server_on(&job)?,
            node_scratch: job.get("node_scratch")?,
            prepared: job.get("prepared")?,
            lock: job.get("lock")?,
            hold: HoldLimits { max_stall: max_stall(&job)? },
            retries: job.get::<Number<1, 100>>("retries")?.0,
            retry_pause: job.get("retry_pause")?,
            long_queries: LongQueryPolicy {
                threshold: job.get("long_query_threshold")?,
                wait: job.get("long_query_wait")?,
                kill_selects: job.get::<After>("kill_long_selects")?.0,
            },
            snapshot_size: job.get("snapshot_size")?,
            keep_snapshot: job.get("keep_snapshot")?,
            store: store_limits(&job)?,
            pool: PoolLimits {
                data: job.get("pool_data_limit")?,
                metadata: job.get("pool_metadata_limit")?,
                give_up: job.get("pool_give_up")?,
            },
            keep: keep(&job)?,
            max_age: job.get("max_age")?,
        })
    }
}

impl Archive {
    fn read(name: &JobName, document: &Document) -> anyhow::Result<Self> {
        let own = document.binlog(name);
        let sync_interval: Duration = own.get("sync_interval")?;
        if !(100..=60_000).contains(&sync_interval.as_millis()) {
            let reason = "has a sync_interval out of range; allowed: \"100ms\" to \"60s\"";
            return Err(own.conflict(&["sync_interval"], reason));
        }
        Ok(Self {
            name: name.clone(),
            server: access(&document.binlog_server(name))?,
            engine: own.get("engine")?,
            spool: own.find("spool")?,
            to: own.get("to")?,
            ssh: ssh_options(&own)?,
            compression: own.get("compression")?,
            sync_interval,
            binlog_keep: own.find::<Age>("binlog_keep")?.map(|age| age.0),
            max_lag: own.get("max_lag")?,
        })
    }
}

/// What is never proved would be kept for ever.
fn keep(job: &Layers<'_>) -> anyhow::Result<Option<Keep>> {
    let keep = job.find("keep")?;
    if keep.is_some() && job.get::<ProofLevel>("prove")? == ProofLevel::None {
        let reason = "has keep, for which only proved backups count, and prove = \"none\"; allowed: prove = \"checksum\" \
                      or more";
        return Err(job.conflict(&["keep"], reason));
    }
    Ok(keep)
}

fn prove(job: &Layers<'_>) -> anyhow::Result<ProofLevel> {
    let level = job.get("prove")?;
    if level == ProofLevel::Queries && queries(job)?.is_empty() {
        return Err(job.conflict(&["prove"], "has prove = \"queries\" and no queries; allowed: a list of them"));
    }
    Ok(level)
}

/// Files can be copied from a snapshot only.
fn source(job: &Layers<'_>) -> anyhow::Result<DumpSource> {
    let (source, method): (DumpSource, Method) = (job.get("source")?, job.get("method")?);
    if source == DumpSource::Live && method == Method::Copy {
        return Err(job.conflict(&["source"], "has source = \"live\" and copies files; allowed: method = \"dump\""));
    }
    if source == DumpSource::Live && job.get::<ProofLevel>("prove")?.starts_a_server() {
        let reason = "has source = \"live\", where no second server is; allowed: prove = \"checksum\" or \"none\"";
        return Err(job.conflict(&["prove", "source"], reason));
    }
    if method == Method::Dump && job.get("prepared")? {
        return Err(job.conflict(&["prepared"], "dumps, and has prepared = true, which is about copied files"));
    }
    Ok(source)
}

/// A node has a part in copies that a server proves, and in dumps of a snapshot.
fn server_on(job: &Layers<'_>) -> anyhow::Result<Side> {
    let (prove_on, dump_on): (Side, Side) = (job.get("prove_on")?, job.get("dump_on")?);
    let (method, source): (Method, DumpSource) = (job.get("method")?, job.get("source")?);
    let level: ProofLevel = job.get("prove")?;
    let refused = |key: &str, reason: &str| Err(job.conflict(&[key], &format!("has {key} = \"node\" {reason}")));
    match (prove_on, dump_on) {
        (Side::Host, Side::Host) => return Ok(Side::Host),
        (Side::Node, _) if method == Method::Dump => {
            return refused("prove_on", "and dumps: the server that is dumped from proves the files; allowed: dump_on");
        }
        (_, Side::Node) if method == Method::Copy => {
            return refused("dump_on", "and copies files; allowed: method = \"dump\", or prove_on");
        }
        (_, Side::Node) if source == DumpSource::Live => {
            return refused("dump_on", "and reads the live server; allowed: source = \"snapshot\"");
        }
        (Side::Node, _) if !level.starts_a_server() => {
            let levels = "prove = \"start\", \"queries\" or \"tables\"";
            return refused("prove_on", &format!("and starts no server to prove it; allowed: {levels}"));
        }
        _ => {}
    }
    if !job.get::<Destination>("to")?.is_remote() {
        let key = if prove_on == Side::Node { "prove_on" } else { "dump_on" };
        return refused(key, "and no node; allowed: a destination on another node, to = \"user@host:/path\"");
    }
    Ok(Side::Node)
}

fn dump_options(job: &Layers<'_>) -> anyhow::Result<dump::Options> {
    Ok(dump::Options {
        selection: Selection {
            include: job.find("include")?.unwrap_or_default(),
            exclude: job.find("exclude")?.unwrap_or_default(),
        },
        workers: job.get::<Number<1, 64>>("workers")?.0,
        compression: job.get("compression")?,
        sizes: dump::Sizes::default(),
    })
}

fn queries(job: &Layers<'_>) -> anyhow::Result<Vec<String>> {
    Ok(job.find("queries")?.unwrap_or_default())
}

fn assignments(section: &toml::Value, keys: &[schema::Key]) -> Vec<String> {
    let line = |key: &schema::Key| Some(format!("{} = {}", key.name, section.get(key.name)?));
    keys.iter().filter_map(line).collect()
}

fn access(server: &Layers<'_>) -> anyhow::Result<Access> {
    let access = Access {
        option_file: server.find("option_file")?,
        socket: server.find("socket")?,
        host: server.find("host")?,
        port: port(server, "port")?,
        user: server.find("user")?,
        ssl_ca: server.find("tls_ca")?,
        tls: server.find("tls")?,
    };
    if access.socket.is_some() && access.host.is_some() {
        return Err(server.conflict(&["socket", "host"], "has both socket and host; allowed: one of them"));
    }
    Ok(access)
}

fn port(layers: &Layers<'_>, name: &str) -> anyhow::Result<Option<u16>> {
    let port = layers.find::<Number<1, 65535>>(name)?;
    Ok(port.and_then(|port| u16::try_from(port.0).ok()))
}

fn ssh_options(job: &Layers<'_>) -> anyhow::Result<SshOptions> {
    Ok(SshOptions {
        port: port(job, "ssh_port")?,
        key: job.find::<PlainPath>("ssh_key")?.map(|path| path.0),
        known_hosts: job.find::<PlainPath>("ssh_known_hosts")?.map(|path| path.0),
    })
}

fn transfer(job: &Layers<'_>) -> anyhow::Result<Transfer> {
    let cpu = u8::try_from(job.get::<Number<0, 19>>("nice")?.0)?;
    Ok(Transfer { bandwidth_limit: job.find("bandwidth_limit")?, niceness: Niceness { cpu, io: job.get("io_class")? } })
}

fn max_stall(job: &Layers<'_>) -> anyhow::Result<Duration> {
    let stall: Duration = job.get("max_stall")?;
    if (1..=60).contains(&stall.as_secs()) {
        return Ok(stall);
    }
    Err(job.conflict(&["max_stall"], "has a max_stall out of range; allowed: \"1s\" to \"60s\""))
}

fn start_timeout(job: &Layers<'_>) -> anyhow::Result<Duration> {
    let timeout: Duration = job.get("start_timeout")?;
    if timeout.as_secs() >= 1 {
        return Ok(timeout);
    }
    Err(job.conflict(&["start_timeout"], "has a start_timeout out of range; allowed: \"1s\" and longer"))
}

fn store_limits(job: &Layers<'_>) -> anyhow::Result<StoreLimits> {
    let limits = StoreLimits {
        warn: job.get("store_warn")?,
        grow_at: job.get("store_grow_at")?,
        grow_by: job.get("store_grow_by")?,
        give_up: job.get("store_give_up")?,
    };
    if limits.warn <= limits.grow_at && limits.grow_at < limits.give_up {
        return Ok(limits);
    }
    let reason = "allowed: store_warn <= store_grow_at < store_give_up";
    Err(job.conflict(&["store_warn", "store_grow_at", "store_give_up"], reason))
}

#[cfg(test)]
mod tests;
