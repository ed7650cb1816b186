//! `drill`: does a backup come back?

use std::time::Duration;

use super::Context;
use super::args::{DrillArgs, DrillLevel};
use crate::drill::{self, Report, Request};
use crate::store::{self, Catalog, ProofLevel};
use crate::sys::units::human_duration;

pub(super) fn drill(context: &Context<'_>, arguments: &DrillArgs) -> anyhow::Result<()> {
    let config = context.config()?;
    let job = config.job(&arguments.job)?;
    let store = store::open(&job.to, &job.ssh, context.cancel)?;
    let backup = Catalog::read(&*store, Some(&job.name))?.find(&arguments.id)?.clone();
    let level = match arguments.level {
        DrillLevel::Start => ProofLevel::Start,
        DrillLevel::Queries => ProofLevel::Queries,
        DrillLevel::Tables => ProofLevel::Tables,
    };
    let request = Request {
        backup,
        scratch: arguments.scratch.clone(),
        level,
        queries: job.queries.clone(),
        transfer: job.transfer,
    };
    let report = drill::drill(&request, &*store, context.output, context.cancel)?;
    if arguments.json {
        return context.output.answer_json(&report);
    }
    context.output.result(&summary(&report));
    context.output.result_event(&report)
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
