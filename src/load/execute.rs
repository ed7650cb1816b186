//! Does what was planned.

use anyhow::Context as _;

use super::place::{self, Changed};
use super::rewrite::{Made, Move};
use super::source::Dump;
use super::{Loaded, Plan, Target, TargetTable, objects, rehearse, rows, unfinished};
use crate::dump::{ObjectKind, ObjectText};
use crate::fault::{Failure, Fault, Kind};
use crate::server::{Address, Loader, Table};
use crate::sys::cancel::Cancel;

/// Loads, moves into place, makes what belongs to it. Until the move nothing of the server's own is
/// changed, and what fails before it leaves nothing; what fails later is noted for the next load.
pub fn execute(
    plan: &Plan,
    dump: &Dump<'_>,
    address: &Address,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<Loaded> {
    let mut crew = Crew::gather(plan, address)?;
    rehearse::rehearse(plan, dump, &mut crew.leader, cancel)?;
    for name in &plan.abandoned {
        crew.leader.drop_database(name)?;
    }
    for target in plan.databases.iter().filter(|target| target.goes_first) {
        crew.leader.drop_database(&target.to)?;
    }
    let mut changed = Changed::default();
    let staged = stage(plan, dump, &mut crew, &mut changed, progress, cancel);
    let loader = &mut crew.leader;
    let placed = staged.and_then(|()| place::place(plan, loader, &mut changed));
    let closed = if plan.opens_local_infile { loader.allow_local_infile(false) } else { Ok(()) };
    let made = placed.and_then(|()| complete(plan, dump, loader, &changed));
    // What could not be given to an account is told when the note of what is not finished is gone.
    let (made, accounts) = match made {
        Ok(notes) => (Ok(notes), objects::make_accounts(plan, dump, loader)),
        Err(error) if changed.is_begun => (Err(unfinished::failed(plan, changed.lost, error)), Ok(Vec::new())),
        Err(error) => (Err(error), Ok(Vec::new())),
    };
    let cleaned = place::clean_up(plan, loader, &changed, made.is_ok());
    let failed: Vec<anyhow::Error> = closed.err().into_iter().chain(cleaned.err()).collect();
    match made.and_then(|notes| Ok([notes, accounts?].concat())) {
        Ok(warnings) => failed.into_iter().next().map_or_else(|| Ok(loaded(plan, warnings)), Err),
        Err(error) => Err(Failure::join(error, failed)),
    }
}

/// Foreign keys, views and programs; what there is to be told of these.
fn complete(plan: &Plan, dump: &Dump<'_>, loader: &mut Loader, changed: &Changed) -> anyhow::Result<Vec<String>> {
    objects::bind(&changed.foreign_keys, loader)?;
    let mut notes = Vec::new();
    for target in &plan.databases {
        notes.extend(objects::make_all(plan, target, dump, loader).with_context(|| {
            format!("the tables of {} are in place, but something that belongs to them is not", target.to)
        })?);
    }
    Ok(notes)
}

fn loaded(plan: &Plan, warnings: Vec<String>) -> Loaded {
    let tables = || plan.databases.iter().flat_map(|target| &target.tables);
    Loaded {
        databases: plan.databases.iter().map(|target| target.to.clone()).collect(),
        tables: tables().count() as u64,
        rows: tables().map(|table| table.table.rows).sum(),
        warnings,
    }
}

/// The connections of a load.
pub(super) struct Crew {
    /// Makes what holds the rows, and moves it.
    leader: Loader,
    pub(super) workers: Vec<Loader>,
    /// Ends the workers, where the run ends.
    pub(super) guard: Loader,
}

impl Crew {
    fn gather(plan: &Plan, address: &Address) -> anyhow::Result<Self> {
        let open = || Loader::open(address, &plan.facts, plan.binary_log);
        let mut leader = open()?;
        if !leader.claim()? {
            let fault = Fault::new(Kind::Busy, "another restore into this server is running");
            return Err(fault.hint("wait until it is through").into());
        }
        let workers = (0..plan.workers).map(|_| open()).collect::<anyhow::Result<_>>()?;
        Ok(Self { leader, workers, guard: open()? })
    }
}

/// Everything with rows, aside.
fn stage(
    plan: &Plan,
    dump: &Dump<'_>,
    crew: &mut Crew,
    changed: &mut Changed,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let loader = &mut crew.leader;
    if plan.opens_local_infile {
        loader.allow_local_infile(true)?;
    }
    for target in &plan.databases {
        cancel.check()?;
        loader.create_database(&target.staging, &target.charset, &target.collation)?;
        make_sequences(target, dump, loader, changed)?;
        loader.enter(&target.staging)?;
        for table in &target.tables {
            cancel.check()?;
            let made = made(plan, dump, &target.from, table, (&target.staging, &target.to))?;
            let Made { statement, foreign_keys } =
                made.with_context(|| format!("cannot tell how {} is made", table.table.name))?;
            loader.make(&statement)?;
            // A copy under another name must not bind what is there.
            if !table.renamed && !foreign_keys.is_empty() {
                let table = Table { schema: target.to.clone(), name: table.to.clone() };
                changed.foreign_keys.push((table, foreign_keys));
            }
        }
    }
    rows::load(plan, dump, crew, progress, cancel)
}

/// What makes a table of database `from` in `staging`, for its place in `to`; none where its statement is not understood.
pub(super) fn made(
    plan: &Plan,
    dump: &Dump<'_>,
    from: &str,
    table: &TargetTable,
    (staging, to): (&str, &str),
) -> anyhow::Result<Option<Made>> {
    let statement = plan.crossing.table(&dump.statement(&table.table.definition)?).statement;
    Ok(Move { from, staging, to, name: &table.to, renamed: table.renamed }.of(&statement))
}

/// The defaults of tables name them by the database that they go to.
fn make_sequences(target: &Target, dump: &Dump<'_>, loader: &mut Loader, changed: &mut Changed) -> anyhow::Result<()> {
    let sequences: Vec<&ObjectText> =
        target.objects.iter().filter(|object| object.kind == ObjectKind::Sequence).collect();
    if sequences.is_empty() {
        return Ok(());
    }
    if !target.exists {
        place::note(target, loader, changed)?;
        loader.create_database(&target.to, &target.charset, &target.collation)?;
        changed.made.push(target.to.clone());
    }
    loader.enter(&target.to)?;
    for sequence in sequences {
        loader.make(&dump.statement(&sequence.text)?)?;
        if let Some(value) = &sequence.value {
            loader.set_sequence(&target.to, &sequence.name, value)?;
        }
    }
    Ok(())
}
