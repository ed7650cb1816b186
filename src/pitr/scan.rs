//! Where a replay stops: found by reading every event on the way there, each with its checksum compared, and each
//! closed file with its digest.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::route::{Route, gap_after};
use super::stored::{Stored, broken_behind, damaged};
use super::target::{Point, Target};
use crate::binlog::event::{Checksums, Kind as Event};
use crate::binlog::gtid::{Gtid, GtidSet};
use crate::binlog::statement::Statement;
use crate::binlog::{Broken, Event as Logged, Home, Piece, State, Step, Summary, Transaction, Transactions, Walker};
use crate::fault::{Fault, Kind};
use crate::server::BinlogPosition;
use crate::store::Sha256;
use crate::sys::cancel::Cancel;

/// What is to be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Where it ends, between two transactions.
    pub stop: BinlogPosition,
    /// What is replayed of each file, in order. Nothing where the base stands at the stop.
    pub parts: Vec<Part>,
    /// Where the last transaction of it ends: behind it are events that nobody executes.
    pub last_end: Option<BinlogPosition>,
    /// How many transactions.
    pub transactions: u64,
    /// How many events.
    pub events: u64,
    /// How many changes are logged as statements, and executed once more: some functions give something else then.
    pub statements: u64,
    /// The earliest and the latest time of a transaction.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Their names.
    pub gtids: GtidSet,
    /// Of MariaDB the last one of each domain.
    pub last_of_domains: BTreeMap<u32, Gtid>,
    /// What became of a target that did not lie between two transactions.
    pub note: Option<String>,
    /// What is damaged behind the stop in its file: nothing of it is replayed.
    pub damage: Option<String>,
}

/// What is replayed of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub file: String,
    /// From this offset on.
    pub from: u64,
    /// Up to this offset.
    pub to: u64,
    /// What all of the file has been proved to be; none while the server writes it, and where it is damaged further on.
    pub sha256: Option<Sha256>,
}

impl Way {
    /// How many bytes of events.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.to - part.from).sum()
    }

    /// How much room the files take, each from its beginning on.
    pub fn room(&self) -> u64 {
        self.parts.iter().map(|part| part.to).sum()
    }

    /// How many bytes there are up to the end of the last transaction.
    pub(super) fn executed_bytes(&self) -> u64 {
        let Some(BinlogPosition { file, offset }) = &self.last_end else { return 0 };
        let before = self.parts.iter().take_while(|part| part.file != *file);
        let last = self.parts.iter().find(|part| part.file == *file).map_or(0, |part| offset - part.from);
        before.map(|part| part.to - part.from).sum::<u64>() + last
    }

    fn count(&mut self, file: &str, transaction: &Transaction, Counted { events, statements }: Counted) {
        self.last_end = Some(BinlogPosition { file: file.to_owned(), offset: transaction.end });
        self.transactions += 1;
        self.events += events;
        self.statements += statements;
        if let Some(time) = transaction.time {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
        if let Some(gtid) = &transaction.gtid {
            self.gtids.add(gtid);
            if let Gtid::MariaDb { domain, .. } = gtid {
                self.last_of_domains.insert(*domain, gtid.clone());
            }
        }
    }
}

/// Reads the way from where the base stands to the target.
///
/// # Errors
/// Where the target is not on the way, lies within a transaction, or the way can't be gone to its end.
pub fn scan(home: &Home, route: &Route<'_>, target: &Target, cancel: &Cancel) -> anyhow::Result<Way> {
    let mut way = Way {
        stop: route.start.clone(),
        parts: Vec::new(),
        last_end: None,
        transactions: 0,
        events: 0,
        statements: 0,
        times: None,
        gtids: GtidSet::default(),
        last_of_domains: BTreeMap::new(),
        note: None,
        damage: None,
    };
    for (n, piece) in route.pieces.iter().enumerate() {
        cancel.check()?;
        let earlier = way.last_end.clone();
        let mut file = File { piece, target, route, earlier, before: Vec::new(), unfinished: None };
        let (stop, sha256) = file.read(home, n == 0, &mut way)?;
        let to = stop.or_else(|| (n + 1 == route.pieces.len()).then(|| file.end(&mut way)));
        if let Some(to) = to {
            if stop.is_none() {
                refuse_beyond(target, route, &way)?;
            }
            way.add(piece, to, sha256);
            way.stop = BinlogPosition { file: piece.file.name.clone(), offset: to };
            return Ok(way);
        }
        way.add(piece, piece.to, sha256);
    }
    Ok(way)
}

