//! How large a snapshot's store must be, and whether there is room: pure, computed from facts.

use std::time::Duration;

use super::SnapshotKind;
use crate::fault::{Fault, Kind};
use crate::lvm::{Group, Volume};
use crate::sys::units::{Bytes, Percent};

/// The least share of its origin that a store gets.
const LEAST_SHARE: Percent = Percent(20);
/// How much of a group a store leaves free where it has the choice.
const RESERVE: Percent = Percent(5);
/// A prediction is doubled: a write rate measured for a moment is no upper bound.
const SAFETY: u64 = 2;
/// LVM's default chunk of a thick snapshot, and what its exception table costs for each.
const CHUNK: u64 = 4096;
const EXCEPTION: u64 = 16;

/// The size that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreSize {
    /// One that cannot overflow where the group has room for it, else predicted.
    Auto,
    /// A share of the origin.
    Share(Percent),
    /// This much.
    Bytes(Bytes),
}

/// How fast the origin is written, and for how long the snapshot will live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteRate {
    /// Bytes for each second.
    pub per_second: Bytes,
    /// The expected life.
    pub life: Duration,
}

/// A snapshot with its size.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Of which volume.
    pub origin: Volume,
    /// The group.
    pub group: Group,
    /// The size of its store; of a thin one that of the volume.
    pub size: Bytes,
    /// Whether the store can't overflow whatever is written.
    pub cannot_overflow: bool,
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// One for each origin.
    pub snapshots: Vec<Planned>,
}

/// How much of a pool may be used before no snapshot is taken of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolRoom {
    /// Its data.
    pub data: Percent,
    /// Its metadata.
    pub metadata: Percent,
}

impl Default for PoolRoom {
    /// As the configuration has it where it says nothing.
    fn default() -> Self {
        Self { data: Percent(80), metadata: Percent(70) }
    }
}

/// Decides the size of each snapshot of `origins`, or says why there is no room. Every origin comes
/// with its group and, for thin ones, its pool.
pub fn plan(
    origins: &[(Volume, Group, Option<Volume>)],
    asked: StoreSize,
    rate: WriteRate,
    pools: PoolRoom,
) -> Result<Plan, Fault> {
    let mut plan = Plan::default();
    for (origin, group, pool) in origins {
        let taken: u64 = plan.snapshots.iter().filter(|s| s.group.name == group.name).map(|s| s.store().0).sum();
        let free = Bytes(group.free.0.saturating_sub(taken));
        let planned = match SnapshotKind::of(origin) {
            SnapshotKind::Thick => thick(origin, group, free, asked, rate)?,
            SnapshotKind::Thin => thin(origin, group, pool.as_ref(), pools)?,
        };
        plan.snapshots.push(planned);
    }
    Ok(plan)
}

impl Planned {
    /// What it takes from the group: a thin snapshot takes nothing.
    fn store(&self) -> Bytes {
        match SnapshotKind::of(&self.origin) {
            SnapshotKind::Thick => self.size,
            SnapshotKind::Thin => Bytes(0),
        }
    }
}

fn thick(origin: &Volume, group: &Group, free: Bytes, asked: StoreSize, rate: WriteRate) -> Result<Planned, Fault> {
    let whole = whole(origin.size, group.extent);
    let wanted = match asked {
        StoreSize::Share(share) => share.of(origin.size),
        StoreSize::Bytes(bytes) => bytes,
        StoreSize::Auto if whole.0 + RESERVE.of(free).0 <= free.0 => whole,
        StoreSize::Auto => predicted(origin.size, rate),
    };
    // LVM caps a store to what can be needed; asking for more would be refused room for nothing.
    let size = up(wanted, group.extent).min(whole);
    if size > free {
        let message =
            format!("the snapshot of {} needs {size}, volume group {} has {free} free", origin.name, group.name);
        return Err(Fault::new(Kind::Refused, message)
            .hint("add a physical volume (vgextend), remove what is not needed, or set snapshot_size"));
    }
    Ok(Planned { origin: origin.clone(), group: group.clone(), size, cannot_overflow: size >= whole })
}

/// Whether the store of the thick snapshot `of` can't overflow, whatever is written to its `origin`, or to
/// the snapshot: a chunk needs room once.
pub fn cannot_overflow(of: &Volume, origin: &Volume, group: &Group) -> bool {
    of.size >= whole(origin.size, group.extent)
}

/// What a store needs when every chunk of its origin is rewritten: it cannot overflow.
pub(super) fn whole(origin: Bytes, extent: Bytes) -> Bytes {
    let chunks = origin.0.div_ceil(CHUNK) + 1;
    let exceptions = (chunks * EXCEPTION).div_ceil(CHUNK) + 1;
    up(Bytes((chunks + exceptions) * CHUNK), extent)
}

fn predicted(origin: Bytes, rate: WriteRate) -> Bytes {
    let written = rate.per_second.0.saturating_mul(rate.life.as_secs()).saturating_mul(SAFETY);
    Bytes(written).max(LEAST_SHARE.of(origin))
}

fn up(size: Bytes, extent: Bytes) -> Bytes {
    let extent = extent.0.max(1);
    Bytes(size.0.max(1).div_ceil(extent).saturating_mul(extent))
}

