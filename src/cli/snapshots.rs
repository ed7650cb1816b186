//! `recover`, `snapshots`, `release` and `rollback`: the snapshots that exist, and their end.

use serde::Serialize;

use super::Context;
use super::args::{RecoverArgs, ReleaseArgs, RollbackArgs, SnapshotsArgs};
use crate::fault::{Fault, Kind, kind_of};
use crate::id::RunId;
use crate::lvm::{self, Volume};
use crate::run::events::Observer;
use crate::sys::units::Bytes;
use crate::{kept, recover, rollback, snapshot};

pub(super) fn recover(context: &Context<'_>, arguments: &RecoverArgs) -> anyhow::Result<()> {
    if !arguments.dry_run {
        let left = recover::recover(context.output).map_err(unfinished)?;
        context.output.result(if left.is_empty() {
            "nothing is left of dead runs"
        } else {
            "what is left of dead runs waits for you, as said above"
        });
        return Ok(());
    }
    let plan = recover::plan()?;
    let lines: Vec<String> = plan.left().into_iter().map(|left| left.text).collect();
    context.output.answer(&if lines.is_empty() { "nothing to do".to_owned() } else { lines.join("\n") });
    Ok(())
}

/// Whatever kept it from its end may leave all that was there before.
fn unfinished(error: anyhow::Error) -> anyhow::Error {
    if kind_of(&error).is_some() {
        return error;
    }
    let fault = Fault::new(Kind::CleanupPending, "what dead runs left could not be removed");
    fault.hint("mend the cause, then run `mysnap recover` again").caused_by(error).into()
}

/// One line of `snapshots --json`.
#[derive(Serialize)]
struct Row {
    run: Option<RunId>,
    volume: String,
    origin: Option<String>,
    kept: bool,
    cloned: bool,
    elsewhere: bool,
    used_percent: Option<f64>,
    size: u64,
    created: String,
}

impl Row {
    fn of(volume: &Volume) -> Self {
        Self {
            run: volume.run(),
            volume: volume.name.to_string(),
            origin: volume.origin.as_ref().map(|lv| format!("{}/{lv}", volume.name.vg)),
            kept: volume.has_tag(lvm::KEEP_TAG),
            cloned: volume.has_tag(lvm::CLONED_TAG),
            elsewhere: volume.has_tag(lvm::ELSEWHERE_TAG),
            used_percent: volume.data_percent,
            size: volume.size.0,
            created: volume.created.clone(),
        }
    }

    fn line(&self) -> String {
        let run = self.run.as_ref().map_or("-", RunId::as_str);
        let used = self.used_percent.map_or_else(|| "-".to_owned(), |used| format!("{used:.1}%"));
        let why = match (self.elsewhere, self.kept, self.cloned) {
            (true, ..) => "mounted by others, now or before: left to you",
            (false, true, true) => "kept, and written to by a clone",
            (false, true, false) => "kept",
            (false, false, _) => "in use, or left by a dead run",
        };
        let origin = self.origin.as_deref().unwrap_or("-");
        format!("{run:<22} {origin:<16} {:>10} {used:>7}  {:<26} {why}", Bytes(self.size).to_string(), self.created)
    }
}

pub(super) fn snapshots(context: &Context<'_>, arguments: &SnapshotsArgs) -> anyhow::Result<()> {
    let rows: Vec<Row> = lvm::volumes_of_ours()?.iter().map(Row::of).collect();
    if arguments.json {
        return context.output.answer_json(&rows);
    }
    if rows.is_empty() {
        context.output.answer("no snapshots of ours");
        return Ok(());
    }
    let head = format!("{:<22} {:<16} {:>10} {:>7}  {:<26} STATE", "RUN", "ORIGIN", "SIZE", "USED", "CREATED");
    let lines: Vec<String> = std::iter::once(head).chain(rows.iter().map(Row::line)).collect();
    context.output.answer(&lines.join("\n"));
    Ok(())
}

pub(super) fn release(context: &Context<'_>, arguments: &ReleaseArgs) -> anyhow::Result<()> {
    let run = run_id(&arguments.id)?;
    let volumes = kept_by(&run)?;
    let names: Vec<String> = volumes.iter().map(|v| v.name.to_string()).collect();
    // Before anything is forgotten of it.
    volumes.iter().try_for_each(snapshot::refuse_mounted)?;
    let used = volumes.iter().any(|volume| volume.has_tag(lvm::ELSEWHERE_TAG));
    let lost = if used { "; others had it mounted, and what they wrote to it is lost" } else { "" };
    let plan = format!("plan:\n  1. remove {}: no rollback to it is possible any more{lost}", names.join(", "));
    context.output.confirm(&plan, run.as_str(), arguments.yes)?;
    // First, because the volumes are what a release that was cut short is found by.
    kept::forget(&run)?;
    for volume in volumes {
        snapshot::release(&volume.uuid, &run)?;
    }
    context.output.result(&format!("removed {}", names.join(", ")));
    Ok(())
}

pub(super) fn rollback(context: &Context<'_>, arguments: &RollbackArgs) -> anyhow::Result<()> {
    let run = run_id(&arguments.id)?;
    let plan = rollback::plan(&run, &kept_by(&run)?)?;
    let text: Vec<String> =
        plan.describe().iter().enumerate().map(|(n, step)| format!("  {}. {step}", n + 1)).collect();
    let shown = format!("plan:\n{}\n{}", text.join("\n"), plan.loss());
    if arguments.dry_run {
        context.output.answer(&shown);
        return Ok(());
    }
    context.output.confirm(&shown, run.as_str(), arguments.yes)?;
    let observer: &dyn Observer = context.output;
    rollback::execute(&plan, observer, context.cancel)?;
    context.output.result("the server answers on the rolled back data");
    Ok(())
}

fn run_id(text: &str) -> anyhow::Result<RunId> {
    let wrong = |why: String| Fault::new(Kind::Config, why).hint("`mysnap snapshots` lists the runs");
    Ok(text.parse().map_err(wrong)?)
}

/// The snapshots of `run`, which must be there; a live run's are not offered.
fn kept_by(run: &RunId) -> anyhow::Result<Vec<Volume>> {
    let volumes = volumes_of(run)?;
    if volumes.is_empty() {
        let message = format!("run {run} has no snapshot here");
        return Err(Fault::new(Kind::NotFound, message).hint("`mysnap snapshots` lists what there is").into());
    }
    crate::run::refuse_live(run)?;
    for volume in &volumes {
        crate::run::refuse_live_on(&volume.name, &volume.uuid)?;
    }
    Ok(volumes)
}

/// The snapshots of `run`; perhaps none.
pub(super) fn volumes_of(run: &RunId) -> anyhow::Result<Vec<Volume>> {
    Ok(lvm::volumes_of_ours()?.into_iter().filter(|volume| volume.run().as_ref() == Some(run)).collect())
}
