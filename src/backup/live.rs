//! A dump of the live server: every connection gets the same view under a short lock, then it is let go.

use super::freeze::{self, Failed, Hold, Parts};
use super::manifest::{self, About, Evidence, Phases};
use super::{Outcome, checked, claim_backups, forget_earlier_attempts, published, ship};
use crate::check::{self, LiveGround, Request};
use crate::dump::{self, Dumped, Readers};
use crate::recover;
use crate::run::Run;
use crate::run::events::Observer;
use crate::server::{Reader, Session};
use crate::store::Staging;
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::units::human_duration;

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
    let outcome = session.hold(ground.lock, &request.hold, cancel, |held| {
        let mut parts = Parts::new();
        readers.all.iter_mut().try_for_each(Reader::keep_view)?;
        parts.end("transactions");
        let position = held.position()?;
        parts.end("position");
        Ok((position, parts.ended()))
    })?;
    let (position, parts) = outcome.value;
    let hold = Hold { position, waited: outcome.waited, held: outcome.held, parts, tries: 1, at: clock::now() };
    Ok((readers, hold))
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
