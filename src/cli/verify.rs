//! `verify`: every stored file against its digest.

use serde::Serialize;

use super::args::VerifyArgs;
use super::{Context, drill, source};
use crate::fault::{Fault, Kind};
use crate::run::events::{Event, Observer};
use crate::sys::units::Bytes;
use crate::verify::{self, Report};

pub(super) fn verify(context: &Context<'_>, arguments: &VerifyArgs) -> anyhow::Result<()> {
    let opened = source::open(context, &arguments.source)?;
    let backup = opened.backup(&arguments.id)?;
    let level = arguments.level.map(|level| drill::level(&opened, level)).transpose()?;
    let total = Bytes(backup.manifest.files.totals.bytes);
    let progress = |done| context.output.event(Event::Progress { done: Bytes(done), total });
    let output: &dyn Observer = context.output;
    let report = output.phase(
        "verify",
        || verify::verify(&*opened.store, &backup, &progress),
        |r| format!("{} files, {} read", r.files, Bytes(r.bytes)),
    )?;
    let drill = level.filter(|_| report.is_good());
    let drill = drill.map(|level| drill::of(context, &opened, backup, level, &arguments.scratch));
    if arguments.json {
        let found = drill.as_ref().and_then(|drill| drill.as_ref().ok());
        context.output.answer_json(&Answer { report: &report, drill: found })?;
        return judge(&report).and(drill.transpose().map(drop));
    }
    judge(&report)?;
    context.output.result(&format!("backup {} is whole: {} files match their digests", report.id, report.files));
    drill.transpose()?.iter().try_for_each(|drill| drill::tell(context, drill))
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// What a drill found, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    drill: Option<&'a crate::drill::Report>,
}

fn judge(report: &Report) -> anyhow::Result<()> {
    if report.is_good() {
        return Ok(());
    }
    let lists = [
        ("missing", &report.missing),
        ("changed", &report.changed),
        ("unreadable", &report.unreadable),
        ("not listed", &report.extra),
        ("twin damaged", &report.twins_damaged),
    ];
    let found: Vec<String> =
        lists.iter().flat_map(|(what, names)| names.iter().map(move |name| format!("{what}: {name}"))).collect();
    let fault = Fault::new(Kind::Verify, format!("backup {} is damaged: {}", report.id, found.join("; ")));
    Err(fault.hint("restore from another backup (`mysnap list`); look at the destination's disk").into())
}
