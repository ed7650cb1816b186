//! What a binary log holds, gathered while it is walked over.

use std::io::Read;

use jiff::Timestamp;

use super::event::{self, Format, Kind};
use super::gtid::{Gtid, GtidSet};
use super::walk::{Broken, Event, Step, Walker};
use crate::store::Sha256;

/// What the events so far say of their file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Where the last whole event ends; 0 before the first one.
    pub end: u64,
    /// How many events there are.
    pub events: u64,
    /// How they are written.
    pub format: Option<Format>,
    /// The digest of the first one without its in-use flag.
    pub fingerprint: Option<Sha256>,
    /// The server that wrote the file.
    pub server_id: u32,
    /// The times of the first and the last event.
    pub times: Option<(Timestamp, Timestamp)>,
    /// What was executed before the file, where it says so.
    pub before: Option<GtidSet>,
    /// The same with what it holds.
    pub after: GtidSet,
    /// The first and the last transaction with a name.
    pub named: Option<(Gtid, Gtid)>,
    /// How the file ends.
    pub ending: Option<Ending>,
    /// Where the server says that it lost events.
    pub incident: Option<u64>,
}

/// An event after which there is none in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The log goes on in this file.
    Rotated(String),
    /// The server was shut down.
    Stopped,
}

impl Summary {
    /// Takes in the next event of `walker`.
    pub fn add<R: Read>(&mut self, event: &Event, walker: &Walker<R>) {
        if event.header.kind == Kind::FORMAT_DESCRIPTION {
            self.format = walker.format().cloned();
            self.fingerprint = walker.fingerprint();
            self.server_id = event.header.server_id;
        }
        self.end = event.end();
        self.events += 1;
        self.add_time(event.header.timestamp);
        if let Some(set) = GtidSet::of(event.header.kind, &event.body) {
            self.after = set.clone();
            self.before = Some(set);
        }
        if let Some(gtid) = Gtid::of(&event.header, &event.body) {
            self.after.add(&gtid);
            let first = self.named.take().map_or_else(|| gtid.clone(), |(first, _)| first);
            self.named = Some((first, gtid));
        }
        if event.header.kind == Kind::INCIDENT {
            self.incident = self.incident.or(Some(event.offset));
        }
        self.ending = match event.header.kind {
            Kind::ROTATE => event::next_file(&event.body).map(Ending::Rotated),
            Kind::STOP => Some(Ending::Stopped),
            _ => None,
        };
    }

    /// Whether the file was rotated away in order.
    pub fn is_rotated(&self) -> bool {
        matches!(self.ending, Some(Ending::Rotated(_)))
    }

    /// Whether nothing more comes in the file: rotated away, or the server was shut down.
    pub fn has_ended(&self) -> bool {
        self.ending.is_some()
    }

    /// What the server says that is missing in the file.
    pub fn lost(&self) -> Option<String> {
        self.incident.map(|at| format!("the server says at {at} that it lost events (an incident)"))
    }

    fn add_time(&mut self, seconds: u32) {
        let Some(time) = Timestamp::from_second(seconds.into()).ok().filter(|_| seconds > 0) else { return };
        self.times = Some(self.times.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
    }

    /// Walks over all of `from`; `each` sees every event. How the walk ended.
    pub fn walk<R: Read>(from: R, mut each: impl FnMut(&Event)) -> std::io::Result<(Self, Stop)> {
        let (mut summary, mut walker) = (Self::default(), Walker::new(from));
        loop {
            let stop = match walker.step()? {
                Step::Event(event) => {
                    summary.add(&event, &walker);
                    each(&event);
                    continue;
                }
                Step::End => Stop::End,
                Step::Torn(at) => Stop::Torn(at),
                Step::Broken(at, why) => Stop::Broken(at, why),
            };
            return Ok((summary, stop));
        }
    }
}

/// How a walk over a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Behind a whole event.
    End,
    /// Within one that begins here.
    Torn(u64),
    /// Before something that is none.
    Broken(u64, Broken),
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::binlog::event::{CHECKSUM, HEADER, IN_USE, IN_USE_AT, MAGIC};

    /// An event as a server writes it, with a checksum; made by hand from the documented format.
    pub(crate) fn event(kind: Kind, timestamp: u32, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(HEADER + body.len() + CHECKSUM).unwrap();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&timestamp.to_le_bytes());
        bytes.push(kind.0);
        bytes.extend_from_slice(&7_u32.to_le_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(body);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        bytes.extend_from_slice(&crc.sum().to_le_bytes());
        bytes
    }

    /// The beginning of a file of MySQL 9.7.
    pub(crate) fn beginning() -> Vec<u8> {
        let mut body = vec![4, 0];
        body.extend_from_slice(b"9.7.4");
        body.resize(2 + 50 + 4, 0);
        body.push(19);
        body.extend_from_slice(&[0; 42]);
        body.push(1);
        [&MAGIC[..], &event(Kind::FORMAT_DESCRIPTION, 1000, &body)].concat()
    }

