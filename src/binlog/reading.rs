//! Events put together to what was done: statements, and the rows that a transaction changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::bytes::Bytes;
use super::event::{HEADER, Header, Kind};
use super::gtid::Gtid;
use super::rows::{self, Change, Rows, Table};
use super::statement::{self, Statement};
use super::unpack;
use super::walk::Event;

/// What was found: a statement, or the rows of one table that one transaction changed in one way and in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// When, as the server says.
    pub time: Option<Timestamp>,
    /// What was done: `drop`, `insert`, …
    pub kind: String,
    /// The first event of it.
    pub event: String,
    /// Where that event begins.
    pub offset: u64,
    /// Where the last event of it ends.
    pub end: u64,
    /// How many events there are.
    pub events: u64,
    /// The transaction, where it has a name.
    pub gtid: Option<String>,
    /// The database.
    pub database: String,
    /// The table of rows.
    pub table: Option<String>,
    /// How many rows; none for statements, and where it can't be told.
    pub rows: Option<u64>,
    /// The statement; of rows where the server logs it.
    pub statement: Option<String>,
    /// Where its transaction begins: a replay that ends here has all before it and nothing of it.
    pub stop_before: u64,
}

/// The kind of what could not be unpacked, or is too large for it.
pub const NOT_LOOKED_INTO: &str = "not looked into";

/// With the statement as it was parsed, where it is one.
#[derive(Debug)]
pub struct Matched(pub Found, pub Option<Statement>);

/// Events of one file, put together to what was done.
#[derive(Debug, Default)]
pub struct Reading {
    /// Where the transaction begins.
    begins: Option<u64>,
    /// Whether it goes on until something ends it.
    is_long: bool,
    gtid: Option<Gtid>,
    tables: BTreeMap<u64, Table>,
    annotation: Option<String>,
    /// Rows to which the next event may add.
    rows: Option<(u64, Change, Found)>,
    found: Vec<Matched>,
}

/// Where an event stands: those within a compressed transaction stand where that does.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    end: u64,
    whole: bool,
}

impl Reading {
    /// Takes in the next event.
    pub fn add(&mut self, event: &Event) {
        let place = Place { offset: event.offset, end: event.end(), whole: event.is_whole() };
        self.take(&event.header, &event.body, place);
    }

    /// What was found so far and is complete.
    pub fn drain(&mut self) -> Vec<Matched> {
        std::mem::take(&mut self.found)
    }

