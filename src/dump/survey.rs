//! What a server holds of what is meant.

use std::collections::HashSet;

use super::names::Names;
use super::{Listing, ObjectKind, Options, Readers};
use crate::fault::{Fault, Kind};
use crate::server::{Account, Accounts, Column, Database, Definition, Reader, Relation, RelationKind, Table};
use crate::sys::cancel::Cancel;

/// Engines whose rows are somewhere else, or nowhere.
const WITHOUT_ROWS: [(&str, &str); 6] = [
    ("MRG_MYISAM", "its rows are those of other tables"),
    ("BLACKHOLE", "it keeps no rows"),
    ("FEDERATED", "its rows are on another server"),
    ("CONNECT", "its rows are outside the server"),
    ("SPIDER", "its rows are on other servers"),
    ("S3", "its rows are in an object store"),
];
/// What a table whose rows keep their times without a column for them has all the same.
const PERIOD: [&str; 2] = ["row_start", ROW_END];
const ROW_END: &str = "row_end";

/// What is dumped.
pub(super) struct Contents {
    pub(super) databases: Vec<DatabaseContents>,
    pub(super) accounts: Vec<Account>,
    pub(super) warnings: Vec<String>,
}

/// A database, and the directory that its files go to.
pub(super) struct DatabaseContents {
    pub(super) database: Database,
    pub(super) directory: String,
    pub(super) tables: Vec<TableContents>,
    pub(super) objects: Vec<Object>,
}

impl DatabaseContents {
    /// Its tables, views and sequences.
    fn relations(&self) -> impl Iterator<Item = (&str, &str)> {
        let tables = self.tables.iter().map(|table| table.table.name.as_str());
        let is_one = |object: &&Object| matches!(object.kind, ObjectKind::View | ObjectKind::Sequence);
        let others = self.objects.iter().filter(is_one).map(|object| object.name.as_str());
        tables.chain(others).map(|name| (self.database.name.as_str(), name))
    }
}

/// A table, and how its files' names begin.
pub(super) struct TableContents {
    pub(super) table: Table,
    pub(super) file: String,
    pub(super) engine: String,
    pub(super) definition: Vec<u8>,
    /// Those that are read and written.
    pub(super) columns: Vec<Column>,
    pub(super) history: bool,
    pub(super) has_rows: bool,
    /// The first column of its primary key, where that is a whole number.
    pub(super) key: Option<String>,
    pub(super) bytes: u64,
}

/// Something besides tables.
pub(super) struct Object {
    pub(super) kind: ObjectKind,
    pub(super) name: String,
    pub(super) table: Option<String>,
    pub(super) definition: Definition,
    pub(super) value: Option<String>,
}

impl Contents {
    /// How much it is, about.
    pub(super) fn bytes(&self) -> u64 {
        self.databases.iter().flat_map(|database| &database.tables).map(|table| table.bytes).sum()
    }
}

/// Asks for everything but the rows.
pub(super) fn look(readers: &mut Readers, options: &Options, cancel: &Cancel) -> anyhow::Result<Contents> {
    let Some(reader) = readers.all.first_mut() else { anyhow::bail!("a dump needs a connection") };
    let is_second = readers.own_account.is_some();
    let mut warnings = Vec::new();
    let (mut databases, mut names) = (Vec::new(), Names::default());
    let all = reader.databases()?;
    let known: Vec<String> = all.iter().map(|database| database.name.clone()).collect();
    for database in all {
        if options.selection.has_database(&database.name) {
            let directory = names.of(&database.name);
            databases.push(contents(reader, (database, directory), options, is_second, &mut warnings, cancel)?);
        }
    }
    warnings.extend(readers.listing.as_ref().map_or(Ok(None), |listing| gone(listing, &databases, options))?);
    let relations: Vec<_> = databases.iter().flat_map(DatabaseContents::relations).collect();
    options.selection.require_some(&known.iter().map(String::as_str).collect::<Vec<_>>(), &relations)?;
    let everything = options.selection.is_everything();
    let accounts = if everything { reader.accounts(readers.own_account)? } else { Accounts::default() };
    warnings.extend(accounts.ignored);
    Ok(Contents { databases, accounts: accounts.known, warnings })
}

/// What was there at the moment that the data is of and is not there any more would be in no backup: none knows of such
/// changes. An error where that is certain.
fn gone(listing: &Listing, databases: &[DatabaseContents], options: &Options) -> anyhow::Result<Option<String>> {
    let found: HashSet<(&str, &str)> = databases.iter().flat_map(DatabaseContents::relations).collect();
    let is_meant = |table: &&Table| {
        options.selection.has_database(&table.schema) && options.selection.has(&table.schema, &table.name)
    };
    let missing = |table: &&Table| !found.contains(&(table.schema.as_str(), table.name.as_str()));
    let gone: Vec<String> =
        listing.tables.iter().filter(is_meant).filter(missing).map(ToString::to_string).take(3).collect();
    if gone.is_empty() {
        return Ok(None);
    }
    let gone = gone.join(", ");
    if !listing.exact {
        return Ok(Some(format!(
            "{gone}: dropped or renamed while the dump began, perhaps after the moment that it is of"
        )));
    }
    let message = format!("{gone}: dropped or renamed after the moment that the dump is of");
    Err(Fault::new(Kind::Copy, message).hint("run it again, at a time when no tables are dropped or renamed").into())
}

