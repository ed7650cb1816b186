//! Statements as files: for the server's own client, and by their place for us.

use std::collections::HashSet;

use jiff::Timestamp;

use super::index::{AccountText, Column, DatabaseIndex, Index, ObjectText, TableIndex, Text};
use super::survey::{Contents, DatabaseContents, Object, TableContents};
use super::{Compression, ObjectKind, Part, view_order};
use crate::server::statements;
use crate::sys::cmd::quote;

/// A file of statements.
pub(super) struct Sheet {
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    delimiter: String,
}

impl Sheet {
    /// A file that will hold `texts`: none of them has its delimiter.
    pub(super) fn new(path: String, title: &str, taken: Timestamp, texts: &[&[u8]]) -> Self {
        let delimiter = delimiter(texts);
        let begin = format!(
            "-- {title}, as of {taken}\n{};\nDELIMITER {delimiter}\n",
            statements::LOAD.split_whitespace().collect::<Vec<_>>().join(" ")
        );
        Self { path, bytes: begin.into_bytes(), delimiter }
    }

    pub(super) fn add(&mut self, statement: &[u8]) -> Text {
        let text = Text { file: self.path.clone(), at: self.bytes.len() as u64, length: statement.len() as u64 };
        self.bytes.extend_from_slice(statement);
        self.bytes.extend_from_slice(format!(" {}\n", self.delimiter).as_bytes());
        text
    }

    fn comment(&mut self, text: &str) {
        for line in text.lines() {
            self.bytes.extend_from_slice(format!("-- {line}\n").as_bytes());
        }
    }
}

/// What has a server take the rows of `table` from its client's standard input.
fn load_by_hand(table: &TableContents, columns: &[Column]) -> String {
    let counted = table.columns.iter().find(|column| column.counted).map(|column| column.name.as_str());
    let taken: Vec<_> = columns.iter().map(Column::taken).collect();
    let load = statements::load(&table.table.schema, &table.table.name, &taken, counted);
    let load = load.replacen("'mysnap'", "'/dev/stdin'", 1);
    let history = if table.history { format!("{}; ", statements::WITH_HISTORY) } else { String::new() };
    format!("{}; {history}{load}", statements::LOAD_BY_HAND)
}

/// What ends a statement and is in none of `texts`. The servers' clients take no more than 15 characters of it: where
/// dollar signs alone would be too many, a number between two is.
fn delimiter(texts: &[&[u8]]) -> String {
    const MOST: usize = 15;
    let runs = texts.iter().flat_map(|text| text.split(|byte| *byte != b'$')).map(<[u8]>::len);
    let dollars = runs.max().map_or(2, |longest| (longest + 1).max(2));
    if dollars <= MOST {
        return "$".repeat(dollars);
    }
    let pieces = texts.iter().flat_map(|text| text.split(|byte| *byte == b'$'));
    let taken: HashSet<u32> = pieces.filter_map(|piece| std::str::from_utf8(piece).ok()?.parse().ok()).collect();
    let free = (0..=u32::MAX).find(|number| !taken.contains(number)).unwrap_or_default();
    format!("${free}$")
}

/// The index, and every file of statements. `parts` are those of each table.
pub(super) fn written(
    contents: &Contents,
    parts: Vec<Vec<Part>>,
    compression: Compression,
    taken: Timestamp,
) -> (Index, Vec<Sheet>) {
    let (mut index, mut sheets, mut parts) = (Index::new(compression), Vec::new(), parts.into_iter());
    for database in &contents.databases {
        let (tables, sheet) = tables(database, &mut parts, compression, taken);
        sheets.push(sheet);
        let mut objects = Vec::new();
        for kind in
            [ObjectKind::Sequence, ObjectKind::Routine, ObjectKind::View, ObjectKind::Trigger, ObjectKind::Event]
        {
            if let Some((more, sheet)) = objects_of(database, kind, taken) {
                objects.extend(more);
                sheets.push(sheet);
            }
        }
        index.databases.push(DatabaseIndex {
            name: database.database.name.clone(),
            charset: database.database.charset.clone(),
            collation: database.database.collation.clone(),
            tables,
            objects,
        });
    }
    if !contents.accounts.is_empty() {
        let (accounts, sheet) = accounts(contents, taken);
        index.accounts = accounts;
        sheets.push(sheet);
    }
    (index, sheets)
}

