//! What a backup would do, in words: printed by `--dry-run`.

use crate::check::coverage::SourceRoot;
use crate::check::{Ground, LiveGround, Request};
use crate::snapshot::SnapshotKind;
use crate::store::{Method, ProofLevel, SshStore, Totals};
use crate::sys::units::{Bytes, human_duration};

const READ_BACK: &str = "read back every file and compare";

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
    let (reading, there) = reading(request, ground);
    let removing = if request.keep_snapshot { "keep the snapshot" } else { "remove the snapshot" }.to_owned();
    steps.extend(reading);
    // One that stays is let go last: a run that fails must leave none.
    let (before, after) = if request.keep_snapshot { (there, Vec::new()) } else { (Vec::new(), there) };
    steps.extend(before.into_iter().chain([removing]).chain(after));
    steps.push("write the manifest: now it is a backup".to_owned());
    steps
}

/// What is read from the snapshot, and what the node then does without it.
fn reading(request: &Request, ground: &Ground) -> (Vec<String>, Vec<String>) {
    let source = Bytes(ground.source.bytes);
    let node = ground.target.store.node().filter(|_| request.asks_the_node()).map(SshStore::host);
    let on_snapshot = || second_server("on the snapshot", request, source);
    let Some(node) = node else {
        let here = match request.method {
            Method::Dump => on_snapshot(),
            Method::Copy if request.prove.starts_a_server() => [copied(request, ground), on_snapshot()].concat(),
            Method::Copy | Method::Increment => copied(request, ground),
        };
        return (here, Vec::new());
    };
    let scratch = request.node_scratch.display();
    let on_node = |what: &str| second_server(&format!("on {what} on {node}, in {scratch}"), request, source);
    match request.method {
        Method::Dump => {
            let copy = format!("copy the files ({source}) to {scratch} on {node}, read them back");
            (vec![copy], on_node("them"))
        }
        Method::Copy | Method::Increment => (copied(request, ground), on_node("the copy, which stays as it is,")),
    }
}

fn copied(request: &Request, ground: &Ground) -> Vec<String> {
    let copy =
        |root: &SourceRoot| format!("copy {} as {} to {}/{}", root.live.display(), root.name, request.to, request.job);
    let Totals { bytes, files, .. } = ground.source;
    let read_back = format!("read back {} in {files} files and compare", Bytes(bytes));
    let read_back = (request.prove > ProofLevel::None).then_some(read_back);
    ground.covered.roots.iter().map(copy).chain(read_back).collect()
}

/// What a second server is started for.
fn second_server(on: &str, request: &Request, source: Bytes) -> Vec<String> {
    let mut steps = vec![format!("start a second server {on}, see where its binary log ends")];
    steps.extend(asked(request));
    if request.method == Method::Dump {
        steps.extend([dump_step(request, source), READ_BACK.to_owned()]);
    }
    steps
}

/// The steps that a dump of the live server would take.
pub fn describe_live(request: &Request, ground: &LiveGround) -> Vec<String> {
    let (workers, budget) = (request.dump.workers, human_duration(request.hold.max_stall));
    vec![
        format!("lock the server ({:?}), for at most {budget}, waiting included", ground.lock),
        format!("let {workers} connections begin a transaction, read the position, unlock"),
        dump_step(request, ground.size),
        READ_BACK.to_owned(),
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
