//! A dump of the live server: every connection gets the same view under a short lock, then it is let go.

use std::time::{Duration, Instant};

use super::freeze::{self, Failed, Hold, Parts};
use super::manifest::{self, About, Evidence, Phases};
use super::{Outcome, checked, claim_backups, forget_earlier_attempts, published, ship};
use crate::check::{self, LiveGround, Request};
use crate::dump::{self, Dumped, Listing, Readers};
use crate::recover;
use crate::run::Run;
use crate::run::events::Observer;
use crate::server::{Reader, Session, Table};
use crate::store::Staging;
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::units::human_duration;

/// The part of the time that writers may wait in which the names of all tables must be told.
const LISTED_IN: u32 = 20;

pub(super) fn work(
    request: &Request,
    session: &mut Session,
    run: &mut Run,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Outcome> {
    let mut phases = Phases::new(observer);
    recover::recover(observer)?;
    let _backups = claim_backups(request, run, cancel)?;
    let survey = || checked(check::survey_live(request, session, cancel), observer, cancel);
    let ground = phases.run("check", survey, LiveGround::summary)?;
    let staging = Staging::begin(&*ground.target.store, &request.job, run.id())?;
    let view =
        || freeze::in_tries(request, cancel, || view(request, &ground, session, cancel).map_err(Failed::Cleanly));
    let ((readers, hold), tries) = phases.run("hold", view, |((_, hold), _)| hold.summary())?;
    let hold = Hold { tries, ..hold };
    let dump = || dump::dump(readers, &request.dump, hold.at, &staging, observer, cancel);
    let dumped = phases.run("dump", dump, Dumped::summary)?;
    let shipped = ship::dumped(dumped, request, &staging, &mut phases, cancel)?;
    let evidence = Evidence { hold: &hold, shipped: &shipped, snapshots: Vec::new(), phases: &phases };
    let manifest = manifest::write(request, &About::live(&ground), run, evidence)?;
    let manifest = phases.run("publish", || staging.commit(manifest, &shipped.copied.files), published)?;
    forget_earlier_attempts(&request.job, &*ground.target.store, observer);
    Ok(Outcome { manifest, cleanup: None })
}

/// Connections that all see the server as it is under one lock.
fn view(
    request: &Request,
    ground: &LiveGround,
    session: &mut Session,
    cancel: &Cancel,
) -> anyhow::Result<(Readers, Hold)> {
    session.wait_for_calm(ground.lock, &request.long_queries, cancel)?;
    let mut readers = Readers::gather(request.dump.workers, None, || session.reader())?;
    let (before, took) = listed(&mut readers)?;
    // Writers wait while it is asked once more.
    let is_quick = took <= request.hold.max_stall / LISTED_IN;
    let outcome = session.hold(ground.lock, &request.hold, cancel, |held| {
        let mut parts = Parts::new();
        readers.all.iter_mut().try_for_each(Reader::keep_view)?;
        parts.end("transactions");
        let position = held.position()?;
        parts.end("position");
        let now = if is_quick { Some(listed(&mut readers)?.0) } else { None };
        parts.end("names");
        Ok((position, parts.ended(), now))
    })?;
    let (position, parts, now) = outcome.value;
    let exact = now.is_some();
    readers.listing = Some(Listing { tables: now.unwrap_or(before), exact });
    let hold = Hold { position, waited: outcome.waited, held: outcome.held, parts, tries: 1, at: clock::now() };
    Ok((readers, hold))
}

/// The names of what there is, and how long that took.
fn listed(readers: &mut Readers) -> anyhow::Result<(Vec<Table>, Duration)> {
    let began = Instant::now();
    let tables = readers.guard.names()?;
    Ok((tables, began.elapsed()))
}

impl LiveGround {
    fn summary(&self) -> String {
        let facts = &self.facts;
        format!("{} {}, about {} to read", facts.flavour, facts.version, self.size)
    }
}

impl Hold {
    pub(super) fn summary(&self) -> String {
        let binlog = self.position.binlog.as_ref();
        let at = binlog.map_or_else(|| "no binary log".to_owned(), |p| format!("{}:{}", p.file, p.offset));
        let all = human_duration(self.waited + self.held);
        format!("writers waited {all}, {} of it for the lock; position {at}", human_duration(self.waited))
    }
}
