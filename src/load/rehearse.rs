//! A dump of another family or release is made without its rows first, and removed again.
//!
//! Only the server itself knows what it takes. Everything that it does not take is told at once, by name and in its
//! own words, before a row is loaded or anything of its own is changed.

use super::source::Dump;
use super::{Plan, Target, execute, fits, objects, rewrite};
use crate::dump::{ObjectKind, ObjectText};
use crate::fault::{Failure, Fault, Kind};
use crate::server::{Loader, Refusal, Table, quoted};
use crate::sys::cancel::Cancel;

/// What is of another database, which is not there yet: no such database, table, view, function or sequence; a trigger
/// of a table of another database.
const OF_OTHERS: [u16; 7] = [1049, 1146, 1305, 1356, 1435, 4091, 1630];

/// So many things are told.
const TOLD: usize = 20;

/// Tries everything of `plan` but rows and accounts where the servers differ; leaves nothing.
pub(super) fn rehearse(plan: &Plan, dump: &Dump<'_>, loader: &mut Loader, cancel: &Cancel) -> anyhow::Result<()> {
    if !plan.crossing.differs() {
        return Ok(());
    }
    let mut refused = Vec::new();
    for target in &plan.databases {
        let trial = format!("{}_trial", target.staging);
        loader.drop_database(&trial)?;
        let tried = Trial { plan, dump, target, database: &trial }.all(loader, cancel);
        let removed = loader.drop_database(&trial);
        match tried {
            Ok(more) => refused.extend(more),
            Err(error) => return Err(Failure::join(error, removed.err().into_iter().collect())),
        }
        removed?;
    }
    if refused.is_empty() {
        return Ok(());
    }
    let message =
        format!("{} {} does not take {}", plan.facts.flavour, plan.facts.version, fits::first(&refused, TOLD));
    Err(Fault::new(Kind::Refused, message).hint(format!("nothing was changed; {}", fits::hint(dump))).into())
}

struct Trial<'a> {
    plan: &'a Plan,
    dump: &'a Dump<'a>,
    target: &'a Target,
    database: &'a str,
}

impl Trial<'_> {
    /// What the server refuses. Any other failure ends it.
    fn all(&self, loader: &mut Loader, cancel: &Cancel) -> anyhow::Result<Vec<String>> {
        let (target, mut refused) = (self.target, Vec::new());
        loader.create_database(self.database, &target.charset, &target.collation)?;
        loader.enter(self.database)?;
        let (sequences, objects): (Vec<&ObjectText>, Vec<&ObjectText>) =
            target.objects.iter().filter(|object| !object.broken).partition(|o| o.kind == ObjectKind::Sequence);
        for sequence in sequences {
            let made = loader.make(&self.dump.statement(&sequence.text)?);
            self.note(made, &sequence_name(target, sequence), &mut refused)?;
        }
        let mut foreign_keys = Vec::new();
        for each in &target.tables {
            cancel.check()?;
            let place = (self.database, self.database);
            let Some(made) = execute::made(self.plan, self.dump, &target.from, each, place)? else { continue };
            let name = format!("table {}.{}", target.from, each.table.name);
            if self.note(loader.make(&made.statement), &name, &mut refused)? && !each.renamed {
                let keys: Vec<String> = made.foreign_keys.into_iter().filter(|key| self.is_within(key)).collect();
                foreign_keys.push((name, Table { schema: self.database.to_owned(), name: each.to.clone() }, keys));
            }
        }
        for (name, table, keys) in foreign_keys {
            for key in keys {
                self.note(loader.add_to_table(&table, &[key]), &format!("a foreign key of {name}"), &mut refused)?;
            }
        }
        for (object, error) in objects::in_any_order(objects, |object| self.make(object, loader, cancel)) {
            let name = format!("{} {}.{}", object.kind.name(), target.from, object.name);
            self.note(Err(error), &name, &mut refused)?;
        }
        Ok(refused)
    }

    fn make(&self, object: &ObjectText, loader: &mut Loader, cancel: &Cancel) -> anyhow::Result<()> {
        cancel.check()?;
        let statement = self.dump.statement(&object.text)?;
        let statement = match object.kind {
            // By its text it could be made in the place itself.
            ObjectKind::Trigger if rewrite::is_of_a_named_database(&statement) => return Ok(()),
            // It would begin to work.
            ObjectKind::Event => rewrite::switched_off(&statement),
            _ => statement,
        };
        objects::make_as_stored(object, self.plan, &statement, loader)
    }

    /// Whether a foreign key refers to a table that is tried too: others could be somebody's.
    fn is_within(&self, key: &str) -> bool {
        key.contains(&format!(" REFERENCES {}.", quoted(self.database)))
    }

    /// Whether it was made. What the server refuses for its own sake is noted.
    fn note(&self, made: anyhow::Result<()>, name: &str, refused: &mut Vec<String>) -> anyhow::Result<bool> {
        let Err(error) = made else { return Ok(true) };
        let Some(Refusal { said, code, .. }) = error.downcast_ref() else { return Err(error) };
        if !OF_OTHERS.contains(code) || said.contains(self.database) {
            refused.push(format!("{name}: {} (error {code})", said.replace(self.database, &self.target.from)));
        }
        Ok(false)
    }
}

fn sequence_name(target: &Target, sequence: &ObjectText) -> String {
    format!("sequence {}.{}", target.from, sequence.name)
}