impl Way {
    /// What has no events has nothing to be replayed.
    fn add(&mut self, piece: &Piece<'_>, to: u64, sha256: Option<Sha256>) {
        if to > piece.from {
            self.parts.push(Part { file: piece.file.name.clone(), from: piece.from, to, sha256 });
        }
    }
}

/// What a transaction has.
#[derive(Default)]
struct Counted {
    events: u64,
    statements: u64,
}

impl Counted {
    fn add(&mut self, event: &Logged) {
        self.events += 1;
        self.statements += u64::from(changes_rows(event));
    }
}

/// Whether it is a statement by which rows were changed: a SELECT too, where a function of it does.
fn changes_rows(event: &Logged) -> bool {
    let kind = event.header.kind;
    let is_change = |verb: &str| ["insert", "update", "delete", "replace", "select", "with", "do"].contains(&verb);
    [Event::QUERY, Event::QUERY_COMPRESSED].contains(&kind)
        && Statement::of(kind, &event.body).is_some_and(|statement| is_change(&statement.verb()))
}

/// A file on the way.
struct File<'a> {
    piece: &'a Piece<'a>,
    target: &'a Target,
    route: &'a Route<'a>,
    /// Where the last transaction ends that is in the files before it.
    earlier: Option<BinlogPosition>,
    /// Where events begin and end near the target's offset.
    before: Vec<u64>,
    unfinished: Option<u64>,
}