fn tables(
    database: &DatabaseContents,
    parts: &mut impl Iterator<Item = Vec<Part>>,
    compression: Compression,
    taken: Timestamp,
) -> (Vec<TableIndex>, Sheet) {
    let title = format!("the tables of database {:?}", database.database.name);
    let texts: Vec<&[u8]> = database.tables.iter().map(|table| table.definition.as_slice()).collect();
    let mut sheet = Sheet::new(format!("{}/tables.sql", database.directory), &title, taken, &texts);
    let mut tables = Vec::new();
    for (table, parts) in database.tables.iter().zip(parts) {
        let name = &table.table;
        let columns: Vec<Column> = table
            .columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                text: column.is_made_of_text(),
                enumeration: column.data_type == "enum",
                row_end: table.history && column.row_end,
            })
            .collect();
        if !parts.is_empty() {
            let by_hand = quote(&load_by_hand(table, &columns));
            let rows = format!("{} {}.*.tsv*", compression.unpacker(), table.file);
            sheet.comment(&format!("rows: {rows} | CLIENT --local-infile -e {by_hand}"));
        }
        tables.push(TableIndex {
            name: name.name.clone(),
            engine: table.engine.clone(),
            definition: sheet.add(&table.definition),
            rows: parts.iter().map(|part| part.rows).sum(),
            history: table.history,
            columns,
            parts,
        });
    }
    (tables, sheet)
}

fn objects_of(database: &DatabaseContents, kind: ObjectKind, taken: Timestamp) -> Option<(Vec<ObjectText>, Sheet)> {
    let mut chosen: Vec<&Object> = database.objects.iter().filter(|object| object.kind == kind).collect();
    if chosen.is_empty() {
        return None;
    }
    if kind == ObjectKind::View {
        let views: Vec<_> = chosen.iter().map(|view| (view.name.as_str(), view.definition.text.as_slice())).collect();
        chosen = view_order::order(&views).into_iter().filter_map(|n| chosen.get(n).copied()).collect();
    }
    let title = format!("the {}s of database {:?}", kind.name(), database.database.name);
    let texts: Vec<&[u8]> = chosen.iter().map(|object| object.definition.text.as_slice()).collect();
    let mut sheet = Sheet::new(format!("{}/{}s.sql", database.directory, kind.name()), &title, taken, &texts);
    let mut objects = Vec::new();
    for Object { name, table, definition, value, .. } in chosen {
        if let Some(settings) = statements::as_stored(&definition.settings) {
            sheet.add(settings.as_bytes());
        }
        let usual = &database.database.collation;
        let other = definition.settings.database.as_ref().filter(|collation| *collation != usual);
        let default = |collation: &String| statements::default_collation(None, collation).into_bytes();
        other.map(|collation| sheet.add(&default(collation)));
        let text = sheet.add(&definition.text);
        other.map(|_| sheet.add(&default(usual)));
        if let Some(value) = value {
            sheet.add(statements::restart_sequence(&database.database.name, name, value).as_bytes());
        }
        objects.push(ObjectText {
            kind,
            name: name.clone(),
            text,
            table: table.clone(),
            settings: definition.settings.clone(),
            value: value.clone(),
            broken: definition.broken,
        });
    }
    Some((objects, sheet))
}

fn accounts(contents: &Contents, taken: Timestamp) -> (Vec<AccountText>, Sheet) {
    let texts = contents.accounts.iter().flat_map(|account| account.statements.iter().map(Vec::as_slice));
    let texts: Vec<&[u8]> = texts.collect();
    let mut sheet = Sheet::new("accounts.sql".to_owned(), "accounts and roles", taken, &texts);
    let accounts = contents.accounts.iter().map(|account| AccountText {
        name: account.name.clone(),
        statements: account.statements.iter().map(|statement| sheet.add(statement)).collect(),
    });
    (accounts.collect(), sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_never_longer_than_the_clients_take() {
        let dollars = "$".repeat(1 << 20);
        assert_eq!(delimiter(&[b"SELECT 1"]), "$$");
        assert_eq!(delimiter(&["$".repeat(14).as_bytes()]), "$".repeat(15));
        assert_eq!(delimiter(&[dollars.as_bytes()]), "$0$");
        assert_eq!(delimiter(&[dollars.as_bytes(), b"$0$1$ $3$"]), "$2$");
    }

    #[test]
    fn the_delimiter_is_in_no_statement_and_each_is_found_again() {
        let texts: [&[u8]; 2] = [b"CREATE PROCEDURE a() SELECT '$$', '$$$'", b"SELECT 1"];
        let mut sheet = Sheet::new("x.sql".into(), "test", Timestamp::UNIX_EPOCH, &texts);
        assert_eq!(sheet.delimiter, "$$$$");
        for text in texts {
            let place = sheet.add(text);
            let (at, length) = (usize::try_from(place.at).unwrap(), usize::try_from(place.length).unwrap());
            assert_eq!(&sheet.bytes[at..at + length], text);
        }
        assert!(sheet.bytes.ends_with(b"SELECT 1 $$$$\n"));
    }
}
