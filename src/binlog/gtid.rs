//! Transactions by name, of both families, and sets of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::bytes::Bytes;
use super::event::{Header, Kind};
use super::ranges::Ranges;

/// The name of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gtid {
    /// Of MySQL: `uuid:number`, or `uuid:tag:number`.
    MySql {
        /// Where it comes from.
        source: Source,
        /// Its number there.
        number: u64,
    },
    /// Of MariaDB: `domain-server-number`.
    MariaDb {
        /// The domain.
        domain: u32,
        /// The server.
        server: u32,
        /// Its number in the domain.
        number: u64,
    },
}

/// Where transactions of MySQL come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    uuid: [u8; 16],
    tag: String,
}

impl Gtid {
    /// The one that an event begins, where it begins one with a name.
    pub fn of(header: &Header, body: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(body);
        match header.kind {
            Kind::GTID => {
                bytes.u8()?;
                let source = Source { uuid: bytes.array()?, tag: String::new() };
                Some(Self::MySql { source, number: bytes.u64()? })
            }
            Kind::GTID_TAGGED => tagged(bytes),
            Kind::MARIADB_GTID => {
                let number = bytes.u64()?;
                Some(Self::MariaDb { domain: bytes.u32()?, server: header.server_id, number })
            }
            _ => None,
        }
    }
}

/// Fields of MySQL's serialization library, each behind its number.
fn tagged(mut bytes: Bytes<'_>) -> Option<Gtid> {
    let (_version, _size, _last) = (bytes.variable()?, bytes.variable()?, bytes.variable()?);
    field(&mut bytes, 0)?;
    let _flags = bytes.variable()?;
    field(&mut bytes, 1)?;
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = bytes.variable()?.try_into().ok()?;
    }
    field(&mut bytes, 2)?;
    // A signed number: the lowest bit is its sign.
    let number = bytes.variable().filter(|number| number & 1 == 0)?;
    field(&mut bytes, 3)?;
    let tag = tag(&mut bytes)?;
    Some(Gtid::MySql { source: Source { uuid, tag }, number: number >> 1 })
}

/// A tag behind its length; empty where there is none.
fn tag(bytes: &mut Bytes<'_>) -> Option<String> {
    let length = bytes.variable()?;
    let tag = std::str::from_utf8(bytes.take_counted(length)?).ok()?;
    is_tag(tag).then(|| tag.to_owned())
}

/// Whether MySQL gives such tags; each range of a set has a copy of its own.
fn is_tag(tag: &str) -> bool {
    const LONGEST: usize = 32;
    let begins = |c: char| c.is_ascii_lowercase() || c == '_';
    let plain = tag.chars().all(|c| begins(c) || c.is_ascii_digit()) && (tag.is_empty() || tag.starts_with(begins));
    plain && tag.len() <= LONGEST
}

fn field(bytes: &mut Bytes<'_>, number: u64) -> Option<()> {
    (bytes.variable()? == number).then_some(())
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.uuid.iter().enumerate() {
            let dash = if [4, 6, 8, 10].contains(&n) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        if self.tag.is_empty() { Ok(()) } else { write!(f, ":{}", self.tag) }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql { source, number } => write!(f, "{source}:{number}"),
            Self::MariaDb { domain, server, number } => write!(f, "{domain}-{server}-{number}"),
        }
    }
}

impl FromStr for Gtid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a GTID; allowed: \"uuid:number\" or \"domain-server-number\"");
        let set: GtidSet = text.parse().map_err(|_: String| wrong())?;
        set.only().ok_or_else(wrong)
    }
}

/// A set of transactions: of MySQL ranges of numbers, of MariaDB the last number of each server in each domain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidSet {
    mysql: BTreeMap<Source, Ranges>,
    mariadb: BTreeMap<(u32, u32), u64>,
}

impl GtidSet {
    /// The one that a file begins with, where `kind` is an event that says so.
    pub fn of(kind: Kind, body: &[u8]) -> Option<Self> {
        match kind {
            Kind::PREVIOUS_GTIDS => previous(Bytes(body)),
            Kind::MARIADB_GTID_LIST => list(Bytes(body)),
            _ => None,
        }
    }

