//! What an increment goes on from, and whether the archive leads from there to its end.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::Incremental;
use crate::binlog::{Closed, Home, Identity, Piece, Standing, Start, Timeline, locate};
use crate::drill::Drills;
use crate::fault::{Fault, Kind};
use crate::id::RunId;
use crate::server::{BinlogPosition, Exactness};
use crate::store::{Backup, Catalog, FileEntry, Method, Store};
use crate::sys::units::human_duration;

/// A timer does not start at the same second each week: so much earlier is in time too.
const EARLY: Duration = Duration::from_secs(15 * 60);

/// Why a full backup is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// There is no good one yet.
    NoBase,
    /// The newest one is this old.
    Old(RunId, Duration),
    /// The newest one did not come back in a drill.
    DrillFailed(RunId, String),
    /// Nothing can be replayed onto the newest one.
    NoPosition(RunId, String),
    /// The archive does not lead on from it.
    Broken(RunId, String),
}

impl Because {
    /// Whether somebody should look.
    pub fn is_alarm(&self) -> bool {
        matches!(self, Self::DrillFailed(..) | Self::NoPosition(..) | Self::Broken(..))
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBase => f.write_str("there is no full backup to go on from"),
            Self::Old(base, age) => write!(f, "full backup {base} is {} old (full_every)", human_duration(*age)),
            Self::DrillFailed(base, why) => write!(f, "full backup {base} did not come back in a drill: {why}"),
            Self::NoPosition(base, why) => write!(f, "nothing can be replayed onto backup {base}: {why}"),
            Self::Broken(base, why) => write!(f, "no restore can go on from backup {base}: {why}"),
        }
    }
}

/// The backups that an increment goes on from.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) base: &'a Backup,
    /// The newest of the chain; the base where there is no increment yet.
    pub(super) previous: &'a Backup,
    /// Where the base stands.
    stands: &'a BinlogPosition,
}

/// What leads from the base to the end of the archive.
#[derive(Debug)]
pub(super) struct Way<'a> {
    pub(super) timeline: &'a Timeline,
    pub(super) from: BinlogPosition,
    pub(super) to: BinlogPosition,
    /// What earlier increments have.
    pub(super) earlier: Vec<Piece<'a>>,
    /// What none of them has.
    pub(super) own: Vec<Piece<'a>>,
}

impl<'a> Chain<'a> {
    /// That of the newest good full backup in `catalog`.
    pub(super) fn of(catalog: &'a Catalog, how: &Incremental, now: Timestamp) -> Result<Self, Because> {
        let base = catalog.good().next().ok_or(Because::NoBase)?;
        let manifest = &base.manifest;
        let id = || manifest.id.clone();
        let off = || Because::NoPosition(id(), "the binary log was off".to_owned());
        let stands = manifest.position.binlog.as_ref().ok_or_else(off)?;
        if let Exactness::NotExact(why) = &manifest.position.exact {
            return Err(Because::NoPosition(id(), format!("its position is not exact: {why}")));
        }
        let age = Duration::try_from(now.duration_since(manifest.taken())).unwrap_or_default();
        if age + EARLY >= how.full_every {
            return Err(Because::Old(id(), age));
        }
        let of_the_chain = |backup: &&Backup| {
            let increment = backup.manifest.increment.as_ref();
            increment.is_some_and(|i| i.base == manifest.id && i.archive == how.archive)
        };
        Ok(Self { base, previous: catalog.increments().find(of_the_chain).unwrap_or(base), stands })
    }

    /// What brings nothing back alone brings nothing back with an increment. Where nobody can say what drills came to,
    /// one may have failed.
    pub(super) fn failed_a_drill(&self, drills: anyhow::Result<Drills>) -> Option<Because> {
        let id = &self.base.manifest.id;
        let why = match drills {
            Ok(drills) => drills.of_backup(id)?.failure.clone()?,
            Err(error) => return Some(self.broken(&error)),
        };
        Some(Because::DrillFailed(id.clone(), why))
    }

    /// A dump that left something out is no base: the log has the changes of everything. Only one of all has the
    /// accounts.
    pub(super) fn begins_with_a_part(&self, store: &dyn Store) -> anyhow::Result<Option<Because>> {
        let manifest = &self.base.manifest;
        let is_accounts = |file: &FileEntry| file.path.as_bytes() == b"accounts.sql";
        if manifest.method != Method::Dump || self.base.files(store)?.iter().any(is_accounts) {
            return Ok(None);
        }
        Ok(Some(Because::NoPosition(manifest.id.clone(), "it is a dump of a part".to_owned())))
    }

