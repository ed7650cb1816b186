//! `drill`: does a backup come back?

use std::path::Path;
use std::time::Duration;

use super::Context;
use super::args::{DrillArgs, DrillLevel};
use super::source::Opened;
use crate::drill::{self, Report, Request};
use crate::fault::{Fault, Kind};
use crate::run::events::{Event, Observer as _};
use crate::store::{Backup, ProofLevel};
use crate::sys::units::human_duration;

pub(super) fn drill(context: &Context<'_>, arguments: &DrillArgs) -> anyhow::Result<()> {
    let opened = Opened::of(context, context.config()?.job(&arguments.job)?)?;
    let backup = opened.full(&arguments.id)?;
    tell_of_increments(context, &opened, &backup)?;
    let level = level(&opened, arguments.level)?;
    let report = of(context, &opened, backup, level, &arguments.scratch)?;
    if arguments.json {
        return context.output.answer_json(&report);
    }
    tell(context, &report)
}

/// What a drill of the newest full backup does not look at.
fn tell_of_increments(context: &Context<'_>, opened: &Opened, backup: &Backup) -> anyhow::Result<()> {
    let catalog = opened.catalog()?;
    let count = catalog.increments().filter(|i| i.manifest.needs() == Some(&backup.manifest.id)).count();
    if count > 0 {
        let text = format!("backup {} is drilled without its {count} increments", backup.manifest.id);
        context.output.event(Event::Note { text });
    }
    Ok(())
}

/// The level that was asked for, where there is what it needs.
pub(super) fn level(opened: &Opened, asked: DrillLevel) -> anyhow::Result<ProofLevel> {
    match asked {
        DrillLevel::Start => Ok(ProofLevel::Start),
        DrillLevel::Queries if opened.queries.is_empty() => {
            let fault = Fault::new(Kind::Config, "there are no queries for the level \"queries\"");
            Err(fault.hint("set queries in the job, and name the job").into())
        }
        DrillLevel::Queries => Ok(ProofLevel::Queries),
        DrillLevel::Tables => Ok(ProofLevel::Tables),
    }
}

/// A drill of `backup`.
pub(super) fn of(
    context: &Context<'_>,
    opened: &Opened,
    backup: Backup,
    level: ProofLevel,
    scratch: &Path,
) -> anyhow::Result<Report> {
    let Opened { store, transfer, queries, start_timeout, .. } = opened;
    let request = Request {
        backup,
        scratch: scratch.to_owned(),
        level,
        queries: queries.clone(),
        start_timeout: *start_timeout,
        transfer: *transfer,
    };
    drill::drill(&request, &**store, context.output, context.cancel)
}

/// What came of it, in words or as an event.
pub(super) fn tell(context: &Context<'_>, report: &Report) -> anyhow::Result<()> {
    context.output.result(&summary(report));
    context.output.result_event(report)
}

fn summary(report: &Report) -> String {
    let found = report.found.clone().unwrap_or_default();
    let time = |ms| human_duration(Duration::from_millis(ms));
    format!(
        "backup {} comes back: restored in {}, the server answered after {}; all of it took {}",
        report.backup,
        time(found.restore_ms),
        time(found.shown.start_ms),
        time(report.total_ms)
    )
}