    /// Adds a transaction.
    pub fn add(&mut self, gtid: &Gtid) {
        match gtid {
            Gtid::MySql { source, number } => self.add_range(source.clone(), (*number, *number)),
            Gtid::MariaDb { domain, server, number } => {
                self.mariadb.insert((*domain, *server), *number);
            }
        }
    }

    fn add_range(&mut self, source: Source, (first, last): (u64, u64)) {
        self.mysql.entry(source).or_default().add(first, last);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.mysql.is_empty() && self.mariadb.is_empty()
    }

    /// Whether everything of `other` is in it.
    pub fn has_all(&self, other: &Self) -> bool {
        let has_ranges = |(source, ranges): (&Source, &Ranges)| {
            let own = self.mysql.get(source);
            ranges.iter().all(|(first, last)| own.is_some_and(|own| own.has(first, last)))
        };
        other.mysql.iter().all(has_ranges)
            && other.mariadb.iter().all(|(place, number)| self.mariadb.get(place).is_some_and(|own| own >= number))
    }

    /// The same where of MariaDB one server's last number may stand for its whole domain, as in `gtid_binlog_pos`.
    pub fn reaches(&self, other: &Self) -> bool {
        let mut highest: BTreeMap<u32, u64> = BTreeMap::new();
        for ((domain, _), number) in &self.mariadb {
            let known = highest.entry(*domain).or_insert(*number);
            *known = (*known).max(*number);
        }
        let reached = |((domain, _), number): (&(u32, u32), &u64)| highest.get(domain) >= Some(number);
        let mysql = Self { mysql: other.mysql.clone(), mariadb: BTreeMap::new() };
        self.has_all(&mysql) && other.mariadb.iter().all(reached)
    }

    /// Adds everything of `other`.
    pub fn join(&mut self, other: &Self) {
        for (source, ranges) in &other.mysql {
            let own = self.mysql.entry(source.clone()).or_default();
            ranges.iter().for_each(|(first, last)| own.add(first, last));
        }
        self.mariadb.extend(&other.mariadb);
    }

    /// Takes away the transactions of MariaDB that are `unwanted`.
    pub fn remove_if(&mut self, unwanted: &dyn Fn(&Gtid) -> bool) {
        self.mariadb.retain(|(domain, server), number| {
            !unwanted(&Gtid::MariaDb { domain: *domain, server: *server, number: *number })
        });
    }

    /// Whether a log in which this was executed up to a place may be that of a server which told `recorded` there. A
    /// server may know of more than its log has: what it was told to take for executed, what it replicated without
    /// logging it.
    pub fn agrees_with(&self, recorded: &Self) -> bool {
        let mysql = Self { mysql: self.mysql.clone(), mariadb: BTreeMap::new() };
        let same = |(place, number): (&(u32, u32), &u64)| self.mariadb.get(place).is_none_or(|own| own == number);
        recorded.has_all(&mysql) && recorded.mariadb.iter().all(same)
    }

    fn only(&self) -> Option<Gtid> {
        let mut mysql = self.mysql.iter().flat_map(|(source, ranges)| ranges.iter().map(move |range| (source, range)));
        let mut mariadb = self.mariadb.iter();
        match (mysql.next(), mysql.next(), mariadb.next(), mariadb.next()) {
            (Some((source, (first, last))), None, None, _) if first == last => {
                Some(Gtid::MySql { source: source.clone(), number: first })
            }
            (None, _, Some(((domain, server), number)), None) => {
                Some(Gtid::MariaDb { domain: *domain, server: *server, number: *number })
            }
            _ => None,
        }
    }
}

/// The eighth byte tells two forms apart; the newer one has a tag behind each uuid.
fn previous(mut bytes: Bytes<'_>) -> Option<GtidSet> {
    let head: [u8; 8] = bytes.array()?;
    let [_, middle @ .., form] = head;
    let tags = form == 1;
    let sources = if tags { Bytes(&middle).little(6)? } else { u64::from_le_bytes(head) };
    let mut set = GtidSet::default();
    for _ in 0..sources {
        let uuid = bytes.array()?;
        let tag = if tags { tag(&mut bytes)? } else { String::new() };
        for _ in 0..bytes.u64()? {
            let (first, end) = (bytes.u64()?, bytes.u64()?);
            let last = end.checked_sub(1).filter(|last| *last >= first)?;
            set.add_range(Source { uuid, tag: tag.clone() }, (first, last));
        }
    }
    Some(set)
}

