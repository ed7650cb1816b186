//! Where transactions begin and end in a file: a replay can stop between two of them and nowhere else.

use jiff::Timestamp;

use super::bytes::Bytes;
use super::event::Kind;
use super::gtid::Gtid;
use super::statement::Statement;
use super::walk::Event;

/// A transaction, or a statement that is one by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Where its first event begins.
    pub begin: u64,
    /// Where its last one ends.
    pub end: u64,
    /// The latest time that it has: of MySQL from 8.0 on the moment of its commit to the microsecond, else the second
    /// in which its last statement began.
    pub time: Option<Timestamp>,
    /// Its name.
    pub gtid: Option<Gtid>,
}

/// Finds the transactions of one file, event by event.
#[derive(Debug, Default)]
pub struct Transactions {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    so_far: Transaction,
    /// Whether it goes on until something ends it.
    is_long: bool,
    /// Whether the time is that of the commit.
    is_timed: bool,
}

enum Effect {
    Goes,
    GoesLong,
    Ends,
}

impl Transactions {
    /// Takes in the next event; the transaction that it ends.
    pub fn add(&mut self, event: &Event) -> Option<Transaction> {
        let kind = event.header.kind;
        if kind.begins_a_transaction() {
            self.open = Some(Open::named(event));
            return None;
        }
        if self.open.is_none() && begins_without_a_name(kind) {
            self.open = Some(Open::at(event));
        }
        let open = self.open.as_mut()?;
        open.so_far.end = event.end();
        if !open.is_timed {
            open.so_far.time = open.so_far.time.max(time(event));
        }
        match effect(kind, &event.body, open.is_long) {
            Effect::Goes => None,
            Effect::GoesLong => {
                open.is_long = true;
                None
            }
            Effect::Ends => self.open.take().map(|open| open.so_far),
        }
    }

    /// Where the transaction begins that has not ended yet.
    pub fn unfinished(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.so_far.begin)
    }
}

impl Open {
    fn at(event: &Event) -> Self {
        let so_far = Transaction { begin: event.offset, end: event.end(), time: time(event), gtid: None };
        Self { so_far, is_long: false, is_timed: false }
    }

    fn named(event: &Event) -> Self {
        let Self { so_far, .. } = Self::at(event);
        let kind = event.header.kind;
        let committed = commit_time(kind, &event.body);
        Self {
            is_timed: committed.is_some(),
            is_long: kind == Kind::MARIADB_GTID && event.body.get(12).is_some_and(|flags| flags & STANDALONE == 0),
            so_far: Transaction {
                time: committed.or(so_far.time),
                gtid: Gtid::of(&event.header, &event.body),
                ..so_far
            },
        }
    }
}

/// MariaDB's flag of a group that has no end of its own.
const STANDALONE: u8 = 1;
/// LOAD DATA as a statement.
const BEGIN_LOAD_QUERY: Kind = Kind(17);
const EXECUTE_LOAD_QUERY: Kind = Kind(18);

/// Before MySQL 5.7 nothing stands before a transaction without a GTID.
fn begins_without_a_name(kind: Kind) -> bool {
    [
        Kind::QUERY,
        Kind::INTVAR,
        Kind::RAND,
        Kind::USER_VAR,
        Kind::ROWS_QUERY,
        Kind::TABLE_MAP,
        BEGIN_LOAD_QUERY,
        Kind::TRANSACTION_PAYLOAD,
    ]
    .contains(&kind)
}

fn effect(kind: Kind, body: &[u8], is_long: bool) -> Effect {
    match kind {
        Kind::XID | Kind::XA_PREPARE | Kind::TRANSACTION_PAYLOAD => Effect::Ends,
        Kind::QUERY | Kind::QUERY_COMPRESSED => match Statement::of(kind, body) {
            Some(statement) if statement.begins_a_transaction() => Effect::GoesLong,
            Some(statement) if statement.ends_a_transaction() || statement.completes_xa() => Effect::Ends,
            _ if is_long => Effect::Goes,
            _ => Effect::Ends,
        },
        EXECUTE_LOAD_QUERY if !is_long => Effect::Ends,
        _ => Effect::Goes,
    }
}

