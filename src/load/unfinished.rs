//! What a load that was cut short has left half done.
//!
//! Before a load changes the first thing of the server's own it writes down what, in the database that it
//! makes aside, and that database stays until everything is done. So a target that has its tables and not
//! yet its foreign keys, views and programs is never taken for whole: the next load finds the note, names the
//! database, and may begin anew.

use std::collections::HashSet;

use super::{Plan, Request};
use crate::fault::{Fault, Kind, kind_of};
use crate::server::{Loader, RESTORING, Table};

/// The note is a table of this name. One without rows was not written yet, and nothing is changed.
const NOTE: &str = "mysnap_unfinished";

/// What a load that did not come to its end had begun to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// The database with the note, and what was not moved to its place.
    pub(super) aside: String,
    pub(super) database: String,
    /// These tables of it; all of it where none is named.
    pub(super) tables: Vec<String>,
}

/// What earlier loads have left aside.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Databases whose loads had changed nothing yet.
    pub(super) abandoned: Vec<String>,
    pub(super) unfinished: Vec<Unfinished>,
}

/// Looks at what is aside among the databases that are `there`.
pub(super) fn look(loader: &mut Loader, there: &[String]) -> anyhow::Result<Left> {
    let mut left = Left::default();
    for aside in there.iter().filter(|name| name.starts_with(RESTORING)) {
        let has_note = loader.tables(aside)?.iter().any(|table| table == NOTE);
        let noted = if has_note { loader.noted(aside, NOTE)? } else { Vec::new() };
        match noted.first() {
            Some((database, _)) => left.unfinished.push(Unfinished {
                aside: aside.clone(),
                database: database.clone(),
                tables: noted.iter().filter_map(|(_, table)| table.clone()).collect(),
            }),
            None => left.abandoned.push(aside.clone()),
        }
    }
    Ok(left)
}

/// Writes down in `aside` that `database`, or these `tables` of it, will be changed.
pub(super) fn note(loader: &mut Loader, aside: &str, database: &str, tables: &[&str]) -> anyhow::Result<()> {
    loader.note(aside, NOTE, database, tables)
}

/// All is done. In one statement, so that a load that is cut short here leaves no note of what is whole.
pub(super) fn forget(loader: &mut Loader, asides: &[&String]) -> anyhow::Result<()> {
    let notes = asides.iter().map(|aside| Table { schema: (*aside).clone(), name: NOTE.to_owned() });
    loader.drop_if_there(&notes.collect::<Vec<_>>())
}

/// What is in a database, tables and views, and what a load puts there.
#[derive(Debug)]
pub(super) struct There<'a> {
    pub(super) names: &'a [String],
    pub(super) made: Vec<&'a str>,
}

impl There<'_> {
    /// Servers fold names to lower case or don't.
    fn is_of_a_load(&self) -> bool {
        let made: HashSet<String> = self.made.iter().map(|name| name.to_lowercase()).collect();
        self.names.iter().all(|name| made.contains(&name.to_lowercase()))
    }
}

impl Left {
    /// Whether a load has left half done just what `request` puts into `database`, `tables` where it names some:
    /// then nothing that is there is anybody else's, and it gives way without `--replace`. Not where somebody has made
    /// the database anew since: then it has what is not among `made`, which is all that the load would have put there.
    pub(super) fn is_of(&self, request: &Request, database: &str, tables: &[String], there: &There<'_>) -> bool {
        self.unfinished.iter().any(|each| each.database == database && each.is_of(request, tables))
            && (!request.tables.is_empty() || there.is_of_a_load())
    }
}

impl Unfinished {
    /// Whether a load of `tables`, or with none named in `request` of the whole database, leaves nothing of it.
    pub(super) fn is_replaced_by(&self, request: &Request, tables: &[String]) -> bool {
        let names_tables = !request.tables.is_empty();
        !names_tables || (!self.tables.is_empty() && self.tables.iter().all(|table| tables.contains(table)))
    }

    fn is_of(&self, request: &Request, tables: &[String]) -> bool {
        let names_tables = !request.tables.is_empty();
        let tables = if names_tables { tables } else { &[] };
        self.is_replaced_by(request, tables)
            && tables.iter().all(|table| self.tables.contains(table))
            && self.tables.is_empty() != names_tables
    }

    fn what(&self) -> String {
        if self.tables.is_empty() {
            return format!("database {}", self.database);
        }
        format!("table {}.{}", self.database, self.tables.join(", "))
    }

    /// What the operator is told.
    pub(super) fn told(&self, begins_anew: bool) -> String {
        let what = self.what();
        if begins_anew {
            return format!(
                "{what} was not finished by a restore that was cut short: this one begins anew, and what has been put there since is lost"
            );
        }
        let aside = &self.aside;
        format!(
            "{what} was not finished by a restore that was cut short: restore it again; what was not moved to its place is in {aside}, and DROP DATABASE {aside} keeps what is there as it is"
        )
    }
}

/// `error` of a load that had begun to change what the server has.
pub(super) fn failed(plan: &Plan, lost: bool, error: anyhow::Error) -> anyhow::Error {
    let names = |of: fn(&super::Target) -> &str| plan.databases.iter().map(of).collect::<Vec<_>>().join(", ");
    let (databases, asides) = (names(|target| &target.to), names(|target| &target.staging));
    let gone = if lost { "what was replaced is gone, and " } else { "" };
    let kind = kind_of(&error).unwrap_or(Kind::Copy);
    let fault = Fault::new(kind, format!("{gone}the restore of {databases} is not finished"));
    let hint = format!(
        "run it again: it begins anew; what was not moved to its place is complete in {asides}, and DROP DATABASE of that keeps what is there as it is"
    );
    fault.hint(hint).caused_by(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_made_anew_does_not_give_way() {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let unfinished = Unfinished { aside: "aside".into(), database: "shop".into(), tables: Vec::new() };
        let left = Left { unfinished: vec![unfinished], ..Left::default() };
        let is_of = |names: &[&str]| {
            let names = strings(names);
            left.is_of(&Request::default(), "shop", &[], &There { names: &names, made: vec!["orders", "names"] })
        };
        assert!(is_of(&[]) && is_of(&["orders"]) && is_of(&["ORDERS", "names"]));
        assert!(!is_of(&["orders", "baskets"]));
    }

    #[test]
    fn what_is_half_done_gives_way_to_a_restore_of_all_of_it_alone() {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let unfinished =
            |tables: &[&str]| Unfinished { aside: "aside".into(), database: "shop".into(), tables: strings(tables) };
        let request = |by: &[&str]| Request { tables: strings(by), ..Request::default() };
        let is_replaced = |by: &[&str], noted: &[&str]| unfinished(noted).is_replaced_by(&request(by), &strings(by));
        assert!(is_replaced(&[], &[]) && is_replaced(&[], &["a"]));
        assert!(is_replaced(&["a", "b"], &["a"]) && !is_replaced(&["a"], &["a", "b"]));
        assert!(!is_replaced(&["a"], &[]), "of a database one table");
        let is_of = |by: &[&str], noted: &[&str]| unfinished(noted).is_of(&request(by), &strings(by));
        assert!(is_of(&[], &[]) && is_of(&["b", "a"], &["a", "b"]));
        // What is not noted is somebody's.
        assert!(!is_of(&[], &["a"]) && !is_of(&["a"], &[]) && !is_of(&["a", "b"], &["a"]));
        assert!(unfinished(&["a"]).told(false).contains("table shop.a was not finished"));
    }
}