    fn gtid(number: u64) -> Vec<u8> {
        event(Kind::GTID, 1001, &[&[0][..], &[0xab; 16], &number.to_le_bytes(), &[0; 17]].concat())
    }

    fn file() -> Vec<u8> {
        let previous =
            [&1_u64.to_le_bytes()[..], &[0xab; 16], &1_u64.to_le_bytes(), &1_u64.to_le_bytes(), &5_u64.to_le_bytes()];
        let rotate = [&4_u64.to_le_bytes()[..], b"binlog.000008"].concat();
        [
            beginning(),
            event(Kind::PREVIOUS_GTIDS, 1000, &previous.concat()),
            gtid(5),
            event(Kind(199), 0, b"nobody has heard of it"),
            gtid(6),
            event(Kind::ROTATE, 1003, &rotate),
        ]
        .concat()
    }

    #[test]
    fn the_sample_is_made_of_these_events() {
        assert!(include_bytes!("../../tests/data/binlog/mysql-9.7-by-hand.000007")[..] == file());
    }

    fn walked(bytes: &[u8]) -> (Summary, Stop) {
        Summary::walk(bytes, |_| {}).unwrap()
    }

    #[test]
    fn a_file_says_what_it_holds() {
        let bytes = file();
        let (summary, stop) = walked(&bytes);
        assert_eq!((stop, summary.end, summary.events), (Stop::End, bytes.len() as u64, 6));
        let uuid = "abababab-abab-abab-abab-abababababab";
        assert_eq!(summary.before.unwrap().to_string(), format!("{uuid}:1-4"));
        assert_eq!(summary.after.to_string(), format!("{uuid}:1-6"));
        assert_eq!(summary.named.map(|(first, last)| format!("{first} {last}")), Some(format!("{uuid}:5 {uuid}:6")));
        assert_eq!(summary.ending, Some(Ending::Rotated("binlog.000008".into())));
        let seconds = summary.times.map(|(first, last)| (first.as_second(), last.as_second()));
        assert_eq!(seconds, Some((1000, 1003)));
    }

    #[test]
    fn an_incident_is_named() {
        let start = beginning();
        let (summary, stop) = walked(&[start.clone(), event(Kind::INCIDENT, 1001, &[1, 0, 0])].concat());
        assert_eq!(stop, Stop::End);
        assert!(summary.lost().unwrap().contains(&format!("at {} ", start.len())));
        assert_eq!(walked(&start).0.lost(), None);
    }

    #[test]
    fn the_in_use_flag_changes_nothing() {
        let mut bytes = file();
        let closed = walked(&bytes);
        bytes[usize::try_from(IN_USE_AT).unwrap()] |= IN_USE;
        assert_eq!(walked(&bytes), closed);
    }

    #[test]
    fn a_file_cut_anywhere_ends_behind_its_last_whole_event() {
        let bytes = file();
        let mut ends = vec![];
        let (_, _) = Summary::walk(&bytes[..], |event| ends.push(event.end())).unwrap();
        for cut in 0..bytes.len() {
            let (summary, stop) = walked(&bytes[..cut]);
            let last = ends.iter().copied().filter(|end| *end <= cut as u64).max().unwrap_or(0);
            assert_eq!(summary.end, last, "{cut}");
            let is_end = last == cut as u64 && cut > 0 || cut == MAGIC.len();
            assert_eq!(stop == Stop::End, is_end, "{cut}: {stop:?}");
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let bytes = file();
        let whole = walked(&bytes);
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            if at != usize::try_from(IN_USE_AT).unwrap() * 8 {
                assert_ne!(walked(&flipped), whole, "bit {at}");
                assert_ne!(walked(&flipped).1, Stop::End, "bit {at}");
            }
        }
    }

    #[test]
    fn what_is_no_log_is_named() {
        let broken = |bytes: &[u8]| match walked(bytes).1 {
            Stop::Broken(_, why) => why.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(broken(b"#!/bin/sh"), "it is no binary log");
        assert_eq!(broken(b"\xfdbin and so on"), "it is encrypted");
        let encrypted = [beginning(), event(Kind::START_ENCRYPTION, 1000, &[1; 17])].concat();
        assert_eq!(broken(&encrypted), "it is encrypted");
        // As MariaDB hands one out that it has decrypted.
        let mut ignorable = event(Kind::START_ENCRYPTION, 1000, &[1; 17]);
        ignorable[17] = 0x80;
        let checksum_at = ignorable.len() - CHECKSUM;
        let mut crc = flate2::Crc::new();
        crc.update(&ignorable[..checksum_at]);
        ignorable[checksum_at..].copy_from_slice(&crc.sum().to_le_bytes());
        assert_eq!(walked(&[beginning(), ignorable].concat()).1, Stop::End);
        let huge = [beginning(), vec![1, 0, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(broken(&huge), "an event of 4294967295 bytes can't be");
        let zeros = [beginning(), vec![0; 64]].concat();
        assert_eq!(broken(&zeros), "an event of 0 bytes can't be");
        let headless = [&MAGIC[..], &gtid(1)].concat();
        assert!(broken(&headless).contains("first event"));
    }
}