fn contents(
    reader: &mut Reader,
    (database, directory): (Database, String),
    options: &Options,
    is_second: bool,
    warnings: &mut Vec<String>,
    cancel: &Cancel,
) -> anyhow::Result<DatabaseContents> {
    let schema = database.name.clone();
    let mut relations = reader.relations(&schema)?;
    let is_meant = |relation: &Relation| options.selection.has(&schema, &relation.name);
    let left_out: Vec<String> = relations.iter().filter(|r| !is_meant(r)).map(|r| r.name.clone()).collect();
    relations.retain(is_meant);
    let (mut tables, mut objects, mut names) = (Vec::new(), Vec::new(), Names::default());
    for relation in relations {
        cancel.check()?;
        match relation.kind {
            RelationKind::Table | RelationKind::Versioned => {
                tables.push(table(reader, &schema, relation, &mut names, is_second, warnings)?);
            }
            RelationKind::Sequence => objects.push(sequence(reader, &schema, relation)?),
            RelationKind::View => {
                let definition = reader.definition("VIEW", &schema, &relation.name)?;
                objects.push(Object {
                    kind: ObjectKind::View,
                    name: relation.name,
                    table: None,
                    definition,
                    value: None,
                });
            }
        }
    }
    objects.extend(programs(reader, &schema, options, cancel)?);
    for object in objects.iter().filter(|object| object.definition.broken) {
        warnings.push(format!("the view {schema}.{} does not work on the server", object.name));
    }
    warnings.extend(objects.iter().filter_map(|object| unmakeable(object, &schema, &left_out)));
    objects.sort_by_key(|object| object.kind);
    Ok(DatabaseContents { database, directory, tables, objects })
}

/// A view of what is not dumped comes back only where that is.
fn unmakeable(object: &Object, schema: &str, left_out: &[String]) -> Option<String> {
    if object.kind != ObjectKind::View || object.definition.broken {
        return None;
    }
    let names = |name: &&String| object.definition.text.split(|byte| *byte == b'`').any(|part| part == name.as_bytes());
    let name = left_out.iter().find(names)?;
    Some(format!(
        "the view {schema}.{} names {name}, which is left out: it, and with it {schema}, comes back whole only where that is",
        object.name
    ))
}

fn table(
    reader: &mut Reader,
    schema: &str,
    relation: Relation,
    names: &mut Names,
    is_second: bool,
    warnings: &mut Vec<String>,
) -> anyhow::Result<TableContents> {
    let table = Table { schema: schema.to_owned(), name: relation.name.clone() };
    let elsewhere = WITHOUT_ROWS.iter().find(|(engine, _)| engine.eq_ignore_ascii_case(&relation.engine));
    if let Some((_, why)) = elsewhere {
        warnings.push(format!("{table} is dumped without rows ({}): {why}", relation.engine));
    }
    // Before 10.11 no server took rows of the past, and none takes transaction numbers.
    let has_times = relation.columns.iter().all(|column| !column.period || column.data_type == "timestamp");
    let history = relation.kind == RelationKind::Versioned && has_times && reader.gives_history();
    if relation.kind == RelationKind::Versioned && !history {
        warnings.push(format!("{table} is dumped as it is now, without its former rows"));
    }
    if is_second && relation.engine.eq_ignore_ascii_case("MEMORY") {
        warnings.push(format!("{table} is dumped without rows (MEMORY): they are in no snapshot"));
    }
    let key = relation
        .key
        .clone()
        .filter(|key| relation.columns.iter().any(|column| column.name == *key && column.is_whole_number()));
    let has_period = relation.columns.iter().any(|column| column.period);
    let mut columns: Vec<Column> =
        relation.columns.into_iter().filter(|column| !column.generated && (history || !column.period)).collect();
    if history && !has_period {
        let hidden = |name: &str| Column {
            name: name.to_owned(),
            data_type: "timestamp".to_owned(),
            generated: false,
            period: true,
            row_end: name == ROW_END,
            counted: false,
        };
        columns.extend(PERIOD.map(hidden));
    }
    Ok(TableContents {
        definition: reader.table(&table, relation.kind)?,
        file: names.of(&table.name),
        table,
        engine: relation.engine,
        columns,
        history,
        has_rows: elsewhere.is_none(),
        key,
        bytes: relation.bytes,
    })
}

fn sequence(reader: &mut Reader, schema: &str, relation: Relation) -> anyhow::Result<Object> {
    let sequence = Table { schema: schema.to_owned(), name: relation.name.clone() };
    let text = reader.table(&sequence, relation.kind)?;
    Ok(Object {
        kind: ObjectKind::Sequence,
        name: relation.name,
        table: None,
        definition: Definition { text, ..Definition::default() },
        value: Some(reader.sequence_value(&sequence)?),
    })
}

/// Stored programs, where the whole database is meant; triggers with their tables.
fn programs(reader: &mut Reader, schema: &str, options: &Options, cancel: &Cancel) -> anyhow::Result<Vec<Object>> {
    let mut objects = Vec::new();
    let mut add = |reader: &mut Reader, kind, what: &str, name: String, table| -> anyhow::Result<()> {
        cancel.check()?;
        let definition = reader.definition(what, schema, &name)?;
        objects.push(Object { kind, name, table, definition, value: None });
        Ok(())
    };
    if options.selection.has_all_of(schema) {
        for routine in reader.routines(schema)? {
            add(reader, ObjectKind::Routine, &routine.about, routine.name, None)?;
        }
        for event in reader.events(schema)? {
            add(reader, ObjectKind::Event, "EVENT", event.name, None)?;
        }
    }
    for trigger in reader.triggers(schema)? {
        if options.selection.has(schema, &trigger.about) {
            add(reader, ObjectKind::Trigger, "TRIGGER", trigger.name, Some(trigger.about))?;
        }
    }
    Ok(objects)
}
