//! The hold: position and snapshots while nothing can be committed, as short as it can be made.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::check::{Ground, Origin, Request};
use crate::fault::{Failure, Kind, kind_of};
use crate::recover;
use crate::run::Run;
use crate::server::{Held, Position, Session};
use crate::snapshot::{self, Pending, Prepared, Snapshot, Spec, WritersHeld};
use crate::store::PhaseRecord;
use crate::sys::cancel::Cancel;
use crate::sys::units::milliseconds;
use crate::sys::{clock, durable};

impl WritersHeld for Held<'_> {}

/// What a hold brought.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) hold: Hold,
}

/// What the writers went through, and what it bought.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) position: Position,
    pub(super) waited: Duration,
    pub(super) held: Duration,
    pub(super) parts: Vec<PhaseRecord>,
    pub(super) tries: u32,
    pub(super) at: Timestamp,
}

/// What the time under the lock goes to.
pub(super) struct Parts {
    last: Instant,
    ended: Vec<PhaseRecord>,
}

impl Parts {
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), ended: Vec::with_capacity(8) }
    }

    /// All since the last one was `name`.
    pub(super) fn end(&mut self, name: &str) {
        let now = Instant::now();
        self.ended.push(PhaseRecord { name: name.to_owned(), ms: milliseconds(now - self.last) });
        self.last = now;
    }

    pub(super) fn ended(self) -> Vec<PhaseRecord> {
        self.ended
    }
}

/// Takes the snapshots, with as many tries as the job allows where only the lock failed. Each try
/// has fresh connections and fresh stores; what a failed one made is removed, a snapshot that LVM
/// finished too late included.
pub(super) fn take(
    request: &Request,
    ground: &Ground,
    session: &mut Session,
    run: &mut Run,
    cancel: &Cancel,
) -> anyhow::Result<Frozen> {
    let mut order = Order::FlushBeside;
    let (frozen, tries) = in_tries(request, cancel, || match one_try(request, ground, session, run, order, cancel) {
        Err(Failed::Cleanly(error)) if snapshot::is_early(&error) => {
            tracing::warn!("{error:#}; again at once, and the log is flushed before LVM is started");
            order = Order::FlushFirst;
            one_try(request, ground, session, run, order, cancel)
        }
        result => result,
    })?;
    Ok(Frozen { hold: Hold { tries, ..frozen.hold }, ..frozen })
}

/// One attempt; what it made is gone where it failed, else there is no other one.
fn one_try(
    request: &Request,
    ground: &Ground,
    session: &mut Session,
    run: &mut Run,
    order: Order,
    cancel: &Cancel,
) -> Result<Frozen, Failed> {
    attempt(request, ground, session, run, order, cancel).map_err(|error| match undo(ground, run) {
        Ok(()) => Failed::Cleanly(error),
        Err(left) => Failed::Leaving(Failure::join(error, vec![left])),
    })
}

fn undo(ground: &Ground, run: &Run) -> anyhow::Result<()> {
    let origins: Vec<&str> = ground.covered.origins.iter().map(|origin| origin.volume.uuid.as_str()).collect();
    snapshot::abandon(run.id(), &origins)
}

/// When what is committed is written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// While LVM starts: writers wait for the longer of the two.
    FlushBeside,
    /// Before LVM is started: certain, and writers wait for both.
    FlushFirst,
}

/// How a try failed.
pub(super) enum Failed {
    /// With nothing left of it.
    Cleanly(anyhow::Error),
    /// And can't be tried again.
    Leaving(anyhow::Error),
}

/// What `attempt` brought, with as many tries as the job allows where only the lock failed, and how many
/// it took.
pub(super) fn in_tries<T>(
    request: &Request,
    cancel: &Cancel,
    mut attempt: impl FnMut() -> Result<T, Failed>,
) -> anyhow::Result<(T, u32)> {
    let mut tries = 1;
    loop {
        let error = match attempt() {
            Ok(value) => return Ok((value, tries)),
            Err(Failed::Leaving(error)) => return Err(error),
            Err(Failed::Cleanly(error)) => cancel.explain(error),
        };
        let again = matches!(kind_of(&error), Some(Kind::Lock | Kind::Busy)) && tries < request.tries;
        if !again {
            return Err(error.context(format!("the server was not held in {tries} of {} tries", request.tries)));
        }
        tracing::warn!("try {tries} of {}: {error:#}", request.tries);
        cancel.sleep(request.pause)?;
        tries += 1;
    }
}

fn attempt(
    request: &Request,
    ground: &Ground,
    session: &mut Session,
    run: &mut Run,
    order: Order,
    cancel: &Cancel,
) -> anyhow::Result<Frozen> {
    session.wait_for_calm(ground.lock, &request.long_queries, cancel)?;
    let prepared = prepare(ground, run, cancel)?;
    flush(&ground.covered.origins)?;
    // Nothing in the closure logs, and nothing touches a file on the origin: it will be frozen.
    let outcome = session.hold(ground.lock, &request.hold, cancel, |held| {
        let mut parts = Parts::new();
        if order == Order::FlushFirst {
            held.write_out()?;
            parts.end("flush");
        }
        let mut freezing = snapshot::begin(prepared, held)?;
        parts.end("start of LVM");
        if held.write_out()? {
            freezing.written_out();
            parts.end("flush");
        }
        // The lock keeps the position where it is, whenever it is read.
        let position = held.position()?;
        parts.end("position");
        let pending = freezing.finish(held.deadline())?;
        parts.end("freeze");
        Ok((position, pending, parts.ended()))
    })?;
    let (position, pending, parts): (Position, Vec<Pending>, _) = outcome.value;
    let hold = Hold { position, waited: outcome.waited, held: outcome.held, parts, tries: 1, at: clock::now() };
    Ok(Frozen { snapshots: snapshot::complete(pending)?, hold })
}

/// Makes what can be made before anybody waits; each snapshot is on record before it exists.
fn prepare(ground: &Ground, run: &mut Run, cancel: &Cancel) -> anyhow::Result<Vec<Prepared>> {
    let prepared = ground.plan.snapshots.iter().map(|planned| {
        cancel.check()?;
        let spec = Spec::new(planned.origin.clone(), planned.group.clone(), run.id(), planned.size);
        recover::prepare(spec, run)
    });
    prepared.collect()
}

/// Dirty pages would be written out while the origin is suspended, and writers wait for that.
fn flush(origins: &[Origin]) -> anyhow::Result<()> {
    origins.iter().try_for_each(|origin| {
        snapshot::refuse_suspended(&origin.volume)?;
        durable::sync_file_system(&origin.mount.path)
    })
}