    /// Where the next increment begins.
    pub(super) fn from(&self) -> &'a BinlogPosition {
        self.previous.manifest.increment.as_ref().map_or(self.stands, |increment| &increment.to)
    }

    pub(super) fn broken(&self, error: &anyhow::Error) -> Because {
        Because::Broken(self.base.manifest.id.clone(), format!("{error:#}"))
    }

    /// The way to the end of the archive.
    ///
    /// # Errors
    /// `Gap` or `Verify` where there is none.
    pub(super) fn way<'c>(&self, home: &Home, closed: &'c Closed) -> anyhow::Result<Way<'c>> {
        let timeline = self.timeline(home, closed)?;
        let newest = closed.timeline()?;
        if timeline.id != newest.id {
            let because = newest.because.as_deref().unwrap_or("the archive began anew");
            return Err(Fault::new(Kind::Gap, format!("a new timeline begins: {because}")).into());
        }
        let servers = [&timeline.server.key, &Identity::of(&self.base.manifest.server).key];
        if servers.iter().any(|key| **key != closed.server.key) {
            let message = format!(
                "the server is another one: {}, not {}",
                closed.server.key,
                servers.map(String::as_str).join(", ")
            );
            return Err(Fault::new(Kind::Gap, message).into());
        }
        let (from, to) = (self.from(), closed.end()?.end());
        let path = |from| closed.index.path(Some(&timeline.id), &Start::Position(from), Some(&to));
        let own: Vec<Piece<'c>> = path(from)?.into_iter().filter(|piece| piece.from < piece.to).collect();
        let mut earlier = path(self.stands)?;
        earlier.truncate(earlier.len().saturating_sub(own.len()));
        Ok(Way { timeline, from: from.clone(), to, earlier, own })
    }

    fn timeline<'c>(&self, home: &Home, closed: &'c Closed) -> anyhow::Result<&'c Timeline> {
        let manifest = &self.base.manifest;
        let Some(increment) = &self.previous.manifest.increment else {
            let gtids = manifest.position.gtid_set.as_deref();
            return locate(home, &closed.index, Standing { position: self.stands, gtids, at: manifest.taken() });
        };
        let known = closed.index.timelines.iter().find(|timeline| timeline.id == increment.timeline);
        known.ok_or_else(|| {
            Fault::new(Kind::Gap, format!("the archive has no timeline {} any more", increment.timeline)).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::dump::Compression;
    use crate::store::{Item, Manifest, Slot, State};

    const BASE: &[u8] = include_bytes!("../../../tests/data/manifest-1.json");
    const INCREMENT: &[u8] = include_bytes!("../../../tests/data/manifest-increment-1.json");

    fn item(bytes: &[u8], change: impl FnOnce(&mut Manifest)) -> Item {
        let mut manifest = Manifest::decode(bytes).unwrap();
        change(&mut manifest);
        let slot = Slot { job: manifest.job.clone(), id: manifest.id.clone(), state: State::Finished };
        Item::Good(Box::new(Backup { slot, manifest, twin_damaged: None }))
    }

    fn how(archive: &str) -> Incremental {
        let binlog = crate::binlog::Request {
            server: crate::server::Access::default(),
            engine: crate::server::LogEngine::Auto,
            spool: None,
            home: Home::new("/nowhere"),
            compression: Compression::Zstd,
            sync_interval: Duration::from_secs(1),
        };
        Incremental { archive: archive.parse().unwrap(), binlog, full_every: Duration::from_secs(7 * 86_400) }
    }

    #[test]
    fn a_chain_goes_on_from_its_newest_increment_until_its_base_is_old() {
        let taken = Manifest::decode(BASE).unwrap().taken();
        let catalog = Catalog { items: vec![item(INCREMENT, |_| {}), item(BASE, |_| {})], leftovers: Vec::new() };
        let after = |hours: i64| Chain::of(&catalog, &how("shop"), taken + SignedDuration::from_hours(hours));
        assert_eq!(after(5).unwrap().from().file, "binlog.000008");
        assert!(matches!(after(7 * 24).unwrap_err(), Because::Old(..)));
        let almost = taken + SignedDuration::from_hours(7 * 24) - SignedDuration::from_mins(10);
        assert!(Chain::of(&catalog, &how("shop"), almost).is_err(), "a timer that starts a bit early");
        assert!(after(-3).is_ok(), "a clock that was put back");
        let elsewhere = Chain::of(&catalog, &how("other"), taken).unwrap();
        assert_eq!(elsewhere.from(), elsewhere.stands, "another archive has none of the chain");
    }

    #[test]
    fn what_nothing_can_be_replayed_onto_is_no_base() {
        let of = |change: fn(&mut Manifest)| {
            let catalog = Catalog { items: vec![item(BASE, change)], leftovers: Vec::new() };
            Chain::of(&catalog, &how("shop"), Manifest::decode(BASE).unwrap().taken()).map(|_| ()).unwrap_err()
        };
        let because = of(|manifest| manifest.position.exact = Exactness::NotExact("rows may be missing".into()));
        assert!(because.is_alarm() && because.to_string().contains("rows may be missing"), "{because}");
        assert!(of(|manifest| manifest.position.binlog = None).to_string().contains("the binary log was off"));
        let nothing = Chain::of(&Catalog::default(), &how("shop"), Timestamp::UNIX_EPOCH).map(|_| ()).unwrap_err();
        assert!(nothing == Because::NoBase && !nothing.is_alarm());
    }
}
