//! How much there is to copy, and what snapshots need for that time.

use std::collections::HashSet;
use std::time::Duration;

use super::Request;
use super::finding::Findings;
use super::ground::Covered;
use crate::snapshot::{self, Plan, SnapshotKind, WriteRate};
use crate::store::{Totals, tree};
use crate::sys::cancel::Cancel;
use crate::sys::units::Bytes;

/// How long the write rate is watched.
const WATCH: Duration = Duration::from_secs(1);
/// The slowest copying that a prediction counts with, in bytes for each second.
const SLOW_COPY: u64 = 20 << 20;

/// What the roots add up to, without reading files.
pub(super) fn measure(covered: &Covered, cancel: &Cancel) -> anyhow::Result<Totals> {
    let mut sum = Totals::default();
    for root in &covered.roots {
        if root.live.is_file() {
            sum.files += 1;
            sum.bytes += root.live.metadata()?.len();
            continue;
        }
        let totals = tree::measure(&root.live, cancel)?;
        sum.files += totals.files;
        sum.directories += totals.directories;
        sum.symlinks += totals.symlinks;
        sum.bytes += totals.bytes;
    }
    Ok(sum)
}

/// The snapshots to be made.
pub(super) fn plan(request: &Request, covered: &Covered, source: Totals) -> anyhow::Result<Plan> {
    let origins: Vec<_> = covered.origins.iter().map(|o| (o.volume.clone(), o.group.clone(), o.pool.clone())).collect();
    let rate = write_rate(request, covered, source)?;
    Ok(snapshot::plan(&origins, request.snapshot_size, rate, request.pool_room)?)
}

/// How fast the origins are written just now, together, and for how long a copy takes at worst.
fn write_rate(request: &Request, covered: &Covered, source: Totals) -> anyhow::Result<WriteRate> {
    let devices: HashSet<(u32, u32)> = covered.origins.iter().filter_map(|o| o.volume.device).collect();
    let before = sectors_written(&devices)?;
    std::thread::sleep(WATCH);
    let written = sectors_written(&devices)?.saturating_sub(before) * 512;
    let speed = request.transfer.bandwidth_limit.map_or(SLOW_COPY, |limit| limit.0.min(SLOW_COPY)).max(1);
    // A second server may read all of it once more.
    let readings = if request.starts_a_server() { 2 } else { 1 };
    Ok(WriteRate { per_second: Bytes(written), life: Duration::from_secs(readings * source.bytes / speed + 60) })
}

/// `/proc/diskstats`, tenth field (kernel documentation, admin-guide/iostats).
fn sectors_written(devices: &HashSet<(u32, u32)>) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/diskstats")?;
    Ok(text.lines().filter_map(|line| written(line, devices)).sum())
}

pub(super) fn written(line: &str, devices: &HashSet<(u32, u32)>) -> Option<u64> {
    let mut fields = line.split_whitespace();
    let device = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    devices.contains(&device).then(|| fields.nth(7)?.parse().ok())?
}

pub(super) fn describe(plan: &Plan, findings: &mut Findings) {
    for one in &plan.snapshots {
        let (origin, size) = (&one.origin.name, one.size);
        match SnapshotKind::of(&one.origin) {
            SnapshotKind::Thin => findings.good("snapshot", format!("of {origin} in its pool")),
            SnapshotKind::Thick if one.cannot_overflow => {
                findings.good("snapshot", format!("of {origin} with a store of {size}, which cannot overflow"));
            }
            SnapshotKind::Thick => findings.warn(
                "snapshot",
                format!("of {origin} with a store of {size}, which could overflow under heavy writes"),
                "it is watched and grown while the group has room; more room in the group makes it safe",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_sectors_are_read_for_our_devices_only() {
        let line = " 253       0 dm-0 1 0 8 2 5 0 4711 9 0 12 11 0 0 0 0 0 0";
        assert_eq!(written(line, &HashSet::from([(253, 0)])), Some(4711));
        assert_eq!(written(line, &HashSet::from([(253, 1)])), None);
        assert_eq!(written("nonsense", &HashSet::new()), None);
    }
}
