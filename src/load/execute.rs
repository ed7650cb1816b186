//! Does what was planned.

use anyhow::Context as _;

use super::rewrite::Move;
use super::source::Dump;
use super::{Loaded, Plan, Target, TargetTable, rows};
use crate::dump::{AccountText, ObjectKind, ObjectText};
use crate::fault::{Failure, Fault, Kind};
use crate::server::{Address, Loader, MadeAccount, Table, statements};
use crate::sys::cancel::Cancel;

/// Loads, moves into place, makes what belongs to it. Until the move nothing of the server's own is
/// changed; what fails before it leaves nothing.
pub fn execute(
    plan: &Plan,
    dump: &Dump<'_>,
    address: &Address,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<Loaded> {
    let mut crew = Crew::gather(plan, address)?;
    for name in &plan.abandoned {
        crew.leader.drop_database(name)?;
    }
    let loaded = stage(plan, dump, &mut crew, progress, cancel);
    let loader = &mut crew.leader;
    let placed = loaded.and_then(|()| place(plan, loader));
    let cleaned = clean_up(plan, loader, placed.is_ok());
    match (placed, cleaned) {
        (Err(error), cleaned) => return Err(Failure::join(error, cleaned.err().into_iter().collect())),
        (Ok(()), cleaned) => cleaned?,
    }
    let mut done = Loaded::default();
    for target in &plan.databases {
        make_objects(target, dump, loader).with_context(|| {
            format!("the tables of {} are in place, but something that belongs to them is not", target.to)
        })?;
        done.databases.push(target.to.clone());
        done.tables += target.tables.len() as u64;
        done.rows += target.tables.iter().map(|table| table.table.rows).sum::<u64>();
    }
    done.warnings = make_accounts(&plan.accounts, dump, loader)?;
    Ok(done)
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
        make_sequences(target, dump, loader)?;
        loader.enter(&target.staging)?;
        for table in &target.tables {
            cancel.check()?;
            let statement = dump.statement(&table.table.definition)?;
            let Target { from, staging, to, .. } = target;
            let moved = Move { from, staging, to, name: &table.to, renamed: table.renamed };
            let statement = moved.of(&statement);
            let statement = statement.with_context(|| format!("cannot tell how {} is made", table.table.name))?;
            loader.make(&statement)?;
        }
    }
    rows::load(plan, dump, crew, progress, cancel)
}

/// The defaults of tables name them by the database that they go to.
fn make_sequences(target: &Target, dump: &Dump<'_>, loader: &mut Loader) -> anyhow::Result<()> {
    let sequences: Vec<&ObjectText> =
        target.objects.iter().filter(|object| object.kind == ObjectKind::Sequence).collect();
    if sequences.is_empty() {
        return Ok(());
    }
    if !target.exists {
        loader.create_database(&target.to, &target.charset, &target.collation)?;
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

/// The moment at which the server's own data changes.
fn place(plan: &Plan, loader: &mut Loader) -> anyhow::Result<()> {
    let mut moves = Vec::new();
    for target in &plan.databases {
        if target.replaces_all {
            loader.drop_database(&target.to)?;
        }
        let made = target.objects.iter().any(|object| object.kind == ObjectKind::Sequence);
        if target.replaces_all || !(target.exists || made) {
            loader.create_database(&target.to, &target.charset, &target.collation)?;
        }
        for name in &target.replaced {
            loader.drop_table(&target.to, name)?;
        }
        let table = |schema: &String, name: &String| Table { schema: schema.clone(), name: name.clone() };
        let moved = |each: &TargetTable| (table(&target.staging, &each.to), table(&target.to, &each.to));
        moves.extend(target.tables.iter().map(moved));
    }
    loader.move_tables(&moves)
}

/// Staging goes, and what a load that failed has made.
fn clean_up(plan: &Plan, loader: &mut Loader, placed: bool) -> anyhow::Result<()> {
    for target in &plan.databases {
        loader.drop_database(&target.staging)?;
        let sequences = target.objects.iter().any(|object| object.kind == ObjectKind::Sequence);
        if !placed && sequences && !target.exists {
            loader.drop_database(&target.to)?;
        }
    }
    if plan.opens_local_infile { loader.allow_local_infile(false) } else { Ok(()) }
}

/// Programs and views may need one another: what fails is tried again as long as others succeed.
fn make_objects(target: &Target, dump: &Dump<'_>, loader: &mut Loader) -> anyhow::Result<()> {
    loader.enter(&target.to)?;
    let mut waiting: Vec<&ObjectText> =
        target.objects.iter().filter(|o| o.kind != ObjectKind::Sequence && !o.broken).collect();
    waiting.sort_by_key(|object| object.kind);
    while !waiting.is_empty() {
        let (before, mut failed, mut why) = (waiting.len(), Vec::new(), None);
        for object in waiting {
            if let Err(error) = make(object, dump, loader) {
                why.get_or_insert_with(|| error.context(format!("cannot make {}.{}", target.to, object.name)));
                failed.push(object);
            }
        }
        match why {
            Some(error) if failed.len() == before => return Err(error),
            _ => waiting = failed,
        }
    }
    Ok(())
}

fn make(object: &ObjectText, dump: &Dump<'_>, loader: &mut Loader) -> anyhow::Result<()> {
    let settings = statements::as_stored(
        object.sql_mode.as_deref(),
        object.client.as_deref(),
        object.collation.as_deref(),
        object.time_zone.as_deref(),
    );
    loader.make_as_stored(settings.as_deref(), &dump.statement(&object.text)?)
}

/// First every account, then what each is given: a role that is granted must be there.
fn make_accounts(accounts: &[AccountText], dump: &Dump<'_>, loader: &mut Loader) -> anyhow::Result<Vec<String>> {
    let (mut made, mut notes) = (Vec::new(), Vec::new());
    let mut waiting: Vec<&AccountText> = accounts.iter().collect();
    while !waiting.is_empty() {
        let (before, mut failed, mut why) = (waiting.len(), Vec::new(), None);
        for account in waiting {
            let Some(create) = account.statements.first() else { continue };
            match loader.make_account(&dump.statement(create)?) {
                Ok(MadeAccount::Made) => made.push(account),
                Ok(MadeAccount::IsThere) => {
                    notes.push(format!("account {} is there, and stays as it is", account.name));
                }
                Ok(MadeAccount::NeedsPlugin(why)) => {
                    notes.push(format!("account {} was left out: {why}", account.name));
                }
                // A default role may come later.
                Err(error) => {
                    why.get_or_insert_with(|| error.context(format!("account {}", account.name)));
                    failed.push(account);
                }
            }
        }
        match why {
            Some(error) if failed.len() == before => return Err(error),
            _ => waiting = failed,
        }
    }
    for account in made {
        for grant in account.statements.iter().skip(1) {
            let granted = loader.grant(&dump.statement(grant)?);
            granted.with_context(|| format!("what account {} is given", account.name))?;
        }
    }
    Ok(notes)
}
