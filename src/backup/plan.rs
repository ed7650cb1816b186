//! What a backup would do, in words: printed by `--dry-run`.

use crate::check::{Ground, LiveGround, Request};
use crate::snapshot::SnapshotKind;
use crate::store::{Method, ProofLevel};
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
    if request.method == Method::Dump {
        steps.push("start a second server on the snapshot, see where its binary log ends".to_owned());
        steps.extend(asked(request));
        steps.push(dump_step(request, Bytes(source.bytes)));
        steps.push("read back every file and compare".to_owned());
        return ended(request, steps);
    }
    for root in &ground.covered.roots {
        steps.push(format!("copy {} as {} to {}/{}", root.live.display(), root.name, request.to, request.job));
    }
    if request.prove > ProofLevel::None {
        steps.push(format!("read back {} in {} files and compare", Bytes(source.bytes), source.files));
    }
    if request.prove.starts_a_server() {
        steps.push("start a second server on the snapshot, see where its binary log ends".to_owned());
        steps.extend(asked(request));
    }
    ended(request, steps)
}

/// The steps that a dump of the live server would take.
pub fn describe_live(request: &Request, ground: &LiveGround) -> Vec<String> {
    let (workers, budget) = (request.dump.workers, human_duration(request.hold.max_stall));
    vec![
        format!("lock the server ({:?}), for at most {budget}, waiting included", ground.lock),
        format!("let {workers} connections begin a transaction, read the position, unlock"),
        dump_step(request, ground.size),
        "read back every file and compare".to_owned(),
        "write the manifest: now it is a backup".to_owned(),
    ]
}

fn dump_step(request: &Request, size: Bytes) -> String {
    let (workers, to, job) = (request.dump.workers, &request.to, &request.job);
    format!("dump by {workers} connections to {to}/{job}, at most about {size}")
}

fn asked(request: &Request) -> Vec<String> {
    let queries = if request.prove >= ProofLevel::Queries { request.queries.as_slice() } else { &[] };
    let tables = (request.prove >= ProofLevel::Tables).then(|| "let it read every table".to_owned());
    queries.iter().map(|query| format!("ask it: {query}")).chain(tables).collect()
}

fn ended(request: &Request, mut steps: Vec<String>) -> Vec<String> {
    steps.push(if request.keep_snapshot { "keep the snapshot" } else { "remove the snapshot" }.to_owned());
    steps.push("write the manifest: now it is a backup".to_owned());
    steps
}
