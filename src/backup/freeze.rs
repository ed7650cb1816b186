//! The hold: position and snapshots while nothing can be committed, as short as it can be made.

use std::time::Duration;

use jiff::Timestamp;

use crate::check::{Ground, Origin, Request};
use crate::fault::{Failure, Kind, kind_of};
use crate::run::{Intent, Run};
use crate::server::{Held, Position, Session};
use crate::snapshot::{self, Pending, Snapshot, Spec, WritersHeld};
use crate::sys::cancel::Cancel;
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
    pub(super) tries: u32,
    pub(super) at: Timestamp,
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
    let (frozen, tries) = in_tries(request, cancel, || {
        attempt(request, ground, session, run, cancel).map_err(|error| match snapshot::remove_all_of(run.id()) {
            Ok(_) => Failed::Cleanly(error),
            // With something left of this try there is no other one.
            Err(left) => Failed::Leaving(Failure::join(error, vec![left])),
        })
    })?;
    Ok(Frozen { hold: Hold { tries, ..frozen.hold }, ..frozen })
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
            Err(Failed::Cleanly(error)) => error,
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
    cancel: &Cancel,
) -> anyhow::Result<Frozen> {
    session.wait_for_calm(ground.lock, &request.long_queries, cancel)?;
    let specs = prepare(ground, run, cancel)?;
    flush(&ground.covered.origins)?;
    // Nothing in the closure logs, and nothing touches a file on the origin: it will be frozen.
    let outcome = session.hold(ground.lock, &request.hold, cancel, |held| {
        let mut freezing = snapshot::begin(specs, held)?;
        // The lock keeps the position where it is: it is written out and read while LVM starts.
        let position = held.position()?;
        freezing.written_out();
        Ok((position, freezing.finish(held.deadline())?))
    })?;
    let (position, pending): (Position, Vec<Pending>) = outcome.value;
    let hold = Hold { position, waited: outcome.waited, held: outcome.held, tries: 1, at: clock::now() };
    Ok(Frozen { snapshots: snapshot::complete(pending)?, hold })
}

/// Makes what can be made before anybody waits; each snapshot is on record before it exists.
fn prepare(ground: &Ground, run: &mut Run, cancel: &Cancel) -> anyhow::Result<Vec<Spec>> {
    let planned = &ground.plan.snapshots;
    let specs: Vec<Spec> =
        planned.iter().map(|p| Spec::new(p.origin.clone(), p.group.clone(), run.id(), p.size)).collect();
    for spec in &specs {
        cancel.check()?;
        run.intend(Intent::Snapshot {
            group: spec.name.vg.to_string(),
            name: spec.name.lv.to_string(),
            origin: spec.origin.name.lv.to_string(),
            origin_uuid: spec.origin.uuid.clone(),
        })?;
        spec.kind.provider().prepare(spec)?;
    }
    Ok(specs)
}

/// Dirty pages would be written out while the origin is suspended, and writers wait for that.
fn flush(origins: &[Origin]) -> anyhow::Result<()> {
    origins.iter().try_for_each(|origin| durable::sync_file_system(&origin.mount.path))
}