fn thin(origin: &Volume, group: &Group, pool: Option<&Volume>, room: PoolRoom) -> Result<Planned, Fault> {
    let Some(pool) = pool else {
        return Err(Fault::new(Kind::Refused, format!("thin volume {} has no pool that LVM reports", origin.name)));
    };
    for (what, used, limit) in
        [("data", pool.data_percent, room.data), ("metadata", pool.metadata_percent, room.metadata)]
    {
        let used = used.unwrap_or(100.0);
        if used >= f64::from(limit.0) {
            return Err(Fault::new(
                Kind::Refused,
                format!(
                    "the {what} of thin pool {} is {used:.1}% used; from {limit} on no snapshot is taken",
                    pool.name
                ),
            )
            .hint("a full pool stops production: extend it (lvextend), or remove what is not needed"));
        }
    }
    Ok(Planned { origin: origin.clone(), group: group.clone(), size: origin.size, cannot_overflow: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lvm::LvRef;
    use proptest::prelude::*;

    fn volume(size: u64, segtype: &str) -> Volume {
        Volume {
            uuid: "u".into(),
            name: "vg0/data".parse::<LvRef>().unwrap(),
            attr: "-wi-ao----".into(),
            size: Bytes(size),
            origin: None,
            origin_uuid: None,
            pool: None,
            data_percent: None,
            metadata_percent: None,
            invalid: false,
            merging: false,
            health: String::new(),
            suspended: false,
            tags: Vec::new(),
            device: Some((253, 0)),
            segtype: segtype.into(),
            created: String::new(),
        }
    }

    fn group(free: u64) -> Group {
        let name = "vg0".parse().unwrap();
        Group { name, free: Bytes(free), extent: Bytes(4 << 20), partial: false, devices: Vec::new() }
    }

    const POOLS: PoolRoom = PoolRoom { data: Percent(80), metadata: Percent(70) };

    fn one(size: u64, free: u64, asked: StoreSize) -> Result<Plan, Fault> {
        plan(&[(volume(size, "linear"), group(free), None)], asked, WriteRate::default(), POOLS)
    }

    #[test]
    fn auto_takes_a_store_that_cannot_overflow_where_there_is_room() {
        let plan = one(1 << 30, 4 << 30, StoreSize::Auto).unwrap();
        assert!(plan.snapshots[0].cannot_overflow);
        assert!(plan.snapshots[0].size.0 > 1 << 30);
    }

    #[test]
    fn auto_falls_back_to_a_prediction_of_at_least_a_fifth() {
        let plan = one(10 << 30, 4 << 30, StoreSize::Auto).unwrap();
        assert!(!plan.snapshots[0].cannot_overflow);
        assert_eq!(plan.snapshots[0].size, Bytes(2 << 30));
    }

    #[test]
    fn an_explicit_size_that_does_not_fit_is_refused_by_name() {
        let error = one(10 << 30, 1 << 30, StoreSize::Share(Percent(20))).unwrap_err();
        assert!(error.to_string().contains("vg0/data") && error.to_string().contains("1.00 GiB free"), "{error}");
    }

    #[test]
    fn two_origins_share_the_room_of_their_group() {
        let origin = || (volume(1 << 30, "linear"), group(3 << 29), None);
        let asked = StoreSize::Bytes(Bytes(1 << 30));
        assert!(plan(&[origin()], asked, WriteRate::default(), POOLS).is_ok());
        assert!(plan(&[origin(), origin()], asked, WriteRate::default(), POOLS).is_err());
    }

    #[test]
    fn a_pool_that_is_nearly_full_is_refused() {
        for (data, metadata, good) in [(79.0, 69.0, true), (80.0, 1.0, false), (1.0, 70.0, false)] {
            let mut pool = volume(1 << 30, "thin-pool");
            (pool.data_percent, pool.metadata_percent) = (Some(data), Some(metadata));
            let origins = [(volume(1 << 30, "thin"), group(0), Some(pool))];
            assert_eq!(plan(&origins, StoreSize::Auto, WriteRate::default(), POOLS).is_ok(), good);
        }
    }

    proptest! {
        #[test]
        fn a_store_is_never_silently_smaller_than_asked(
            size in 1_u64..1 << 42, free in 0_u64..1 << 42, percent in 1_u8..=100,
        ) {
            let asked = StoreSize::Share(Percent(percent));
            if let Ok(plan) = one(size, free, asked) {
                let planned = &plan.snapshots[0];
                prop_assert!(planned.size >= Percent(percent).of(Bytes(size)));
                prop_assert!(planned.size.0 <= free);
                prop_assert_eq!(planned.size.0 % (4 << 20), 0);
            }
        }

        #[test]
        fn auto_never_takes_more_than_there_is_and_never_less_than_a_fifth(
            size in 1_u64..1 << 42, free in 0_u64..1 << 42, rate in 0_u64..1 << 30, life in 0_u64..100_000,
        ) {
            let rate = WriteRate { per_second: Bytes(rate), life: Duration::from_secs(life) };
            let origins = [(volume(size, "linear"), group(free), None)];
            if let Ok(plan) = plan(&origins, StoreSize::Auto, rate, POOLS) {
                prop_assert!(plan.snapshots[0].size.0 <= free);
                prop_assert!(plan.snapshots[0].size >= LEAST_SHARE.of(Bytes(size)));
            }
        }
    }
}
