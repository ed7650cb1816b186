//! What LVM says about volumes and groups: `--reportformat json`, standard output only.
//!
//! Warnings and notices go to standard error and are never parsed. Numbers come as text, in bytes,
//! without a unit.

use std::collections::HashSet;

use anyhow::Context as _;
use serde::Deserialize;

use super::names::{ELSEWHERE_TAG, KEEP_TAG, LvName, LvRef, VgName, run_of};
use crate::id::RunId;
use crate::sys::units::Bytes;

/// The fields that a volume's report must ask for.
pub(super) const VOLUME_FIELDS: &str = "lv_uuid,vg_name,lv_name,lv_attr,lv_size,origin,origin_uuid,pool_lv,\
    data_percent,metadata_percent,lv_snapshot_invalid,lv_merging,lv_health_status,lv_suspended,lv_tags,\
    lv_kernel_major,lv_kernel_minor,segtype,lv_time";
/// The fields that a group's report must ask for.
pub(super) const GROUP_FIELDS: &str = "vg_name,vg_free,vg_extent_size,vg_attr";
/// The fields that a report of physical volumes must ask for.
pub(super) const DEVICE_FIELDS: &str = "pv_name,vg_name";

/// A logical volume as LVM reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// LVM's identifier, which no rename changes.
    pub uuid: String,
    /// Group and name.
    pub name: LvRef,
    /// `lv_attr` (lvs(8)).
    pub attr: String,
    /// Its size; of a thick snapshot that of its copy-on-write store.
    pub size: Bytes,
    /// The origin's name, of a snapshot.
    pub origin: Option<LvName>,
    /// The origin's identifier, of a snapshot.
    pub origin_uuid: Option<String>,
    /// The pool, of a thin volume.
    pub pool: Option<LvName>,
    /// How full the store, or the pool's data, is.
    pub data_percent: Option<f64>,
    /// How full a pool's metadata is.
    pub metadata_percent: Option<f64>,
    /// Whether a thick snapshot overflowed.
    pub invalid: bool,
    /// Whether it is being merged into its origin.
    pub merging: bool,
    /// `lv_health_status`; empty where all is well.
    pub health: String,
    /// Whether its device is suspended.
    pub suspended: bool,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its device's kernel numbers, where it is active.
    pub device: Option<(u32, u32)>,
    /// `linear`, `thin`, `thin-pool`, `snapshot`, …
    pub segtype: String,
    /// When it was made.
    pub created: String,
}

impl Volume {
    /// Whether its device is suspended at this moment, whatever was reported: every write to it then waits.
    pub fn is_suspended(&self) -> bool {
        self.device.is_some_and(super::is_suspended)
    }

    /// Whether its device exists.
    pub fn is_active(&self) -> bool {
        self.device.is_some()
    }

    /// Whether it can be written (`lv_attr`, second letter).
    pub fn is_writable(&self) -> bool {
        self.attr.as_bytes().get(1) == Some(&b'w')
    }

    /// Whether somebody has it open (`lv_attr`, sixth letter).
    pub fn is_open(&self) -> bool {
        self.attr.as_bytes().get(5) == Some(&b'o')
    }

    /// Whether a merge into it has been started (`lv_attr` begins with `O`).
    pub fn has_merging_snapshot(&self) -> bool {
        self.attr.starts_with('O')
    }

    /// Whether it is the origin of a thick snapshot (`lv_attr` begins with `o` or `O`).
    pub fn has_thick_snapshot(&self) -> bool {
        matches!(self.attr.as_bytes().first(), Some(b'o' | b'O'))
    }

    /// Whether it is a snapshot that `run` made and keeps.
    pub fn is_kept_by(&self, run: &RunId) -> bool {
        self.run().as_ref() == Some(run) && self.has_tag(KEEP_TAG)
    }

    /// Whether only a person removes it: it is kept on purpose, or others have had it mounted.
    pub fn is_left_to_people(&self) -> bool {
        self.has_tag(KEEP_TAG) || self.has_tag(ELSEWHERE_TAG)
    }

    /// The whole name of the pool that it lies in; none where it is not thin.
    pub fn pool_name(&self) -> Option<LvRef> {
        Some(LvRef { vg: self.name.vg.clone(), lv: self.pool.clone()? })
    }

    /// Whether it is a pool that takes no writes any more (lvs(8), `lv_health_status`).
    pub fn has_failed(&self) -> bool {
        ["failed", "out_of_data", "metadata_read_only"].contains(&self.health.as_str())
    }

    /// Whether it is a pool whose metadata can't be changed: a removal is written down by LVM and not done by the kernel,
    /// and `lvconvert --repair` refuses a pool of which the two differ.
    pub fn is_frozen_pool(&self) -> bool {
        ["failed", "metadata_read_only"].contains(&self.health.as_str())
    }

    /// The run of ours that made it; none where it isn't ours.
    pub fn run(&self) -> Option<RunId> {
        run_of(&self.tags)
    }

    /// Whether it carries `tag`.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }
}

/// A volume group as LVM reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: VgName,
    /// Room that no volume has.
    pub free: Bytes,
    /// What sizes are rounded to.
    pub extent: Bytes,
    /// Whether a physical volume is missing (`vg_attr`, fourth letter).
    pub partial: bool,
    /// The devices of its physical volumes.
    pub devices: Vec<String>,
}