/// The highest four bits of the count are flags.
fn list(mut bytes: Bytes<'_>) -> Option<GtidSet> {
    let mut set = GtidSet::default();
    for _ in 0..bytes.u32()? & 0x0fff_ffff {
        let (domain, server) = (bytes.u32()?, bytes.u32()?);
        set.add(&Gtid::MariaDb { domain, server, number: bytes.u64()? });
    }
    Some(set)
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (source, ranges) in &self.mysql {
            write!(f, "{separator}{source}")?;
            for (first, last) in ranges.iter() {
                if first == last { write!(f, ":{first}")? } else { write!(f, ":{first}-{last}")? }
            }
            separator = ",";
        }
        for ((domain, server), number) in &self.mariadb {
            write!(f, "{separator}{domain}-{server}-{number}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl From<&Gtid> for GtidSet {
    fn from(gtid: &Gtid) -> Self {
        let mut set = Self::default();
        set.add(gtid);
        set
    }
}

impl FromStr for GtidSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let read = if part.contains(':') { set.read_mysql(part) } else { set.read_mariadb(part) };
            read.ok_or_else(|| format!("{part:?} is not a set of GTIDs"))?;
        }
        Ok(set)
    }
}

impl GtidSet {
    fn read_mysql(&mut self, text: &str) -> Option<()> {
        let (uuid, rest) = text.split_once(':')?;
        let mut source = Source { uuid: read_uuid(uuid)?, tag: String::new() };
        for piece in rest.split(':') {
            if piece.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                source.tag = Some(piece.to_ascii_lowercase()).filter(|tag| is_tag(tag))?;
                continue;
            }
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then(|| self.add_range(source.clone(), (first, last)))?;
        }
        Some(())
    }

    fn read_mariadb(&mut self, text: &str) -> Option<()> {
        let mut parts = text.splitn(3, '-');
        let (domain, server) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        self.add(&Gtid::MariaDb { domain, server, number: parts.next()?.parse().ok()? });
        Some(())
    }
}

