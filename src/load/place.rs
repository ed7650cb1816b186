//! The moment at which the server's own data changes, and what is left of a load that failed.

use super::{Plan, Target, TargetTable, unfinished};
use crate::server::{Loader, Table};

/// So many tables are moved at once.
const AT_ONCE: usize = 1000;

/// What this load has changed so far.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Databases that it has made.
    pub(super) made: Vec<String>,
    /// What it has a note of, by the database that is made aside.
    noted: Vec<String>,
    /// Whether something that was there is gone.
    pub(super) lost: bool,
    /// Whether it can't be taken back as if nothing had been: the note stays until all is done.
    pub(super) is_begun: bool,
    /// What is added to tables that are in their place.
    pub(super) foreign_keys: Vec<(Table, Vec<String>)>,
}

/// Removes what gives way, and moves what is complete to its place.
pub(super) fn place(plan: &Plan, loader: &mut Loader, changed: &mut Changed) -> anyhow::Result<()> {
    plan.databases.iter().try_for_each(|target| note(target, loader, changed))?;
    let mut moves = Vec::new();
    for target in &plan.databases {
        make_room(target, loader, changed)?;
        let table = |schema: &String, name: &String| Table { schema: schema.clone(), name: name.clone() };
        let moved = |each: &TargetTable| (table(&target.staging, &each.to), table(&target.to, &each.to));
        moves.extend(target.tables.iter().map(moved));
    }
    for some in moves.chunks(AT_ONCE) {
        loader.move_tables(some)?;
        // Into a database that this load has made it could still be taken back, but not out of one that was there.
        changed.is_begun |= some.iter().any(|(_, to)| !changed.made.contains(&to.schema));
    }
    changed.is_begun = true;
    Ok(())
}

/// Writes down that `target` is not finished, before it is changed.
pub(super) fn note(target: &Target, loader: &mut Loader, changed: &mut Changed) -> anyhow::Result<()> {
    if changed.noted.contains(&target.staging) {
        return Ok(());
    }
    let tables: Vec<&str> = target.tables.iter().map(|table| table.to.as_str()).collect();
    unfinished::note(loader, &target.staging, &target.to, if target.is_whole { &[] } else { &tables })?;
    changed.noted.push(target.staging.clone());
    Ok(())
}

fn make_room(target: &Target, loader: &mut Loader, changed: &mut Changed) -> anyhow::Result<()> {
    if target.replaces_all {
        loader.drop_database(&target.to)?;
        (changed.lost, changed.is_begun) = (true, true);
    }
    if target.replaces_all || !(target.exists || changed.made.contains(&target.to)) {
        loader.create_database(&target.to, &target.charset, &target.collation)?;
        changed.made.push(target.to.clone());
    }
    for name in &target.replaced {
        loader.drop_table(&target.to, name)?;
        (changed.lost, changed.is_begun) = (true, true);
    }
    Ok(())
}

/// What is aside goes, and what a load that failed has made, unless something is noted there that must be known.
pub(super) fn clean_up(plan: &Plan, loader: &mut Loader, changed: &Changed, is_done: bool) -> anyhow::Result<()> {
    if !is_done && changed.is_begun {
        return Ok(());
    }
    let own: Vec<&String> = plan.databases.iter().map(|target| &target.staging).collect();
    if !is_done {
        // In this order: without the note what is left of a target would be taken for whole.
        return changed.made.iter().chain(own).try_for_each(|name| loader.drop_database(name));
    }
    let all: Vec<&String> = own.into_iter().chain(&plan.superseded).collect();
    unfinished::forget(loader, &all)?;
    all.into_iter().try_for_each(|name| loader.drop_database(name))
}
