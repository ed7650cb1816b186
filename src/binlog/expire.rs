//! What of an archive no backup needs any more.
//!
//! Files go from the beginning of a timeline only, so that no hole is ever made, and only those that are closed, whose
//! last event is old enough, and that come before every place at which a backup of this server stands. What has gone is
//! decided durably first (`expired.json`): from then on the index says nothing of it, whoever
//! writes the index, and a removal that is cut short is finished by the next one.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::elsewhere;
use super::home::Home;
use super::index::{Index, LogFile, State, Timeline};
use crate::id::RunId;
use crate::server::BinlogPosition;
use crate::sys::durable;
use crate::sys::units::human_duration;

/// A backup that is there, as far as it may need an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Which one.
    pub id: RunId,
    /// Its server, as [`Identity::key`](super::Identity) has it; none where that can't be told: it may be any.
    pub server: Option<String>,
    /// When its run began.
    pub begin: Timestamp,
    /// Where it stands in the server's log.
    pub binlog: Option<BinlogPosition>,
    /// Whether it is proved.
    pub proved: bool,
}

/// What goes of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Why nothing goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Every timeline, oldest first; none where nothing goes.
    pub timelines: Vec<Decided>,
}

/// What goes of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Which one.
    pub id: String,
    /// The files that go, oldest first.
    pub files: Vec<String>,
    /// Their bytes, unpacked.
    pub bytes: u64,
    /// The first file that stays; none where all of the timeline goes.
    pub first: Option<String>,
    /// Why no more goes.
    pub why: String,
}

impl Plan {
    /// One by which nothing goes because of `why`.
    pub fn held(why: String) -> Self {
        Self { held: Some(why), timelines: Vec::new() }
    }

    /// How many files go.
    pub fn count(&self) -> usize {
        self.timelines.iter().map(|timeline| timeline.files.len()).sum()
    }

    /// The same plan with nothing going that does not go in `shown`.
    #[must_use]
    pub fn within(mut self, shown: &Self) -> Self {
        for one in &mut self.timelines {
            let agreed = shown.timelines.iter().find(|other| other.id == one.id);
            let is_agreed = |file: &&String| agreed.is_some_and(|agreed| agreed.files.contains(file));
            let count = one.files.iter().take_while(is_agreed).count();
            if let Some(first) = one.files.get(count) {
                one.first = Some(first.clone());
                one.files.truncate(count);
            }
        }
        self.timelines.retain(|one| !one.files.is_empty());
        self
    }
}

/// What goes of `index` at `now`, where `holders` are all backups that there are.
pub fn plan(index: &Index, holders: &[Holder], keep: Duration, now: Timestamp) -> Plan {
    if let Some(why) = held(index, holders, now) {
        return Plan::held(why);
    }
    let last = index.timelines.len().saturating_sub(1);
    let decide = |(n, timeline)| decided(timeline, n == last, &Needs { index, holders, keep, now });
    Plan { held: None, timelines: index.timelines.iter().enumerate().map(decide).collect() }
}

/// Why nothing at all goes.
fn held(index: &Index, holders: &[Holder], now: Timestamp) -> Option<String> {
    let Some(timeline) = index.timelines.last() else { return Some("it holds nothing yet".to_owned()) };
    if let Some(newest) = holders.iter().find(|holder| holder.begin > now) {
        return Some(format!("backup {} lies in the future", newest.id));
    }
    let events = timeline.files.iter().filter_map(|file| file.last_event);
    if events.max().is_some_and(|event| event > now) {
        return Some("its newest event lies in the future".to_owned());
    }
    let Some(newest) = timeline.windows().pop() else { return Some("its newest timeline is empty".to_owned()) };
    let leads = |holder: &&Holder| holder.proved && holder.is_of(timeline) && holder.stands_in(newest.files).is_some();
    if holders.iter().any(|holder| leads(&holder)) {
        return None;
    }
    Some(format!("no proved backup stands in the newest window, {newest}; take a full backup first"))
}