/// What LVM prints with `--reportformat json`.
#[derive(Deserialize)]
pub(super) struct Document<T> {
    pub(super) report: Vec<T>,
}

#[derive(Deserialize)]
struct Volumes {
    lv: Vec<RawVolume>,
}

#[derive(Deserialize)]
struct Groups {
    vg: Vec<RawGroup>,
}

#[derive(Deserialize)]
struct Devices {
    pv: Vec<RawDevice>,
}

#[derive(Deserialize)]
struct RawVolume {
    lv_uuid: String,
    vg_name: String,
    lv_name: String,
    lv_attr: String,
    lv_size: String,
    origin: String,
    origin_uuid: String,
    pool_lv: String,
    data_percent: String,
    metadata_percent: String,
    lv_snapshot_invalid: String,
    lv_merging: String,
    lv_health_status: String,
    lv_suspended: String,
    lv_tags: String,
    lv_kernel_major: String,
    lv_kernel_minor: String,
    segtype: String,
    lv_time: String,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "LVM's own field names")]
struct RawGroup {
    vg_name: String,
    vg_free: String,
    vg_extent_size: String,
    vg_attr: String,
}

#[derive(Deserialize)]
struct RawDevice {
    pv_name: String,
    vg_name: String,
}

/// The volumes of a report made with `--reportformat json --units b --nosuffix`.
pub fn parse_volumes(json: &str) -> anyhow::Result<Vec<Volume>> {
    let document: Document<Volumes> = serde_json::from_str(json).context("lvs did not answer with its JSON report")?;
    let rows: Vec<Volume> =
        document.report.into_iter().flat_map(|report| report.lv).map(volume).collect::<anyhow::Result<_>>()?;
    // `segtype` makes LVM report a row for each segment.
    let mut seen = HashSet::new();
    Ok(rows.into_iter().filter(|volume| seen.insert(volume.uuid.clone())).collect())
}

/// The groups of a report, without their devices.
pub(super) fn parse_groups(json: &str) -> anyhow::Result<Vec<Group>> {
    let document: Document<Groups> = serde_json::from_str(json).context("vgs did not answer with its JSON report")?;
    document.report.into_iter().flat_map(|report| report.vg).map(|raw| group(&raw)).collect()
}

/// The devices of the physical volumes of `vg`; one that is missing has none, and is called
/// `[unknown]`.
pub(super) fn parse_devices(json: &str, vg: &VgName) -> anyhow::Result<Vec<String>> {
    let document: Document<Devices> = serde_json::from_str(json).context("pvs did not answer with its JSON report")?;
    let devices = document.report.into_iter().flat_map(|report| report.pv);
    let of_group = devices.filter(|pv| pv.vg_name == vg.as_str() && pv.pv_name.starts_with('/'));
    Ok(of_group.map(|pv| pv.pv_name).collect())
}

fn volume(raw: RawVolume) -> anyhow::Result<Volume> {
    let name = |text: &str| text.parse::<LvName>().map_err(anyhow::Error::msg);
    let optional_name = |text: &str| if text.is_empty() { Ok(None) } else { name(text).map(Some) };
    Ok(Volume {
        name: LvRef { vg: raw.vg_name.parse().map_err(anyhow::Error::msg)?, lv: name(&raw.lv_name)? },
        attr: raw.lv_attr,
        size: bytes(&raw.lv_size)?,
        origin: optional_name(&raw.origin)?,
        origin_uuid: (!raw.origin_uuid.is_empty()).then_some(raw.origin_uuid),
        pool: optional_name(&raw.pool_lv)?,
        data_percent: raw.data_percent.parse().ok(),
        metadata_percent: raw.metadata_percent.parse().ok(),
        // "unknown" for what is no snapshot, empty for a valid one.
        invalid: raw.lv_snapshot_invalid.contains("invalid"),
        merging: raw.lv_merging == "merging",
        health: raw.lv_health_status,
        suspended: raw.lv_suspended == "suspended",
        tags: raw.lv_tags.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect(),
        // -1 where the volume is not active.
        device: raw.lv_kernel_major.parse().ok().zip(raw.lv_kernel_minor.parse().ok()),
        segtype: raw.segtype,
        created: raw.lv_time,
        uuid: raw.lv_uuid,
    })
}

fn group(raw: &RawGroup) -> anyhow::Result<Group> {
    Ok(Group {
        name: raw.vg_name.parse().map_err(anyhow::Error::msg)?,
        free: bytes(&raw.vg_free)?,
        extent: bytes(&raw.vg_extent_size)?,
        partial: raw.vg_attr.as_bytes().get(3) == Some(&b'p'),
        devices: Vec::new(),
    })
}

fn bytes(text: &str) -> anyhow::Result<Bytes> {
    text.trim().parse().map(Bytes).with_context(|| format!("LVM reports {text:?} where a size was expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_report_panics_the_parser() {
        for text in ["", "{}", "[]", r#"{"report":[{"lv":[{}]}]}"#, r#"{"report":[]}"#] {
            drop((parse_volumes(text), parse_groups(text)));
        }
    }

    proptest::proptest! {
        #[test]
        fn mutated_reports_never_panic(at in 0_usize..4000, byte in 0_u8..128) {
            let mut text = include_str!("../../tests/data/lvm/trixie/thick.lvs.json").as_bytes().to_vec();
            let at = at % text.len();
            text[at] = byte;
            drop(parse_volumes(&String::from_utf8_lossy(&text)));
        }
    }
}
