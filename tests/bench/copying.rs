//! How fast a snapshot is copied while nothing is written.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::ground::{self, CONFIGURATION, DESTINATION, Ground, manifest, run};

const MOUNT: &str = "/run/bench-snapshot";
const MEBIBYTE: f64 = 1_048_576.0;

/// One copy by each program, of one snapshot, to one disk. A copy ends when it is on the disk.
pub fn measure(ground: &Ground) -> anyhow::Result<Vec<Value>> {
    ground::tidy()?;
    forget_what_was_read()?;
    run(&["mysnap", "--config", CONFIGURATION, "backup", "bench", "--keep-snapshot"])?;
    let manifest = manifest()?;
    let text = |path: &str| manifest.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let snapshot = text("/snapshots/0/name").context("the manifest names the snapshot")?;
    let id = text("/id").context("the manifest has an id")?;
    let bytes = manifest.pointer("/files/totals/bytes").and_then(Value::as_f64).context("the manifest has a total")?;
    let phases = manifest.get("phases").and_then(Value::as_array).context("the manifest has phases")?;
    let copy = phases.iter().find(|phase| phase.get("name").is_some_and(|name| name == "copy"));
    let took = copy.and_then(|phase| phase.get("ms")?.as_u64()).context("the manifest has the copy's time")?;

    mount(ground, &snapshot)?;
    let plain = plain_copies();
    run(&["umount", MOUNT])?;
    run(&["mysnap", "--config", CONFIGURATION, "release", "--yes", &id])?;

    let mut all = vec![("mysnap", Duration::from_millis(took))];
    all.extend(plain?);
    let rate = |took: Duration| (bytes / MEBIBYTE / took.as_secs_f64() * 10.0).round() / 10.0;
    let figure =
        |(program, took)| json!({ "copy": program, "mib_per_s": rate(took), "mib": (bytes / MEBIBYTE).round() });
    Ok(all.into_iter().map(figure).collect())
}

fn mount(ground: &Ground, snapshot: &str) -> anyhow::Result<()> {
    run(&["mkdir", "-p", MOUNT])?;
    let options = if ground.is_xfs { "ro,nouuid,norecovery" } else { "ro" };
    run(&["mount", "-o", options, &format!("/dev/{snapshot}"), MOUNT]).map(drop)
}

fn plain_copies() -> anyhow::Result<Vec<(&'static str, Duration)>> {
    Ok(vec![("cp -a", copied("cp")?), ("rsync -a", copied("rsync")?)])
}

fn copied(program: &str) -> anyhow::Result<Duration> {
    let (source, target) = (format!("{MOUNT}/."), format!("{DESTINATION}/plain"));
    forget_what_was_read()?;
    let began = Instant::now();
    run(&[program, "-a", &source, &target])?;
    run(&["sync", "-f", &target])?;
    let took = began.elapsed();
    run(&["rm", "-r", &target])?;
    Ok(took)
}

fn forget_what_was_read() -> anyhow::Result<()> {
    run(&["sync"])?;
    run(&["sysctl", "-q", "vm.drop_caches=3"]).map(drop)
}