impl File<'_> {
    /// Where in it the replay stops, none where it goes through; and what all of it has been proved to be.
    fn read(&mut self, home: &Home, is_first: bool, way: &mut Way) -> anyhow::Result<(Option<u64>, Option<Sha256>)> {
        let mut stored = Stored::open(home, &self.route.timeline.id, self.piece.file)
            .map_err(|error| self.damaged(error, self.earlier.as_ref()))?;
        let mut walker = Walker::new(&mut stored);
        let stop = self.walk(&mut walker, is_first, way)?;
        if self.piece.file.state == State::Open {
            return Ok((stop, None));
        }
        let broken = stop.and_then(|_| broken_behind(&mut walker));
        let may_be_cut = has_checksums(&walker);
        drop(walker);
        if let (Some(why), true) = (&broken, may_be_cut) {
            // Each event up to the stop was compared with its own checksum.
            way.damage = Some(format!("{} behind the stop: {why}", self.piece.file.name));
            return Ok((stop, None));
        }
        let refuse = |why| self.damaged(why, self.earlier.as_ref());
        let digest = stored.digest().map_err(|error| refuse(error.into()))?;
        if self.piece.file.sha256 != Some(digest) {
            return Err(refuse(anyhow::anyhow!("its digest is {digest}")));
        }
        Ok((stop, Some(digest)))
    }

    fn walk(&mut self, walker: &mut Walker<&mut Stored>, is_first: bool, way: &mut Way) -> anyhow::Result<Option<u64>> {
        let (piece, route) = (self.piece, self.route);
        let (mut summary, mut transactions) = (Summary::default(), Transactions::default());
        let (mut begun, mut counted) = (!is_first, Counted::default());
        loop {
            let step = walker.step().map_err(|error| self.damaged(error, self.whole_before(walker, way)))?;
            let event = match step {
                Step::Event(event) if event.end() <= piece.to => event,
                Step::Event(_) => break,
                stop => {
                    self.refuse_cut(&stop, self.whole_before(walker, way))?;
                    break;
                }
            };
            if event.offset >= piece.from && !begun {
                refuse_other(route, event.offset, &summary)?;
                begun = true;
            }
            summary.add(&event, walker);
            if event.offset < piece.from {
                continue;
            }
            if event.header.kind == Event::INCIDENT {
                return Err(lost(&piece.file.name, event.offset).into());
            }
            self.note(event.offset);
            self.note(event.end());
            counted.add(&event);
            let Some(transaction) = transactions.add(&event) else { continue };
            if let Some(stop) = self.judge(&transaction, way)? {
                return Ok(Some(stop));
            }
            way.count(&piece.file.name, &transaction, std::mem::take(&mut counted));
            if self.is_reached_by(&transaction) {
                return Ok(Some(transaction.end));
            }
        }
        if !begun {
            refuse_other(route, summary.end, &summary)?;
        }
        self.unfinished = transactions.unfinished();
        self.at_the_end(summary.end, way)
    }

    /// Where the replay stops because of the next transaction, which is then left out.
    fn judge(&self, next: &Transaction, way: &mut Way) -> anyhow::Result<Option<u64>> {
        let Target { point, before } = self.target;
        match point {
            Point::Latest => Ok(None),
            Point::Time(time) => {
                let is_late = next.time.is_some_and(|at| if *before { at >= *time } else { at > *time });
                Ok(is_late.then_some(next.begin))
            }
            Point::Gtid(gtid) => Ok((*before && next.gtid.as_ref() == Some(gtid)).then_some(next.begin)),
            Point::Place(place) if place.file != self.piece.file.name => Ok(None),
            Point::Place(place) => self.judge_place(place, next, way),
        }
    }

    fn judge_place(&self, place: &BinlogPosition, next: &Transaction, way: &mut Way) -> anyhow::Result<Option<u64>> {
        let BinlogPosition { file, offset } = place;
        if next.end <= *offset {
            return Ok(None);
        }
        if next.begin >= *offset {
            self.refuse_within_an_event(*offset)?;
            return Ok(Some(next.begin));
        }
        if !self.target.before {
            let (begin, end) = (next.begin, next.end);
            let message = format!("{file}:{offset} lies within a transaction, which is never split");
            let hint = format!("it begins at {file}:{begin} and ends at {file}:{end}: stop at one of these");
            return Err(Fault::new(Kind::Refused, message).hint(hint).into());
        }
        way.note = Some(format!("{file}:{offset} lies within the transaction that begins at {file}:{}", next.begin));
        Ok(Some(next.begin))
    }

    fn is_reached_by(&self, transaction: &Transaction) -> bool {
        match &self.target.point {
            Point::Gtid(gtid) => transaction.gtid.as_ref() == Some(gtid),
            // What follows may be damaged.
            Point::Place(place) => place.file == self.piece.file.name && place.offset == transaction.end,
            Point::Latest | Point::Time(_) => false,
        }
    }

    /// Where the last transaction ends that can be had though something is wrong with the file.
    fn whole_before<'w>(&'w self, walker: &Walker<&mut Stored>, way: &'w Way) -> Option<&'w BinlogPosition> {
        // Without checksums nobody knows what else of it is wrong.
        if has_checksums(walker) { way.last_end.as_ref() } else { self.earlier.as_ref() }
    }

    fn damaged(&self, why: impl Into<anyhow::Error>, nearest: Option<&BinlogPosition>) -> anyhow::Error {
        damaged(&self.piece.file.name, why, nearest, self.route.backup.manifest.id.as_str())
    }

    /// The place that was asked for behind the last transaction of the file.
    fn at_the_end(&self, end: u64, way: &mut Way) -> anyhow::Result<Option<u64>> {
        let Point::Place(place) = &self.target.point else { return Ok(None) };
        if place.file != self.piece.file.name {
            return Ok(None);
        }
        match self.unfinished {
            Some(begin) if place.offset > begin && !self.target.before => Err(self.half_there(begin).into()),
            Some(begin) if place.offset > begin => {
                way.note = Some(format!("{}:{} lies within a transaction", place.file, place.offset));
                Ok(Some(begin))
            }
            _ => {
                self.refuse_within_an_event(place.offset.min(end))?;
                Ok(Some(place.offset.min(end)))
            }
        }
    }

    /// Where the last transaction ends of which everything is here.
    fn end(&self, way: &mut Way) -> u64 {
        if let Some(begin) = self.unfinished {
            way.note = Some(format!("the transaction at {}:{begin} is not archived to its end", self.piece.file.name));
        }
        self.unfinished.unwrap_or(self.piece.to)
    }

    fn half_there(&self, begin: u64) -> Fault {
        let file = &self.piece.file.name;
        let message = format!("the transaction at {file}:{begin} is not archived to its end");
        Fault::new(Kind::Gap, message).hint(format!("stop before it: --until {file}:{begin}"))
    }

    fn note(&mut self, offset: u64) {
        if matches!(&self.target.point, Point::Place(place) if place.offset == offset) {
            self.before.push(offset);
        }
    }

    fn refuse_within_an_event(&self, offset: u64) -> anyhow::Result<()> {
        if self.before.contains(&offset) || offset == self.piece.from {
            return Ok(());
        }
        let message = format!("{}:{offset} lies within an event", self.piece.file.name);
        Err(Fault::new(Kind::Refused, message).hint("`mysnap binlog find` prints places").into())
    }

    /// What ends a file before its end; the last event of an open one may be half there.
    fn refuse_cut(&self, stop: &Step, nearest: Option<&BinlogPosition>) -> anyhow::Result<()> {
        let file = &self.piece.file.name;
        let (at, why) = match stop {
            Step::Torn(at) if self.piece.file.state != State::Open => (at, "it ends within an event".to_owned()),
            Step::Broken(_, Broken::Encrypted) => {
                let message = format!("{file} is encrypted, as its server wrote it, and can't be replayed");
                return Err(Fault::new(Kind::Refused, message)
                    .hint("a backup of after the time at which encryption was switched off can be replayed onto")
                    .into());
            }
            Step::Broken(at, why) => (at, why.to_string()),
            Step::Event(_) | Step::End | Step::Torn(_) => return Ok(()),
        };
        Err(self.damaged(anyhow::anyhow!("it can't be read on at {at}: {why}"), nearest))
    }
}

