//! What was decided is done: one backup after the other, each whole or gone.

use super::Plan;
use crate::id::{JobName, RunId};
use crate::run::events::Observer;
use crate::run::{self, Reading};
use crate::store::{Catalog, Slot, State, Store};
use crate::sys::cancel::Cancel;

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// What is gone.
    pub removed: Vec<RunId>,
    /// What is being read on this host, and goes another time.
    pub read: Vec<RunId>,
}

/// Removes what goes. What is being read on this host stays until another time, and its chain with it: what it is built
/// on, and what is built on it.
pub fn execute(
    plan: &Plan,
    job: &JobName,
    store: &dyn Store,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut locked = Vec::new();
    // All of a chain are asked for before the first of it goes: a base without the increments that go with it would be
    // less than what is read.
    for id in plan.going() {
        match run::try_remove_stored(id)? {
            Reading::Nobody(lock) => locked.push((id, lock)),
            Reading::Somebody => {
                observer.warn(format!("backup {id} of job {job} is being read; it goes another time"));
                outcome.read.push(id.clone());
            }
        }
    }
    for (id, lock) in locked {
        cancel.check()?;
        let is_of_its_chain = |read: &RunId| plan.is_built_on(read, id) || plan.is_built_on(id, read);
        if !outcome.read.iter().any(is_of_its_chain) {
            store.remove(&Slot::finished(job, id))?;
            outcome.removed.push(id.clone());
        }
        lock.forget()?;
    }
    Ok(outcome)
}

/// Finishes what a removal that was cut short has begun; how many there were.
pub fn finish_removals(catalog: &Catalog, store: &dyn Store) -> anyhow::Result<usize> {
    let begun: Vec<&Slot> = catalog.leftovers.iter().filter(|slot| slot.state == State::Removing).collect();
    for slot in &begun {
        store.remove(slot)?;
    }
    Ok(begun.len())
}

impl Plan {
    /// Whether `backup` can't be restored without `base`.
    fn is_built_on(&self, backup: &RunId, base: &RunId) -> bool {
        let needs = |id: &RunId| self.backups.iter().find(|one| one.backup.id == *id)?.backup.needs.clone();
        let below = std::iter::successors(needs(backup), needs);
        below.take(self.backups.len()).any(|id| id == *base)
    }
}
