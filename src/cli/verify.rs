//! `verify`: every stored file against its digest.

use serde::Serialize;

use super::args::VerifyArgs;
use super::source::Opened;
use super::{Context, drill, source};
use crate::fault::{Fault, Kind};
use crate::run::events::{Event, Observer};
use crate::store::{Backup, Increment};
use crate::sys::units::Bytes;
use crate::verify::{self, Chain, Report};

pub(super) fn verify(context: &Context<'_>, arguments: &VerifyArgs) -> anyhow::Result<()> {
    let opened = source::open(context, &arguments.source)?;
    let backup = opened.backup(&arguments.id)?;
    if let Some(increment) = &backup.manifest.increment
        && arguments.level.is_none()
    {
        return self::increment(context, &opened, &backup, increment, arguments.json);
    }
    source::refuse_increment(&backup)?;
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

/// The part of the archive that a restore of an increment needs.
fn increment(
    context: &Context<'_>,
    opened: &Opened,
    backup: &Backup,
    increment: &Increment,
    json: bool,
) -> anyhow::Result<()> {
    let base = opened.backup(increment.base.as_str()).map_err(|error| {
        let message = format!("the base of increment {} can't be used", backup.manifest.id);
        Fault::new(Kind::Verify, message).caused_by(error)
    })?;
    let home = super::binlog::request(context.config()?.archive(Some(increment.archive.as_str()))?).home;
    let total = Bytes(0);
    let progress = |done| context.output.event(Event::Progress { done: Bytes(done), total });
    let chain = Chain { backup, increment, base: &base, home: &home };
    let output: &dyn Observer = context.output;
    let report = output.phase(
        "verify",
        || verify::increment(&*opened.store, &chain, &progress, context.cancel),
        |r| format!("{} archived files, {} read", r.files, Bytes(r.bytes)),
    )?;
    if json {
        context.output.answer_json(&Answer { report: &report, drill: None })?;
        return judge(&report);
    }
    judge(&report)?;
    let Report { id, files, .. } = &report;
    context.output.result(&format!(
        "increment {id} is whole: from backup {base} on nothing is missing, and {files} archived files match their digests\n\
         the backup itself: mysnap verify {base}",
        base = increment.base
    ));
    Ok(())
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