fn time(event: &Event) -> Option<Timestamp> {
    let seconds = event.header.timestamp;
    Timestamp::from_second(seconds.into()).ok().filter(|_| seconds > 0)
}

/// The moment of the commit on the server that wrote the log, in microseconds: behind the logical clock, which has a
/// type of its own, from MySQL 8.0.1 on. The highest bit of its seven bytes says that another time follows.
fn commit_time(kind: Kind, body: &[u8]) -> Option<Timestamp> {
    const LOGICAL_CLOCK: u8 = 2;
    const MICROSECONDS: u64 = (1 << 55) - 1;
    if kind != Kind::GTID && kind != Kind::ANONYMOUS_GTID {
        return None;
    }
    let mut bytes = Bytes(body);
    bytes.take(1 + 16 + 8)?;
    if bytes.u8()? != LOGICAL_CLOCK {
        return None;
    }
    bytes.take(8 + 8)?;
    let microseconds = bytes.little(7)? & MICROSECONDS;
    Timestamp::from_microsecond(i64::try_from(microseconds).ok()?).ok().filter(|_| microseconds > 0)
}

#[cfg(test)]
mod tests {
    use super::super::reading::tests::{deleted, gtid, map, query};
    use super::super::summary::Summary;
    use super::super::summary::tests::{beginning, event};
    use super::*;

    fn found(events: &[Vec<u8>]) -> (Vec<(u64, u64)>, Option<u64>) {
        let bytes = [&[beginning()][..], events].concat().concat();
        let (mut transactions, mut found) = (Transactions::default(), Vec::new());
        Summary::walk(&bytes[..], |event| found.extend(transactions.add(event).map(|t| (t.begin, t.end)))).unwrap();
        (found, transactions.unfinished())
    }

    /// Where each event ends.
    fn ends(events: &[Vec<u8>]) -> Vec<u64> {
        let mut at = beginning().len();
        events.iter().map(|event| (at += event.len(), at as u64).1).collect()
    }

    #[test]
    fn a_transaction_is_all_from_its_name_to_its_end() {
        let events = [
            gtid(1),
            query(b"BEGIN"),
            map(),
            deleted(3),
            event(Kind::XID, 2001, &[0; 8]),
            gtid(2),
            query(b"DROP TABLE t"),
            event(Kind::ROTATE, 2001, b"\x04\0\0\0\0\0\0\0b.000002"),
        ];
        let begin = beginning().len() as u64;
        let at = ends(&events);
        assert_eq!(found(&events), (vec![(begin, at[4]), (at[4], at[6])], None));
        assert_eq!(found(&events[..4]), (vec![], Some(begin)), "what has no end is none");
        let unnamed = [query(b"BEGIN"), query(b"INSERT"), query(b"COMMIT"), event(Kind::INTVAR, 1, b""), query(b"x")];
        let at = ends(&unnamed);
        assert_eq!(found(&unnamed), (vec![(begin, at[2]), (at[2], at[4])], None));
    }

    #[test]
    fn a_distributed_transaction_is_two() {
        let events = [
            gtid(1),
            query(b"XA START X'61',X'',1"),
            map(),
            deleted(1),
            query(b"XA END X'61',X'',1"),
            event(Kind::XA_PREPARE, 2001, &[0; 13]),
            gtid(2),
            query(b"XA COMMIT X'61',X'',1"),
        ];
        let at = ends(&events);
        assert_eq!(found(&events).0, [(beginning().len() as u64, at[5]), (at[5], at[7])]);
    }

    #[test]
    fn mysql_says_when_it_committed() {
        let clock = [&[2][..], &[0; 16]].concat();
        let microseconds = 1_795_000_000_123_456_u64.to_le_bytes();
        let body = [&[0; 25][..], &clock, &microseconds[..7], &[0; 4]].concat();
        let time = commit_time(Kind::GTID, &body).unwrap();
        assert_eq!(time.as_microsecond(), 1_795_000_000_123_456);
        assert_eq!(commit_time(Kind::GTID, &body[..30]), None);
        assert_eq!(commit_time(Kind::MARIADB_GTID, &body), None);
    }
}
