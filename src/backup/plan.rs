//! What a backup would do, in words: printed by `--dry-run`.

use crate::check::{Ground, Request};
use crate::snapshot::SnapshotKind;
use crate::store::ProofLevel;
use crate::sys::units::{Bytes, human_duration};

/// The steps that a backup on `ground` would take.
pub fn describe(request: &Request, ground: &Ground) -> Vec<String> {
    let mut steps = Vec::new();
    for planned in &ground.plan.snapshots {
        if SnapshotKind::of(&planned.origin) == SnapshotKind::Thick {
            steps.push(format!("make a store of {} in volume group {}", planned.size, planned.group.name));
        }
    }
    let budget = human_duration(request.hold.max_stall);
    steps.push(format!("lock the server ({:?}), for at most {budget}, waiting included", ground.lock));
    steps.push("read the position".to_owned());
    for planned in &ground.plan.snapshots {
        steps.push(format!("take a {} snapshot of {}", SnapshotKind::of(&planned.origin).name(), planned.origin.name));
    }
    steps.push("unlock as soon as the volume is suspended; mount the snapshot read-only".to_owned());
    if request.prepared {
        steps.push("let a second server recover on the snapshot, and shut it down".to_owned());
    }
    let source = &ground.source;
    for root in &ground.covered.roots {
        steps.push(format!("copy {} as {} to {}/{}", root.live.display(), root.name, request.to, request.job));
    }
    if request.prove > ProofLevel::None {
        steps.push(format!("read back {} in {} files and compare", Bytes(source.bytes), source.files));
    }
    if request.prove.starts_a_server() {
        steps.push("start a second server on the snapshot, see where its binary log ends".to_owned());
        let asked = if request.prove >= ProofLevel::Queries { request.queries.as_slice() } else { &[] };
        steps.extend(asked.iter().map(|query| format!("ask it: {query}")));
        if request.prove >= ProofLevel::Tables {
            steps.push("let it read every table".to_owned());
        }
    }
    steps.push(if request.keep_snapshot { "keep the snapshot" } else { "remove the snapshot" }.to_owned());
    steps.push("write the manifest: now it is a backup".to_owned());
    steps
}
