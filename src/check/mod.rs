//! Looks whether a backup would work now; changes nothing.
//!
//! Everything is asked, nothing is believed: which files the server has and where they lie, what
//! the account may do, how much room there is. What a backup needs of it comes back as the
//! [`Ground`] that it stands on; everything else as [`Findings`], all at once, each with what to do.

pub mod coverage;
pub mod finding;
pub mod fstab;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod ground;
mod live;
mod node;
mod room;
mod second_server;
mod target;
mod volumes;

use std::path::PathBuf;
use std::time::Duration;

pub use finding::{Finding, Findings, Level};
pub use ground::{Covered, Ground, Origin, Target};
pub use live::{LiveGround, survey_live};

use crate::dump::{self, DumpSource};
use crate::id::JobName;
use crate::server::{Access, HoldLimits, LockChoice, LockMode, LongQueryPolicy, Place, Session, layout};
use crate::snapshot::{self, Limits, PoolRoom, StoreSize};
use crate::store::{Destination, Method, ProofLevel, Side, SshOptions, Transfer};
use crate::sys::cancel::Cancel;
use crate::sys::cmd::Call;

/// A checked job: everything that a backup is told.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its name.
    pub job: JobName,
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
    pub tries: u32,
    /// The pause between them.
    pub pause: Duration,
    /// What to do about long queries.
    pub long_queries: LongQueryPolicy,
    /// The size of a snapshot's store.
    pub snapshot_size: StoreSize,
    /// When a snapshot is grown or given up.
    pub limits: Limits,
    /// From when on no snapshot is taken of a pool.
    pub pool_room: PoolRoom,
    /// Whether the snapshot stays.
    pub keep_snapshot: bool,
    /// Whether the job's earlier backups may be of another server.
    pub new_server: bool,
}

impl Request {
    /// Whether a second server works on the snapshot.
    pub fn starts_a_server(&self) -> bool {
        self.prepared || (self.needs_a_server() && self.server_on == Side::Host)
    }

    /// Whether one works on the node that keeps the backups.
    pub fn asks_the_node(&self) -> bool {
        self.needs_a_server() && self.server_on == Side::Node
    }

    /// To prove, or to be dumped from.
    fn needs_a_server(&self) -> bool {
        !self.is_live() && (self.method == Method::Dump || self.prove.starts_a_server())
    }

    /// Whether the live server is read, and no snapshot taken.
    pub fn is_live(&self) -> bool {
        self.source == DumpSource::Live
    }
}

/// Looks at everything that a backup of `session`'s server needs. The ground is there unless
/// something refuses.
pub fn survey(request: &Request, session: &mut Session, cancel: &Cancel) -> (Option<Ground>, Findings) {
    let mut findings = Findings::default();
    tools(request, &mut findings);
    if findings.attempt("volume", volumes::refuse_suspended(&session.facts().datadir)).is_none() {
        return (None, findings);
    }
    let lock = server(request, session, &mut findings);
    let places = findings.attempt("volumes", session.layout()).unwrap_or_default();
    keyrings(&places, &mut findings);
    second_server::look_at(request, session.facts(), &places, &mut findings);
    let covered = findings.attempt("volumes", volumes::cover(&places)).unwrap_or_default();
    let answer = |origin: &Origin| snapshot::refuse_suspended(&origin.volume);
    if findings.attempt("volume", covered.origins.iter().try_for_each(answer)).is_none() {
        return (None, findings);
    }
    for origin in &covered.origins {
        volumes::look_at(origin, &mut findings);
    }
    let source = findings.attempt("size", room::measure(&covered, cancel));
    let plan = findings.attempt("snapshot", room::plan(request, &covered, source.unwrap_or_default()));
    if let Some(plan) = &plan {
        room::describe(plan, &mut findings);
    }
    let target = target::look_at(request, session.facts(), &covered, source.unwrap_or_default(), cancel, &mut findings);
    if let (Some(target), Some(source)) = (&target, source) {
        let part = node::Part { request, facts: session.facts(), covered: &covered, source, target };
        node::look_at(&part, &mut findings);
    }
    let ground = match (lock, plan, target, source) {
        (Some(lock), Some(plan), Some(target), Some(source)) if findings.worst() < Level::Refusal => {
            Some(Ground { facts: session.facts().clone(), lock, covered, plan, target, source })
        }
        _ => None,
    };
    (ground, findings)
}