/// What is asked of a timeline.
struct Needs<'a> {
    index: &'a Index,
    holders: &'a [Holder],
    keep: Duration,
    now: Timestamp,
}

fn decided(timeline: &Timeline, is_last: bool, needs: &Needs<'_>) -> Decided {
    let files = &timeline.files;
    let (at, why) = needs.first_needed(timeline, is_last);
    let (going, staying) = files.split_at(at.min(files.len()));
    Decided {
        id: timeline.id.clone(),
        files: going.iter().map(|file| file.name.clone()).collect(),
        bytes: going.iter().map(|file| file.size).sum(),
        first: staying.first().map(|file| file.name.clone()),
        why,
    }
}

impl Needs<'_> {
    /// The number of the first file that stays, and why.
    fn first_needed(&self, timeline: &Timeline, is_last: bool) -> (usize, String) {
        let files = &timeline.files;
        let of_backups = self.holders.iter().filter(|holder| holder.may_need(timeline)).filter_map(|holder| {
            let at = self.needed_by(holder, timeline)?;
            Some((at, format!("backup {} needs what follows", holder.id)))
        });
        let young = files.iter().position(|file| !self.is_old(file));
        let young = young.map(|at| (at, format!("what follows is not older than {}", human_duration(self.keep))));
        let end = files.len().saturating_sub(usize::from(is_last));
        let end = (end, "no backup needs it, and it is old enough".to_owned());
        of_backups.chain(young).chain([end]).min_by_key(|(at, _)| *at).unwrap_or_default()
    }

    /// The first file that `holder` needs. One that stands in no file of the archive is believed to need all that was
    /// logged since it began.
    fn needed_by(&self, holder: &Holder, timeline: &Timeline) -> Option<usize> {
        if let Some(at) = holder.stands_in(&timeline.files) {
            return Some(at);
        }
        if self.index.timelines.iter().any(|other| holder.is_of(other) && holder.stands_in(&other.files).is_some()) {
            return None;
        }
        timeline.files.iter().position(|file| file.last_event.is_none_or(|event| event >= holder.begin))
    }

    fn is_old(&self, file: &LogFile) -> bool {
        let age = file.last_event.and_then(|event| Duration::try_from(self.now.duration_since(event)).ok());
        file.state != State::Open && age.is_some_and(|age| age > self.keep)
    }
}

impl Holder {
    fn is_of(&self, timeline: &Timeline) -> bool {
        self.server.as_ref().is_none_or(|key| *key == timeline.server.key)
    }

    /// MariaDB has no name but its host's, and a host can be renamed.
    fn may_need(&self, timeline: &Timeline) -> bool {
        self.is_of(timeline) || timeline.server.flavour.is_mariadb() && self.stands_in(&timeline.files).is_some()
    }

    /// The number of the file that it stands in: by its name, since the index may be some seconds behind the file.
    fn stands_in(&self, files: &[LogFile]) -> Option<usize> {
        let position = self.binlog.as_ref()?;
        files.iter().position(|file| file.name == position.file)
    }
}

/// Removes what goes. The files that stay are not touched, whatever happens.
pub fn execute(home: &Home, plan: &Plan) -> anyhow::Result<()> {
    if let Some(node) = home.node() {
        return elsewhere::expire(node, plan);
    }
    let _claim = home.lock_expiry()?;
    let mut expired = home.read_expired()?;
    for timeline in plan.timelines.iter().filter(|timeline| !timeline.files.is_empty()) {
        expired.raise(&timeline.id, timeline.first.as_deref());
    }
    if expired.is_empty() {
        return Ok(());
    }
    // From here on they are no part of the archive, and what is left of them is not missed.
    home.write_expired(&expired)?;
    for path in home.remains(&expired)? {
        durable::remove_file(&path)?;
    }
    home.forget_expired()
}

/// What was removed from the beginning of a timeline is told no more, and what follows begins it.
pub(super) fn begins_timeline(files: &mut [LogFile]) {
    if let Some(first) = files.first_mut() {
        (first.previous, first.gap) = (None, None);
    }
}

#[cfg(test)]
#[path = "expire_tests.rs"]
mod tests;
