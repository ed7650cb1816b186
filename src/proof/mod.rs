//! What a second server that is started on the files of a backup shows of them: that it recovers, that
//! it stands where the backup says, that its tables can be read.

mod dumped;
mod position;

pub use dumped::{Dumping, dump};

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::fault::{Fault, Kind};
use crate::instance::{self, Instance, Login, Part};
use crate::run::events::Observer;
use crate::server::{Checked, Facts, Position, Table};
use crate::store::{Manifest, ProofLevel, Shown};
use crate::sys::cancel::Cancel;
use crate::sys::units::{human_duration, milliseconds};

/// What is looked at, and how closely.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The server that the files are of.
    pub facts: &'a Facts,
    /// Where it stood.
    pub position: &'a Position,
    /// The moment that the data is of.
    pub taken: Timestamp,
    /// Its files.
    pub parts: &'a [Part],
    /// Whether a server was started on them before: [`prepare`].
    pub prepared: bool,
    /// From [`ProofLevel::Start`] on.
    pub level: ProofLevel,
    /// What must be answered with "true", from [`ProofLevel::Queries`] on.
    pub queries: &'a [String],
    /// How long the server may take to recover and to answer.
    pub patience: Duration,
}

impl<'a> Subject<'a> {
    /// A stored backup, whose files are in `parts`; nothing is asked yet but that a server starts.
    pub fn stored(manifest: &'a Manifest, parts: &'a [Part]) -> Self {
        Self {
            facts: &manifest.server,
            position: &manifest.position,
            taken: manifest.taken(),
            parts,
            prepared: !manifest.crash_consistent,
            level: ProofLevel::Start,
            queries: &[],
            patience: instance::START,
        }
    }
}

/// Starts a server on the files, which it changes, and tells what it showed. `own` is its private
/// directory, see [`Instance::start`].
///
/// An error of [`Kind::Verify`] says that the files are not good; any other that they could not be
/// looked at.
pub fn examine(subject: Subject<'_>, own: &Path, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Shown> {
    examine_and(subject, own, observer, cancel, |_| Ok(())).map(|(shown, ())| shown)
}

/// The same, and has `then` use the server afterwards.
fn examine_and<T>(
    subject: Subject<'_>,
    own: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
    then: impl FnOnce(&mut Instance) -> anyhow::Result<T>,
) -> anyhow::Result<(Shown, T)> {
    used(subject, Login::OwnAccount, own, observer, cancel, |instance| {
        let shown = look(subject, instance, observer, cancel)?;
        Ok((shown, then(instance)?))
    })
}

/// Starts a server on the files, which are to be kept, and shuts it down in order: they start at once
/// afterwards. Errors and `own` are as with [`examine`].
pub fn prepare(subject: Subject<'_>, own: &Path, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<()> {
    let look = |instance: &mut Instance| {
        compare(subject, instance, observer)?;
        instance.refuse_new_keys()
    };
    used(subject, Login::Unchecked, own, observer, cancel, look)
}

/// Starts, uses and stops a server.
fn used<T>(
    subject: Subject<'_>,
    login: Login,
    own: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
    using: impl FnOnce(&mut Instance) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut instance = start(subject, login, own, observer, cancel)?;
    let result = using(&mut instance).map_err(|error| instance.explained(error));
    // What a server says that was ended because of us is no finding.
    cancel.check()?;
    let value = result?;
    instance.refuse_damage()?;
    observer.phase("stop", || instance.stop(), |()| "the second server ended in order".to_owned())?;
    Ok(value)
}

fn start(
    subject: Subject<'_>,
    login: Login,
    own: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Instance> {
    let Subject { facts, parts, patience, .. } = subject;
    let answers = |server: &Instance| {
        let took = human_duration(server.started_in());
        format!("{} {} answers after {took}", facts.flavour, facts.version)
    };
    observer.phase("start", || Instance::start_within(patience, facts, parts, login, own, cancel), answers)
}

fn compare(subject: Subject<'_>, instance: &mut Instance, observer: &dyn Observer) -> anyhow::Result<String> {
    let starts = 1 + usize::from(subject.prepared);
    let compare = || position::compare(subject.position, starts, instance.inspector()?);
    observer.phase("position", compare, Clone::clone)
}

fn look(
    subject: Subject<'_>,
    instance: &mut Instance,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Shown> {
    let start_ms = milliseconds(instance.started_in());
    let position = compare(subject, instance, observer)?;
    let mut shown = Shown { start_ms, position, ..Shown::default() };
    question(subject, instance, &mut shown, observer, cancel)?;
    Ok(shown)
}

/// Asks a server that holds the data, as closely as the subject's level says, and adds to `shown`.
pub fn question(
    subject: Subject<'_>,
    instance: &mut Instance,
    shown: &mut Shown,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    if subject.level >= ProofLevel::Queries && !subject.queries.is_empty() {
        shown.queries =
            observer.phase("queries", || ask(subject, instance, cancel), |n| format!("{n} answered right"))?;
    }
    if subject.level >= ProofLevel::Tables {
        observer.phase("tables", || read_tables(instance, shown, cancel), Clone::clone)?;
    }
    Ok(())
}

/// NOW() is the moment that the data is of, whenever they are asked.
fn ask(subject: Subject<'_>, instance: &mut Instance, cancel: &Cancel) -> anyhow::Result<u64> {
    let inspector = instance.inspector()?;
    inspector.pretend(subject.taken, subject.facts)?;
    let mut right = 0;
    for query in subject.queries {
        cancel.check()?;
        inspector.holds(query)?.map_err(|answer| {
            let fault = Fault::new(Kind::Verify, format!("the query `{query}` {answer}"));
            fault.hint("is the query right? ask the live server; NOW() is the moment of the snapshot in it")
        })?;
        right += 1;
    }
    Ok(right)
}

fn read_tables(instance: &mut Instance, shown: &mut Shown, cancel: &Cancel) -> anyhow::Result<String> {
    let inspector = instance.inspector()?;
    let mut damaged = Vec::new();
    let long: HashSet<Table> = inspector.tables_with_long_rows()?.into_iter().collect();
    for table in inspector.tables()? {
        cancel.check()?;
        if long.contains(&table) {
            inspector.read(&table).with_context(|| format!("cannot read table {table}"))?;
        }
        match inspector.check(&table).with_context(|| format!("cannot check table {table}"))? {
            Checked::Whole => shown.tables += 1,
            Checked::Uncheckable => shown.uncheckable += 1,
            Checked::Damaged(why) => damaged.push(format!("{table}: {why}")),
        }
    }
    if damaged.is_empty() {
        return Ok(format!("{} tables are whole, {} of engines that have no check", shown.tables, shown.uncheckable));
    }
    let fault = Fault::new(Kind::Verify, format!("{} tables are damaged: {}", damaged.len(), damaged.join("; ")));
    Err(fault.hint("were they before the backup? CHECK TABLE on the live server says so; keep an older backup").into())
}