fn read_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let whole = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(&digits, 16).ok().filter(|_| whole).map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "071a4ecc-1bf9-11f1-a838-e6dd1807d029";

    fn header(kind: Kind) -> Header {
        Header { timestamp: 1, kind, server_id: 7, size: 100, flags: 0 }
    }

    fn uuid() -> [u8; 16] {
        read_uuid(UUID).unwrap()
    }

    #[test]
    fn a_transaction_is_named_by_its_first_event() {
        let mysql = [&[1][..], &uuid(), &9_u64.to_le_bytes(), &[2; 20]].concat();
        assert_eq!(Gtid::of(&header(Kind::GTID), &mysql).unwrap().to_string(), format!("{UUID}:9"));
        assert_eq!(Gtid::of(&header(Kind::ANONYMOUS_GTID), &mysql), None);
        let mariadb = [&300_u64.to_le_bytes()[..], &2_u32.to_le_bytes(), &[0; 7]].concat();
        assert_eq!(Gtid::of(&header(Kind::MARIADB_GTID), &mariadb).unwrap().to_string(), "2-7-300");
    }

    #[test]
    fn a_log_agrees_with_what_its_server_told() {
        let agrees =
            |log: &str, told: &str| log.parse::<GtidSet>().unwrap().agrees_with(&told.parse::<GtidSet>().unwrap());
        let uuid = UUID;
        assert!(agrees(&format!("{uuid}:1-9"), &format!("{uuid}:1-9")));
        assert!(agrees(&format!("{uuid}:5-9"), &format!("{uuid}:1-9")), "purged before there was a log");
        assert!(!agrees(&format!("{uuid}:1-10"), &format!("{uuid}:1-9")));
        assert!(agrees("0-1-5,0-2-9", "0-2-9") && agrees("", "0-2-9"));
        assert!(!agrees("0-1-5,0-2-10", "0-2-9") && !agrees("0-2-8", "0-2-9"));
    }

    /// Made by hand from the description of the serialization library.
    #[test]
    fn a_tagged_transaction_is_named_too() {
        let mut body = vec![2, 0x60, 0, 0, 2, 2];
        for byte in uuid() {
            // A byte from 128 on takes two.
            let wide = [((byte & 0x3f) << 2) | 1, byte >> 6];
            body.extend_from_slice(if byte < 128 { &wide[..0] } else { &wide[..] });
            if byte < 128 {
                body.push(byte << 1);
            }
        }
        body.extend_from_slice(&[4, 5 << 2, 6, 3 << 1, b'a', b'b', b'c', 8, 0]);
        assert_eq!(Gtid::of(&header(Kind::GTID_TAGGED), &body).unwrap().to_string(), format!("{UUID}:abc:5"));
        assert_eq!(Gtid::of(&header(Kind::GTID_TAGGED), &body[..20]), None);
    }

    #[test]
    fn what_was_executed_before_a_file_is_read_in_each_form() {
        let interval = |first: u64, end: u64| [first.to_le_bytes(), end.to_le_bytes()].concat();
        let (one, two) = (1_u64.to_le_bytes(), 2_u64.to_le_bytes());
        let classic = [&one[..], &uuid(), &two, &interval(1, 10), &interval(12, 13)].concat();
        let set = GtidSet::of(Kind::PREVIOUS_GTIDS, &classic).unwrap();
        assert_eq!(set.to_string(), format!("{UUID}:1-9:12"));
        let tagged = [
            &[1, 2, 0, 0, 0, 0, 0, 1][..],
            &uuid(),
            &[0],
            &one,
            &interval(1, 3),
            &uuid(),
            &[6],
            b"tag",
            &one,
            &interval(1, 2),
        ];
        let set = GtidSet::of(Kind::PREVIOUS_GTIDS, &tagged.concat()).unwrap();
        assert_eq!(set.to_string(), format!("{UUID}:1-2,{UUID}:tag:1"));
        assert_eq!(GtidSet::of(Kind::PREVIOUS_GTIDS, &classic[..30]), None);
        let number = |number: u32| number.to_le_bytes();
        let list = [&number(1)[..], &number(0), &number(7), &300_u64.to_le_bytes()].concat();
        assert_eq!(GtidSet::of(Kind::MARIADB_GTID_LIST, &list).unwrap().to_string(), "0-7-300");
    }

    #[test]
    fn a_set_knows_what_it_lacks() {
        let set = |text: &str| text.parse::<GtidSet>().unwrap();
        let own = set(&format!("{UUID}:1-9:12"));
        assert!(own.has_all(&set(&format!("{UUID}:2-3:12"))));
        assert!(!own.has_all(&set(&format!("{UUID}:9-10"))));
        assert!(set("0-1-5,0-2-3").has_all(&set("0-1-5")));
        assert!(set("0-2-7").reaches(&set("0-1-5,0-2-7")) && !set("0-2-7").has_all(&set("0-1-5")));
        assert!(!set("0-2-7").reaches(&set("0-1-8")) && !set("0-2-7").reaches(&set("1-1-1")));
        assert!(!set("0-1-5").has_all(&set("0-1-6")) && !set("0-1-5").has_all(&set("1-1-1")));
        let mut grown = own.clone();
        for number in [11, 10] {
            grown.add(&format!("{UUID}:{number}").parse().unwrap());
        }
        assert_eq!(grown.to_string(), format!("{UUID}:1-12"));
        for text in ["1-2", "x-1-2", "zz:1", "0-1-5,0-1-6,0-2-1", ""] {
            assert!(text.parse::<Gtid>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_set_is_read_back(numbers in proptest::collection::vec((0_u64..40, 0_u8..3), 0..30), servers in 0_u32..3) {
            let mut set = GtidSet::default();
            for (number, tag) in numbers {
                let tag = if tag == 0 { String::new() } else { format!("t{tag}") };
                set.add(&Gtid::MySql { source: Source { uuid: [9; 16], tag }, number });
            }
            for server in 0..servers {
                set.add(&Gtid::MariaDb { domain: server, server, number: 7 });
            }
            proptest::prop_assert_eq!(set.to_string().parse::<GtidSet>(), Ok(set));
        }
    }
}
