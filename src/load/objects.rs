//! What belongs to tables that are in their place.

use super::source::Dump;
use super::{Plan, Target, fits, rewrite};
use crate::dump::{AccountText, ObjectKind, ObjectText};
use crate::server::{Loader, MadeAccount, NotTaken, Settings, Table, statements};

/// Adds foreign keys. Nothing is compared: they held when the dump was made.
pub(super) fn bind(foreign_keys: &[(Table, Vec<String>)], loader: &mut Loader) -> anyhow::Result<()> {
    for (table, keys) in foreign_keys {
        loader
            .add_to_table(table, keys)
            .map_err(|error| error.context(format!("all tables are in place, but {table} has not its foreign keys")))?;
    }
    Ok(())
}

/// Makes what belongs to the tables of `target`, which are in their place; what there is to be told of that.
pub(super) fn make_all(
    plan: &Plan,
    target: &Target,
    dump: &Dump<'_>,
    loader: &mut Loader,
) -> anyhow::Result<Vec<String>> {
    loader.enter(&target.to)?;
    let objects = target.objects.iter().filter(|object| object.kind != ObjectKind::Sequence && !object.broken);
    let mut notes = Vec::new();
    let failed = in_any_order(objects.collect(), |object| {
        notes.extend(make(object, plan, target, dump, loader)?);
        Ok(())
    });
    let first = failed.into_iter().next();
    first.map_or(Ok(notes), |(object, error)| Err(error.context(format!("cannot make {}.{}", target.to, object.name))))
}

/// Programs and views may need one another: what fails is tried again as long as others succeed. What fails at last is
/// returned, with its error.
pub(super) fn in_any_order(
    mut waiting: Vec<&ObjectText>,
    mut make: impl FnMut(&ObjectText) -> anyhow::Result<()>,
) -> Vec<(&ObjectText, anyhow::Error)> {
    waiting.sort_by_key(|object| object.kind);
    loop {
        let before = waiting.len();
        let failed = waiting.into_iter().filter_map(|object| Some((object, make(object).err()?)));
        let failed: Vec<(&ObjectText, anyhow::Error)> = failed.collect();
        if failed.is_empty() || failed.len() == before {
            return failed;
        }
        waiting = failed.into_iter().map(|(object, _)| object).collect();
    }
}

fn make(
    object: &ObjectText,
    plan: &Plan,
    target: &Target,
    dump: &Dump<'_>,
    loader: &mut Loader,
) -> anyhow::Result<Option<String>> {
    let mut statement = dump.statement(&object.text)?;
    if object.kind == ObjectKind::View && target.from != target.to {
        statement = rewrite::columns_without_database(&statement, &target.from);
    }
    let make = |loader: &mut Loader| make_as_stored(object, plan, &statement, loader);
    match default_collation(object, plan, target) {
        Some(own) => loader.with_default_collation(&target.to, (&own, &target.collation), make)?,
        None => make(loader)?,
    }
    if object.kind != ObjectKind::Event {
        return Ok(None);
    }
    // Beside the database that it was made for it would do its work there twice.
    let runs_twice = target.from != target.to;
    let is_there = if runs_twice { loader.disable_event(&object.name)? } else { loader.has_event(&object.name)? };
    let left_out = || format!("event {}.{} is left out: its time has passed", target.to, object.name);
    Ok((!is_there).then(left_out))
}

/// The default that the database had when the program was made, where that is another one. One that others work in keeps
/// its own.
fn default_collation(object: &ObjectText, plan: &Plan, target: &Target) -> Option<String> {
    let is_ours = target.replaces_all || !target.exists;
    let stored = object.settings.database.as_deref().filter(|_| is_ours)?;
    let own = fits::nearest_collation(&plan.abilities, plan.crossing.collation(stored));
    (!own.eq_ignore_ascii_case(&target.collation)).then(|| own.to_owned())
}

/// Makes a program by `statement` in the settings that it was made in, or those next to them that the server has.
pub(super) fn make_as_stored(
    object: &ObjectText,
    plan: &Plan,
    statement: &str,
    loader: &mut Loader,
) -> anyhow::Result<()> {
    let stored = &object.settings;
    let sql_mode = stored.sql_mode.as_deref().map(|modes| loader.known_modes(modes));
    let nearest = |name| fits::nearest_collation(&plan.abilities, plan.crossing.collation(name)).to_owned();
    let collation = stored.collation.as_deref().map(nearest);
    let settings = statements::as_stored(&Settings { sql_mode, collation, ..stored.clone() });
    loader.make_as_stored(settings.as_deref(), &plan.crossing.collated(statement))
}

/// First every account, then what each is given: a role that is granted must be there. What could not be
/// made is told when everything else is; between servers of different families and releases that is no failure, since
/// no server has all of what another lets its accounts log in by, and grants them.
pub(super) fn make_accounts(plan: &Plan, dump: &Dump<'_>, loader: &mut Loader) -> anyhow::Result<Vec<String>> {
    let (mut made, mut notes, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut waiting: Vec<&AccountText> = plan.accounts.iter().collect();
    while !waiting.is_empty() {
        let (before, mut again) = (waiting.len(), Vec::new());
        failed.clear();
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
                    failed.push(format!("account {} was left out: {error:#}", account.name));
                    again.push(account);
                }
            }
        }
        waiting = if again.len() == before { Vec::new() } else { again };
    }
    for account in made {
        for grant in account.statements.iter().skip(1) {
            match loader.grant(&dump.statement(grant)?) {
                Ok(None) => {}
                Ok(Some(why)) => notes.push(format!("account {} has not all that it had: {why}", account.name)),
                Err(error) => failed.push(format!("account {} has not all that it had: {error:#}", account.name)),
            }
        }
    }
    if plan.crossing.differs() {
        notes.append(&mut failed);
    }
    if failed.is_empty() {
        return Ok(notes);
    }
    Err(NotTaken(format!("all data is in place, but not every account: {}", failed.join("; "))).into())
}
