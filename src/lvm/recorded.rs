//! What LVM's tools said in each state, recorded by `tests/data/lvm/record` on two releases, and what
//! it must be taken for.

use std::path::PathBuf;

use super::report::{DEVICE_FIELDS, GROUP_FIELDS, VOLUME_FIELDS, parse_devices, parse_groups};
use super::{Group, LvName, VgName, Volume, parse_volumes};

/// LVM 2.03.31 on kernel 6.12, and a newer one: see `made-with.txt`.
const RELEASES: [&str; 2] = ["trixie", "sid"];
const GROUP: &str = "rec-vg.1";
const ORIGIN: &str = "my-data.1";
const SNAPSHOT: &str = "my-data.1_mysnap_20261121T092233Z-4f2a";
const RUN: &str = "20261121T092233Z-4f2a";
const MIB: u64 = 1 << 20;

fn path(release: &str, file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/lvm", release, file].iter().collect()
}

fn read(release: &str, file: &str) -> String {
    let path = path(release, file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The volumes of one recorded state.
struct State {
    name: String,
    volumes: Vec<Volume>,
}

impl State {
    /// The state `name` on each release.
    fn on_each_release(name: &str) -> impl Iterator<Item = Self> {
        RELEASES
            .map(|release| {
                let volumes = parse_volumes(&read(release, &format!("{name}.lvs.json"))).unwrap();
                Self { name: format!("{name} on {release}"), volumes }
            })
            .into_iter()
    }

    fn volume(&self, name: &str) -> &Volume {
        let mut found = self.volumes.iter().filter(|v| v.name.lv.as_str() == name && v.name.vg.as_str() == GROUP);
        let volume = found.next().unwrap_or_else(|| panic!("{}: no {name}", self.name));
        assert!(found.next().is_none(), "{}: {name} is reported once", self.name);
        volume
    }

    fn origin(&self) -> &Volume {
        self.volume(ORIGIN)
    }

    /// The snapshot, which is ours and of that origin.
    fn snapshot(&self) -> &Volume {
        let snapshot = self.volume(SNAPSHOT);
        assert_eq!(snapshot.origin.as_ref().map(LvName::as_str), Some(ORIGIN), "{}", self.name);
        assert_eq!(snapshot.origin_uuid.as_ref(), Some(&self.origin().uuid), "{}", self.name);
        self.assert_ours(snapshot);
        snapshot
    }

    fn assert_ours(&self, volume: &Volume) {
        assert_eq!(volume.run().map(|run| run.to_string()).as_deref(), Some(RUN), "{}", self.name);
        assert_eq!(self.origin().run(), None, "{}", self.name);
    }
}

fn group(release: &str, state: &str) -> Group {
    let groups = parse_groups(&read(release, &format!("{state}.vgs.json"))).unwrap();
    groups.into_iter().find(|group| group.name.as_str() == GROUP).unwrap()
}

#[test]
fn what_was_recorded_is_what_is_asked_for() {
    let script = include_str!("../../tests/data/lvm/record");
    for fields in [VOLUME_FIELDS, GROUP_FIELDS, DEVICE_FIELDS] {
        assert!(script.contains(&format!("={fields}\n")), "{fields}");
    }
}

#[test]
fn a_store_that_is_not_a_snapshot_yet_is_ours_and_has_no_origin() {
    for state in State::on_each_release("thick-store") {
        let store = state.volume(SNAPSHOT);
        state.assert_ours(store);
        assert_eq!((store.origin.as_ref(), store.segtype.as_str()), (None, "linear"), "{}", state.name);
        assert!(!store.is_active() && !store.suspended && !store.is_open(), "{}: {store:?}", state.name);
        assert!(!state.origin().has_thick_snapshot(), "{}", state.name);
    }
}

#[test]
fn a_thick_snapshot_is_valid_and_tells_how_full_its_store_is() {
    for state in State::on_each_release("thick") {
        let (origin, snapshot) = (state.origin(), state.snapshot());
        assert!(snapshot.attr.starts_with('s') && snapshot.is_active(), "{}: {snapshot:?}", state.name);
        assert!(!snapshot.invalid && !snapshot.merging && !snapshot.suspended, "{}: {snapshot:?}", state.name);
        assert!(snapshot.data_percent.is_some_and(|used| used > 20.0 && used < 30.0), "{}", state.name);
        assert_eq!((snapshot.size.0, origin.size.0), (24 * MIB, 48 * MIB), "{}", state.name);
        assert!(origin.has_thick_snapshot() && !origin.has_merging_snapshot(), "{}: {origin:?}", state.name);
        assert!(origin.is_writable() && !origin.merging && !origin.suspended, "{}: {origin:?}", state.name);
        assert!(origin.device.is_some() && origin.device != snapshot.device, "{}", state.name);
    }
}

#[test]
fn a_store_that_overflowed_is_invalid_and_its_origin_is_not() {
    for state in State::on_each_release("thick-overflowed") {
        assert!(state.snapshot().invalid, "{}: {:?}", state.name, state.snapshot());
        assert!(!state.origin().invalid && state.origin().is_active(), "{}", state.name);
        assert_eq!(state.origin().health, "", "{}", state.name);
    }
}

#[test]
fn a_merge_is_seen_on_both_sides_before_and_after_it_has_begun() {
    for name in ["thick-merge-delayed", "thick-merging", "thin-merge-delayed"] {
        for state in State::on_each_release(name) {
            assert!(state.origin().has_merging_snapshot(), "{}: {:?}", state.name, state.origin());
            assert!(state.snapshot().merging, "{}: {:?}", state.name, state.snapshot());
            assert_eq!(state.origin().is_open(), name.ends_with("delayed"), "{}: {:?}", state.name, state.origin());
        }
    }
}

#[test]
fn a_suspended_origin_is_suspended_and_its_snapshot_is_not() {
    for state in State::on_each_release("thick-suspended") {
        assert!(state.origin().suspended && !state.snapshot().suspended, "{}", state.name);
        assert!(state.origin().is_active(), "{}", state.name);
    }
}

#[test]
fn a_volume_in_several_segments_is_one_volume() {
    for state in State::on_each_release("segments") {
        assert_eq!(state.origin().size.0, 56 * MIB, "{}", state.name);
    }
}

#[test]
fn a_thin_snapshot_is_not_active_before_it_is_activated() {
    for (name, active) in [("thin-inactive", false), ("thin", true)] {
        for state in State::on_each_release(name) {
            let snapshot = state.snapshot();
            assert_eq!((snapshot.is_active(), snapshot.segtype.as_str()), (active, "thin"), "{}", state.name);
            assert!(snapshot.attr.starts_with('V') && snapshot.attr.ends_with('k'), "{}: {snapshot:?}", state.name);
            assert_eq!(state.origin().segtype, "thin", "{}", state.name);
            assert!(!state.origin().has_thick_snapshot(), "{}", state.name);
        }
    }
}

#[test]
fn a_pool_tells_how_full_it_is_and_its_hidden_parts_are_seen() {
    for state in State::on_each_release("thin") {
        let pool = state.volume("pool-0");
        assert_eq!(state.snapshot().pool.as_ref(), Some(&pool.name.lv), "{}", state.name);
        assert_eq!(state.origin().pool.as_ref(), Some(&pool.name.lv), "{}", state.name);
        assert_eq!((pool.segtype.as_str(), pool.data_percent), ("thin-pool", Some(37.5)), "{}", state.name);
        assert!(pool.metadata_percent.is_some_and(|used| used > 5.0 && used < 30.0), "{}: {pool:?}", state.name);
        assert_eq!(pool.health, "", "{}", state.name);
        for part in ["pool-0_tdata", "pool-0_tmeta", "lvol0_pmspare"] {
            assert_eq!(state.volume(part).run(), None, "{}", state.name);
        }
    }
}

#[test]
fn a_full_pool_is_not_healthy() {
    for state in State::on_each_release("thin-full") {
        let pool = state.volume("pool-0");
        assert_eq!((pool.data_percent, pool.health.as_str()), (Some(100.0), "out_of_data"), "{}", state.name);
    }
}

#[test]
fn a_group_with_a_missing_device_is_partial_and_so_is_what_lies_on_it() {
    for release in RELEASES {
        assert!(!group(release, "whole").partial && group(release, "partial").partial, "{release}");
    }
    for state in State::on_each_release("partial") {
        assert_eq!(state.volume("lost").health, "partial", "{}", state.name);
        assert_eq!(state.origin().health, "", "{}", state.name);
    }
}

#[test]
fn a_group_tells_its_room_and_its_devices() {
    for release in RELEASES {
        let before = group(release, "thick-store");
        assert_eq!(before.extent.0, 4 * MIB, "{release}");
        assert_eq!(group(release, "segments").free.0 - before.free.0, (24 - 8 - 4) * MIB, "{release}");
        let name: VgName = GROUP.parse().unwrap();
        let devices = |state: &str| parse_devices(&read(release, &format!("{state}.pvs.json")), &name).unwrap();
        assert_eq!(devices("thick"), ["/dev/mapper/rec_a"], "{release}");
        assert_eq!(devices("whole"), ["/dev/mapper/rec_a", "/dev/mapper/rec_b"], "{release}");
        assert_eq!(devices("partial"), ["/dev/mapper/rec_a"], "{release}: a missing device has no name");
    }
}
