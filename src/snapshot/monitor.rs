//! Watching a snapshot while it is copied, so that it neither overflows nor harms its origin.
//!
//! A thick store that fills up costs the backup; it is grown while the group has room. A thin pool
//! that fills up costs *production* its writes; our snapshot is given up before that.

use super::{Health, Loss, Snapshot, SnapshotKind, plan};
use crate::lvm::{self, Volume};
use crate::sys::units::{Bytes, Percent};

/// From when on to do what, in percent used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A store: from when on to warn.
    pub warn: Percent,
    /// A store: from when on to grow it.
    pub grow_at: Percent,
    /// A store: by which share of its size.
    pub grow_by: Percent,
    /// A store: from when on the run is given up.
    pub give_up: Percent,
    /// A pool, data or metadata: from when on our snapshot is given up.
    pub pool_give_up: Percent,
}

impl Default for Limits {
    /// lvm.conf's own example grows at 70 by 20; a store is watched from there and grown at 80.
    fn default() -> Self {
        Self {
            warn: Percent(70),
            grow_at: Percent(80),
            grow_by: Percent(20),
            give_up: Percent(95),
            pool_give_up: Percent(90),
        }
    }
}

/// A look at a snapshot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// How it is.
    pub health: Health,
    /// Its kind.
    pub kind: SnapshotKind,
    /// The size of its store.
    pub size: Bytes,
    /// What its store may still be grown by: room in the group that the store has a use for.
    pub growth: Bytes,
    /// Whether the store holds every block of its origin: being full harms it no more.
    pub cannot_overflow: bool,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// Nothing.
    Continue,
    /// Tell the operator; the store's use in percent.
    Warn(f64),
    /// Make the store larger by this much.
    Grow(Bytes),
    /// End the run: the snapshot is lost, or would soon be, or would soon harm its origin.
    GiveUp(Loss),
}

/// Looks at `snapshot`.
pub fn sample(snapshot: &Snapshot) -> anyhow::Result<Sample> {
    let spec = &snapshot.spec;
    let volumes = lvm::volumes()?;
    let volume = volumes.iter().find(|v| v.uuid == snapshot.uuid);
    let health = match (volume, spec.kind) {
        (None, _) => Health::Gone,
        (Some(volume), SnapshotKind::Thick) => thick(volume),
        (Some(volume), SnapshotKind::Thin) => thin(volume, &volumes),
    };
    let size = volume.map_or(Bytes(0), |v| v.size);
    let (growth, cannot_overflow) = match spec.kind {
        SnapshotKind::Thick => match plan::whole(spec.origin.size, spec.group.extent).0.saturating_sub(size.0) {
            0 => (Bytes(0), true),
            missing => (lvm::free_in(&spec.group.name)?.min(Bytes(missing)), false),
        },
        SnapshotKind::Thin => (Bytes(0), false),
    };
    Ok(Sample { health, kind: spec.kind, size, growth, cannot_overflow })
}

fn thick(volume: &Volume) -> Health {
    match volume.data_percent {
        Some(used) if !volume.invalid => Health::Good { used },
        _ => Health::Overflowed,
    }
}

fn thin(volume: &Volume, volumes: &[Volume]) -> Health {
    let pool = volume.pool_name();
    let Some(pool) = volumes.iter().find(|v| Some(&v.name) == pool.as_ref()) else { return Health::Gone };
    match (pool.data_percent, pool.metadata_percent) {
        (Some(data), Some(metadata)) if !pool.has_failed() => Health::Good { used: data.max(metadata) },
        _ => Health::PoolFailed,
    }
}

/// What to do about `sample`: pure.
pub fn decide(sample: &Sample, limits: &Limits) -> Action {
    let used = match sample.health {
        Health::Good { used } => used,
        Health::Gone => return Action::GiveUp(Loss::Gone),
        Health::Overflowed => return Action::GiveUp(Loss::Overflowed),
        Health::PoolFailed => return Action::GiveUp(Loss::PoolFailed),
    };
    let reached = |limit: Percent| used >= f64::from(limit.0);
    match sample.kind {
        SnapshotKind::Thin if reached(limits.pool_give_up) => Action::GiveUp(Loss::PoolFull),
        SnapshotKind::Thick if sample.cannot_overflow => Action::Continue,
        SnapshotKind::Thick if reached(limits.grow_at) && sample.growth.0 > 0 => {
            Action::Grow(limits.grow_by.of(sample.size).min(sample.growth))
        }
        SnapshotKind::Thick if reached(limits.give_up) => Action::GiveUp(Loss::StoreFull),
        SnapshotKind::Thick if reached(limits.warn) => Action::Warn(used),
        SnapshotKind::Thick | SnapshotKind::Thin => Action::Continue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample_of(kind: SnapshotKind, used: f64, free: u64) -> Sample {
        let health = Health::Good { used };
        Sample { health, kind, size: Bytes(100 << 20), growth: Bytes(free), cannot_overflow: false }
    }

    #[test]
    fn a_store_is_grown_while_there_is_room_and_given_up_without() {
        let limits = Limits::default();
        assert_eq!(decide(&sample_of(SnapshotKind::Thick, 10.0, 0), &limits), Action::Continue);
        assert_eq!(decide(&sample_of(SnapshotKind::Thick, 75.0, 0), &limits), Action::Warn(75.0));
        assert_eq!(decide(&sample_of(SnapshotKind::Thick, 85.0, 1 << 30), &limits), Action::Grow(Bytes(20 << 20)));
        assert_eq!(decide(&sample_of(SnapshotKind::Thick, 85.0, 0), &limits), Action::Warn(85.0));
        let full = sample_of(SnapshotKind::Thick, 95.0, 0);
        assert!(matches!(decide(&full, &limits), Action::GiveUp(_)));
        assert_eq!(decide(&Sample { cannot_overflow: true, ..full }, &limits), Action::Continue);
    }

    #[test]
    fn a_pool_is_never_brought_to_its_end() {
        let limits = Limits::default();
        assert_eq!(decide(&sample_of(SnapshotKind::Thin, 89.9, 1 << 30), &limits), Action::Continue);
        assert!(matches!(decide(&sample_of(SnapshotKind::Thin, 90.0, 1 << 30), &limits), Action::GiveUp(_)));
    }

    proptest! {
        #[test]
        fn what_is_lost_is_always_given_up_and_growth_fits(used in 0.0_f64..100.0, free in 0_u64..1 << 40) {
            let limits = Limits::default();
            for health in [Health::Gone, Health::Overflowed, Health::PoolFailed] {
                let lost = Sample { health, ..sample_of(SnapshotKind::Thick, used, free) };
                prop_assert!(matches!(decide(&lost, &limits), Action::GiveUp(_)));
            }
            if let Action::Grow(by) = decide(&sample_of(SnapshotKind::Thick, used, free), &limits) {
                prop_assert!(by.0 > 0 && by.0 <= free);
            }
        }
    }
}
