//! Watching snapshots for as long as they are used.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use anyhow::Context as _;

use super::{Action, Limits, Loss, Sample, Snapshot, decide, lost, sample};
use crate::lvm;
use crate::sys::cancel::Cancel;
use crate::sys::retry;

/// How often the snapshots are looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// For how long a look at them is tried.
const LOOK: Duration = Duration::from_secs(5);

/// Runs `work` while `snapshots` are watched. Where one is lost or must be given up, `cancel` ends the
/// work, and the loss is the error, whatever the work came to.
pub fn watched<T>(
    snapshots: &[Snapshot],
    limits: Limits,
    cancel: &Cancel,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let done = Mutex::new(false);
    let over = Condvar::new();
    std::thread::scope(|scope| {
        let watch = || watch(snapshots, limits, cancel, &done, &over);
        let watcher = std::thread::Builder::new().name("watch".to_owned()).spawn_scoped(scope, watch);
        let watcher = watcher.context("cannot start the watch over the snapshot")?;
        let result = {
            let _over = Over { done: &done, over: &over };
            work()
        };
        let lost = watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        lost.and(result)
    })
}

/// Ends the watch when it is dropped: also by work that panics, which would wait for the watch without an end.
struct Over<'a> {
    done: &'a Mutex<bool>,
    over: &'a Condvar,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        if let Ok(mut done) = self.done.lock() {
            *done = true;
        }
        self.over.notify_all();
    }
}

fn watch(
    snapshots: &[Snapshot],
    limits: Limits,
    cancel: &Cancel,
    done: &Mutex<bool>,
    over: &Condvar,
) -> anyhow::Result<()> {
    let mut states = vec![State::Well; snapshots.len()];
    loop {
        for (snapshot, state) in snapshots.iter().zip(&mut states) {
            if let Err(error) = tend(snapshot, limits, state) {
                cancel.set(nix::libc::SIGUSR1);
                return Err(error);
            }
        }
        let Ok(finished) = done.lock() else { return Ok(()) };
        match over.wait_timeout_while(finished, PAUSE, |finished| !*finished) {
            Ok((finished, _)) if *finished => return Ok(()),
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
    }
}

/// Looks at `snapshot`. One look that fails while LVM changes something is no loss.
pub fn look(snapshot: &Snapshot) -> anyhow::Result<Sample> {
    retry::until(LOOK, || sample(snapshot))
}

/// What was told of a snapshot: a clone is watched for days, and the same each second helps nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Filling,
    Grown,
    Stuck,
}

impl State {
    /// Goes on as `now`; whether that is news.
    fn becomes(&mut self, now: Self) -> bool {
        std::mem::replace(self, now) != now
    }
}

/// Looks at `snapshot` and does what is to be done about it; tells what is new.
fn tend(snapshot: &Snapshot, limits: Limits, state: &mut State) -> anyhow::Result<()> {
    let name = &snapshot.spec.name;
    match decide(&look(snapshot)?, &limits) {
        Action::Continue => *state = State::Well,
        Action::Warn(used) if state.becomes(State::Filling) => {
            tracing::warn!("the store of {name} is {used:.0}% full");
        }
        Action::Warn(_) => {}
        // Another command may hold the group: the next look tries again.
        Action::Grow(by) => match lvm::extend(name, by) {
            Ok(()) => {
                *state = State::Grown;
                tracing::info!("the store of {name} was grown by {by}");
            }
            Err(error) => {
                // It suspends the origin for a moment, in which it may have been killed.
                if let Err(stuck) = super::resume(&snapshot.spec) {
                    tracing::warn!("{stuck:#}");
                }
                if lvm::volume(name)?.as_ref().is_some_and(lvm::has_outgrown) {
                    return Err(lost(snapshot, Loss::Outgrown));
                }
                if state.becomes(State::Stuck) {
                    tracing::warn!("cannot grow {name} by {by}: {error}");
                }
            }
        },
        Action::GiveUp(why) => return Err(lost(snapshot, why)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::State::{Filling, Stuck, Well};

    #[test]
    fn a_state_is_told_once_and_again_when_it_comes_back() {
        let mut state = Well;
        let told = [Filling, Filling, Stuck, Stuck, Filling, Well, Filling].map(|now| state.becomes(now));
        assert_eq!(told, [true, false, true, false, true, true, true]);
    }
}
