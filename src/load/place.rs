//! The moment at which the server's own data changes, and what is left of a load that failed.

use super::{COMPLETE, Plan, TargetTable};
use crate::fault::{Fault, Kind};
use crate::server::{Loader, Table};

/// So many tables are moved at once.
const AT_ONCE: usize = 1000;

/// What this load has changed so far.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Databases that it has made.
    pub(super) made: Vec<String>,
    /// Whether something that was there is gone: from then on the new tables must not go.
    lost: bool,
    /// What is added to tables that are in their place.
    pub(super) foreign_keys: Vec<(Table, Vec<String>)>,
}

/// Removes what gives way, and moves what is complete to its place.
pub(super) fn place(plan: &Plan, loader: &mut Loader, changed: &mut Changed) -> anyhow::Result<()> {
    let worked = replace(plan, loader, changed);
    if !changed.lost {
        return worked;
    }
    worked.map_err(|error| {
        let names: Vec<&str> = plan.databases.iter().map(|target| target.staging.as_str()).collect();
        let what =
            format!("what was replaced is gone, and the new tables, which are complete, are in {}", names.join(", "));
        let fault = Fault::new(Kind::CleanupPending, what);
        fault.hint("move them by hand: RENAME TABLE … TO …; then DROP DATABASE").caused_by(error).into()
    })
}

fn replace(plan: &Plan, loader: &mut Loader, changed: &mut Changed) -> anyhow::Result<()> {
    let mut moves = Vec::new();
    for target in &plan.databases {
        if plan.destroys {
            // The next load knows by it that this is no half of one.
            loader.mark(&target.staging, COMPLETE)?;
        }
        if target.replaces_all {
            loader.drop_database(&target.to)?;
            changed.lost = true;
        }
        if target.replaces_all || !(target.exists || changed.made.contains(&target.to)) {
            loader.create_database(&target.to, &target.charset, &target.collation)?;
            changed.made.push(target.to.clone());
        }
        for name in &target.replaced {
            loader.drop_table(&target.to, name)?;
            changed.lost = true;
        }
        let table = |schema: &String, name: &String| Table { schema: schema.clone(), name: name.clone() };
        let moved = |each: &TargetTable| (table(&target.staging, &each.to), table(&target.to, &each.to));
        moves.extend(target.tables.iter().map(moved));
    }
    moves.chunks(AT_ONCE).try_for_each(|some| loader.move_tables(some))
}

/// The server's settings are put back; staging goes, and what a load that failed has made.
pub(super) fn clean_up(plan: &Plan, loader: &mut Loader, changed: &Changed, placed: bool) -> anyhow::Result<()> {
    let closed = if plan.opens_local_infile { loader.allow_local_infile(false) } else { Ok(()) };
    if !placed && changed.lost {
        return closed;
    }
    let mut gone: Vec<&str> = plan.databases.iter().map(|target| target.staging.as_str()).collect();
    if !placed {
        gone.extend(changed.made.iter().map(String::as_str));
    }
    let dropped: Vec<anyhow::Result<()>> = gone.into_iter().map(|name| loader.drop_database(name)).collect();
    dropped.into_iter().fold(closed, anyhow::Result::and)
}