fn has_checksums<R: std::io::Read>(walker: &Walker<R>) -> bool {
    walker.format().is_some_and(|format| format.checksums == Checksums::Crc32)
}

/// File names begin anew after a reset: the place of the base must be that of the base's own log.
fn refuse_other(route: &Route<'_>, offset: u64, summary: &Summary) -> anyhow::Result<()> {
    let recorded = route.backup.manifest.position.gtid_set.as_deref().and_then(|set| set.parse::<GtidSet>().ok());
    let agrees = recorded.is_none_or(|recorded| summary.after.agrees_with(&recorded));
    if offset == route.start.offset && agrees { Ok(()) } else { Err(elsewhere(route).into()) }
}

fn elsewhere(route: &Route<'_>) -> Fault {
    let BinlogPosition { file, offset } = &route.start;
    let (id, timeline) = (&route.backup.manifest.id, &route.timeline.id);
    let message = format!("{file}:{offset} of the timeline {timeline} is not where backup {id} stands");
    Fault::new(Kind::Gap, message).hint("the archive is of another server, or of another time of this one")
}

fn lost(file: &str, offset: u64) -> Fault {
    let message = format!("the server says at {file}:{offset} that it lost events (an incident)");
    Fault::new(Kind::Gap, message)
        .hint(format!("the nearest point before it is --until {file}:{offset}; a later backup leads to what follows"))
}

/// A target that the last file does not reach.
fn refuse_beyond(target: &Target, route: &Route<'_>, way: &Way) -> anyhow::Result<()> {
    let last = route.pieces.last();
    let end = last.map(|piece| format!("{}:{}", piece.file.name, piece.to)).unwrap_or_default();
    let latest = route.pieces.iter().filter_map(|piece| piece.file.last_event).max();
    let (message, until) = match &target.point {
        Point::Latest | Point::Place(_) => return Ok(()),
        Point::Time(time) if latest.is_some_and(|latest| latest > *time) => return Ok(()),
        Point::Time(time) => {
            let last = way.times.map_or_else(String::new, |(_, last)| format!(", with a transaction of {last}"));
            (format!("{time} is later than what is archived, which ends at {end}{last}"), "latest")
        }
        Point::Gtid(gtid) => (format!("there is no {gtid} between {} and {end}", route.told()), "latest"),
    };
    let gap = last.and_then(|piece| gap_after(route.timeline, &piece.file.name));
    let (message, until) = match gap {
        Some(gap) => (format!("{message} before a gap ({gap})"), end.as_str()),
        None => (message, until),
    };
    let hint = format!("the nearest point is its end: --until {until}; `mysnap binlog list` shows what there is");
    Err(Fault::new(Kind::Gap, message).hint(hint).into())
}