    /// Takes in the body of an event of `kind`, wherever it comes from.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn look_into(&mut self, kind: Kind, body: &[u8]) {
        let header = Header { timestamp: 1, kind, server_id: 1, size: 0, flags: 0 };
        self.take(&header, body, Place { offset: 4, end: 4, whole: true });
    }

    fn take(&mut self, header: &Header, body: &[u8], place: Place) {
        match header.kind {
            kind if kind.begins_a_transaction() => {
                self.end_transaction();
                self.begins = Some(place.offset);
                self.gtid = Gtid::of(header, body);
                self.is_long = kind == Kind::MARIADB_GTID && body.get(12).is_some_and(|flags| flags & 1 == 0);
            }
            Kind::QUERY | Kind::QUERY_COMPRESSED => self.statement(header, body, place),
            Kind::XID | Kind::XA_PREPARE => self.end_transaction(),
            Kind::TRANSACTION_PAYLOAD => self.payload(header, body, place),
            Kind::ANNOTATE_ROWS | Kind::ROWS_QUERY => {
                self.end_rows();
                self.begins = self.begins.or(Some(place.offset));
                self.annotation = statement::of_rows(header.kind, body);
            }
            Kind::TABLE_MAP => {
                self.begins = self.begins.or(Some(place.offset));
                self.tables.extend(Table::parse(body).map(|table| (table.id, table)));
            }
            Kind::INTVAR | Kind::RAND | Kind::USER_VAR => self.begins = self.begins.or(Some(place.offset)),
            _ => self.rows(header, body, place),
        }
    }

    fn end_transaction(&mut self) {
        self.end_rows();
        (self.begins, self.is_long, self.gtid) = (None, false, None);
        self.tables.clear();
        self.annotation = None;
    }

    fn end_rows(&mut self) {
        self.found.extend(self.rows.take().map(|(_, _, found)| Matched(found, None)));
    }

    fn statement(&mut self, header: &Header, body: &[u8], place: Place) {
        self.end_rows();
        let Some(statement) = Statement::of(header.kind, body) else { return self.unread(header, place) };
        if statement.begins_a_transaction() {
            self.begins = self.begins.or(Some(place.offset));
            self.is_long = true;
            return;
        }
        if statement.ends_a_transaction() {
            return self.end_transaction();
        }
        let mut found = self.new_found(header, place, statement.verb());
        found.database.clone_from(&statement.database);
        found.statement = Some(statement.text.clone());
        self.found.push(Matched(found, Some(statement)));
        if !self.is_long {
            self.end_transaction();
        }
    }

    fn unread(&mut self, header: &Header, place: Place) {
        let found = self.new_found(header, place, NOT_LOOKED_INTO.to_owned());
        self.found.push(Matched(found, None));
    }

    fn new_found(&self, header: &Header, place: Place, kind: String) -> Found {
        Found {
            time: Timestamp::from_second(header.timestamp.into()).ok(),
            kind,
            event: header.kind.to_string(),
            offset: place.offset,
            end: place.end,
            events: 1,
            gtid: self.gtid.as_ref().map(Gtid::to_string),
            database: String::new(),
            table: None,
            rows: None,
            statement: None,
            stop_before: self.begins.unwrap_or(place.offset),
        }
    }

    fn rows(&mut self, header: &Header, body: &[u8], place: Place) {
        let Some(Rows { table, change, .. }) = Rows::of(header.kind, body) else { return };
        let known = self.tables.get(&table);
        let count = known.filter(|_| place.whole).and_then(|table| rows::count(header.kind, body, table));
        if let Some((last, how, found)) = &mut self.rows
            && (*last, *how) == (table, change)
        {
            found.rows = found.rows.zip(count).map(|(rows, more)| rows + more);
            found.events += 1;
            found.end = place.end;
            return;
        }
        let names = known.map(|table| (table.database.clone(), table.name.clone()));
        self.end_rows();
        let mut found = self.new_found(header, place, change.verb().to_owned());
        (found.database, found.table) = names.map(|(database, name)| (database, Some(name))).unwrap_or_default();
        (found.rows, found.statement) = (count, self.annotation.clone());
        self.rows = Some((table, change, found));
    }

    /// Events one after the other, without checksums.
    fn payload(&mut self, header: &Header, body: &[u8], place: Place) {
        let Some(events) = unpack::payload(body).filter(|_| place.whole) else { return self.unread(header, place) };
        let mut bytes = Bytes(&events);
        while let Some(header) = bytes.array::<HEADER>().and_then(|head| Header::parse(&head)) {
            let length = (header.size as usize).checked_sub(HEADER);
            let Some(body) = length.and_then(|length| bytes.take(length)) else { return };
            // One within another would have no end.
            if header.kind != Kind::TRANSACTION_PAYLOAD {
                self.take(&header, body, place);
            }
        }
    }

    /// Everything that was done.
    pub fn finish(mut self) -> Vec<Matched> {
        self.end_transaction();
        self.found
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::summary::Summary;
    use super::super::summary::tests::{beginning, event};
    use super::*;

    pub(crate) fn query(text: &[u8]) -> Vec<u8> {
        event(Kind::QUERY, 2000, &[&[0; 8][..], &[4, 0, 0, 0, 0], b"shop\0", text].concat())
    }

    pub(crate) fn map() -> Vec<u8> {
        let body = [&[9, 0, 0, 0, 0, 0, 1, 0][..], b"\x04shop\0", b"\x01t\0", &[1, 3, 0, 0]].concat();
        event(Kind::TABLE_MAP, 2000, &body)
    }

    pub(crate) fn deleted(rows: usize) -> Vec<u8> {
        let images = [0, 1, 0, 0, 0].repeat(rows);
        event(Kind(32), 2000, &[&[9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1][..], &images].concat())
    }

    pub(crate) fn gtid(number: u8) -> Vec<u8> {
        event(Kind::GTID, 2000, &[&[0][..], &[0xab; 16], &[number, 0, 0, 0, 0, 0, 0, 0]].concat())
    }

    pub(crate) fn read(parts: &[Vec<u8>]) -> (Vec<Matched>, Vec<u64>) {
        let (mut reading, mut offsets) = (Reading::default(), Vec::new());
        let bytes = [beginning(), parts.concat()].concat();
        Summary::walk(&bytes[..], |event| {
            offsets.push(event.offset);
            reading.add(event);
        })
        .unwrap();
        (reading.finish(), offsets)
    }

    #[test]
    fn the_place_to_stop_is_before_the_transaction() {
        let xid = event(Kind::XID, 2000, &[0; 8]);
        let parts = [
            gtid(1),
            query(b"BEGIN"),
            map(),
            deleted(3),
            deleted(2),
            xid,
            gtid(2),
            query(b"DROP TABLE t"),
            query(b"DROP TABLE u"),
        ];
        let (found, offsets) = read(&parts);
        let told: Vec<_> =
            found.iter().map(|Matched(f, _)| (f.kind.as_str(), f.rows, f.events, f.stop_before)).collect();
        let expected =
            [("delete", Some(5), 2, offsets[1]), ("drop", None, 1, offsets[7]), ("drop", None, 1, offsets[9])];
        assert_eq!(told, expected);
        assert_eq!((found[0].0.offset, found[1].0.offset), (offsets[4], offsets[8]));
        assert!(found[1].0.gtid.as_ref().unwrap().ends_with(":2") && found[2].0.gtid.is_none());
    }

    #[test]
    fn what_can_not_be_unpacked_is_told_of() {
        let (found, offsets) = read(&[gtid(1), event(Kind::TRANSACTION_PAYLOAD, 2000, &[2, 1, 0, 3, 1, 9, 0, 1])]);
        let [Matched(found, None)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((found.kind.as_str(), found.stop_before), (NOT_LOOKED_INTO, offsets[1]));
    }

    #[test]
    fn a_distributed_transaction_is_one() {
        for start in [&b"XA START 'x'"[..], b"XA BEGIN 'x'"] {
            let parts = [gtid(1), query(start), map(), deleted(1), query(b"XA END 'x'"), map(), deleted(2)];
            let (found, offsets) = read(&parts);
            let last = &found.last().unwrap().0;
            assert_eq!((last.kind.as_str(), last.rows, last.stop_before), ("delete", Some(2), offsets[1]));
            assert!(last.gtid.as_ref().unwrap().ends_with(":1"));
            assert_eq!(found[0].0.stop_before, offsets[1]);
        }
    }

    #[test]
    fn a_compressed_transaction_is_looked_into() {
        let plain = |with: Vec<u8>| {
            let mut without = with[..with.len() - 4].to_vec();
            let size = u32::try_from(without.len()).unwrap();
            without[9..13].copy_from_slice(&size.to_le_bytes());
            without
        };
        let events = [query(b"BEGIN"), map(), deleted(4), event(Kind::XID, 2000, &[0; 8])].map(plain).concat();
        let packed = zstd::bulk::compress(&events, 3).unwrap();
        let length = u8::try_from(events.len()).ok().filter(|length| *length < 251).unwrap();
        let body = [&[2, 1, 0, 3, 1, length, 0][..], &packed].concat();
        let (found, offsets) = read(&[gtid(1), event(Kind::TRANSACTION_PAYLOAD, 2000, &body)]);
        let [Matched(found, _)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((found.kind.as_str(), found.rows, found.stop_before), ("delete", Some(4), offsets[1]));
        assert_eq!(found.offset, offsets[2]);
    }
}
