//! What belongs to tables that are in their place.

use super::Target;
use super::source::Dump;
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

/// Programs and views may need one another: what fails is tried again as long as others succeed.
pub(super) fn make_all(target: &Target, dump: &Dump<'_>, loader: &mut Loader) -> anyhow::Result<()> {
    loader.enter(&target.to)?;
    let mut waiting: Vec<&ObjectText> =
        target.objects.iter().filter(|o| o.kind != ObjectKind::Sequence && !o.broken).collect();
    waiting.sort_by_key(|object| object.kind);
    while !waiting.is_empty() {
        let (before, mut failed, mut why) = (waiting.len(), Vec::new(), None);
        for object in waiting {
            if let Err(error) = make(object, target, dump, loader) {
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

fn make(object: &ObjectText, target: &Target, dump: &Dump<'_>, loader: &mut Loader) -> anyhow::Result<()> {
    let sql_mode = object.settings.sql_mode.as_deref().map(|modes| loader.known_modes(modes));
    let settings = statements::as_stored(&Settings { sql_mode, ..object.settings.clone() });
    loader.make_as_stored(settings.as_deref(), &dump.statement(&object.text)?)?;
    // Beside the database that it was made for it would do its work there twice.
    let runs_twice = object.kind == ObjectKind::Event && target.from != target.to;
    if runs_twice { loader.disable_event(&object.name) } else { Ok(()) }
}

/// First every account, then what each is given: a role that is granted must be there. What could not be
/// made is told when everything else is.
pub(super) fn make_accounts(
    accounts: &[AccountText],
    dump: &Dump<'_>,
    loader: &mut Loader,
) -> anyhow::Result<Vec<String>> {
    let (mut made, mut notes, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut waiting: Vec<&AccountText> = accounts.iter().collect();
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
                    failed.push(format!("account {}: {error:#}", account.name));
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
                Err(error) => failed.push(format!("what account {} is given: {error:#}", account.name)),
            }
        }
    }
    if failed.is_empty() {
        return Ok(notes);
    }
    Err(NotTaken::at_all(format!("all data is in place, but not every account: {}", failed.join("; "))).into())
}