/// Told, because a backup of encrypted tables is worth nothing without them.
fn keyrings(places: &[Place], findings: &mut Findings) {
    let (keys, data): (Vec<&Place>, Vec<&Place>) = places.iter().partition(|place| !place.must_be_covered());
    for key in keys {
        let path = key.path.display();
        if data.iter().any(|place| key.real.starts_with(&place.real)) {
            let text = format!("{path} lies among the data and is copied with it");
            findings.warn(
                "keyring",
                text,
                "keep keys apart from what they protect: whoever has the backup can read it",
            );
        } else {
            let text = format!("{path} is no part of the backup");
            findings.warn("keyring", text, "keep a copy of it elsewhere: encrypted tables can't be read without it");
        }
    }
}

fn tools(request: &Request, findings: &mut Findings) {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    // A dump to a directory of this host is written by ourselves.
    if request.method != Method::Dump || request.to.is_remote() {
        wanted.push(("rsync", "rsync"));
    }
    if !request.is_live() {
        wanted.extend([("lvs", "lvm2"), ("dmsetup", "dmsetup")]);
    }
    if request.to.is_remote() {
        wanted.push(("ssh", "openssh-client"));
    }
    let missing: Vec<_> = wanted.iter().filter(|(tool, _)| !Call::is_installed(tool)).collect();
    for (tool, package) in &missing {
        findings.refuse("tools", format!("{tool} is not installed"), format!("install the package {package}"));
    }
    if missing.is_empty() && !wanted.is_empty() {
        let names: Vec<&str> = wanted.iter().map(|(tool, _)| *tool).collect();
        findings.good("tools", names.join(", "));
    }
}

fn server(request: &Request, session: &mut Session, findings: &mut Findings) -> Option<LockMode> {
    let facts = session.facts().clone();
    let text = format!("{} {} in {}", facts.flavour, facts.version, facts.datadir.display());
    findings.good("server", text);
    if !request.is_live() {
        findings.attempt("server", session.prove_local());
    }
    if facts.binary_log.is_none() {
        findings.warn(
            "binary log",
            "the binary log is off: a backup has no position, and nothing after it can be brought back",
            "set log_bin, unless the data may be lost up to a day",
        );
    }
    let lock = findings.attempt("lock", LockMode::choose(request.lock, &facts))?;
    if !request.is_live() && layout::has_tables_without_transactions(&facts.datadir) {
        let text = "there are tables without transactions; the lock waits for writes to them, and keeps them whole";
        findings.good("engines", text);
    }
    if let Some(missing) = findings.attempt("privileges", session.missing_privileges()) {
        for privilege in &missing {
            let text = format!("the account lacks {}, needed {}", privilege.privilege, privilege.purpose);
            findings.misconfigured("privileges", text, &privilege.grant);
        }
        if missing.is_empty() {
            findings.good("privileges", "the account may do what a backup needs");
        }
    }
    let threshold = request.long_queries.threshold;
    for query in findings.attempt("queries", session.long_queries(lock, threshold)).unwrap_or_default() {
        findings.warn(
            "queries",
            format!(
                "connection {} of {} has been running for {:?}: {}",
                query.id, query.user, query.running, query.statement
            ),
            "a backup waits for it before it asks for the lock (long_query_wait), then gives up",
        );
    }
    Some(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::PlaceKind;

    #[test]
    fn keys_are_told_of_wherever_they_lie() {
        let place = |kind, path: &str| Place { kind, path: path.into(), real: path.into() };
        let places = [
            place(PlaceKind::DataDirectory, "/var/lib/mysql"),
            place(PlaceKind::Keyring, "/etc/keys"),
            place(PlaceKind::Keyring, "/var/lib/mysql/keyring"),
        ];
        let mut findings = Findings::default();
        keyrings(&places, &mut findings);
        let texts: Vec<&str> = findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(
            texts,
            ["/etc/keys is no part of the backup", "/var/lib/mysql/keyring lies among the data and is copied with it"]
        );
        assert_eq!(findings.worst(), Level::Warning);
    }
}
