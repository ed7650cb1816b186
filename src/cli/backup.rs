//! `backup` and `check`.

use super::args::{BackupArgs, CheckArgs};
use super::{Context, expire};
use crate::backup::increment::{self, Because, Incremental, Made};
use crate::backup::{self, Outcome};
use crate::binlog;
use crate::check::{self, Findings, Level, Request};
use crate::config::{Config, Job, LIVE, SnapshotSize};
use crate::fault::{Failure, Fault, Kind, Leftover};
use crate::recover;
use crate::run::events::{Event, Observer};
use crate::snapshot::{Limits, PoolRoom, StoreSize};
use crate::store::{Increment, Method};
use crate::sys::units::{Bytes, human_duration};

pub(super) fn backup(context: &Context<'_>, arguments: &BackupArgs) -> anyhow::Result<()> {
    let config = match &arguments.to {
        Some(to) => Config::of_a_live_dump(to)?,
        None => context.config()?,
    };
    let job = config.job(arguments.job.as_deref().unwrap_or(LIVE))?;
    let mut request = request(job);
    request.keep_snapshot |= arguments.keep_snapshot;
    request.new_server = arguments.new_server;
    let full = arguments.full || arguments.keep_snapshot || arguments.new_server;
    let how = if full { None } else { incremental(&config, job)? };
    if arguments.dry_run {
        return dry_run(context, &request, how.as_ref());
    }
    let outcome = made(context, &request, how.as_ref()).map_err(with_leftovers)?;
    expire::after_backup(context, &config, job, &outcome.manifest);
    context.output.result(&summary(&outcome, &request));
    context.output.result_event(&outcome.manifest)?;
    let Some(left) = outcome.cleanup else { return Ok(()) };
    let message = format!("backup {} is good, but something of the run is left", outcome.manifest.id);
    Err(Fault::new(Kind::CleanupPending, message).hint("`mysnap recover` removes it").caused_by(left).into())
}

/// An increment where the job has them and it can be one; else a full backup.
fn made(context: &Context<'_>, request: &Request, how: Option<&Incremental>) -> anyhow::Result<Outcome> {
    if let Some(how) = how {
        match increment::increment(request, how, context.output, context.cancel)? {
            Made::Increment(outcome) => return Ok(*outcome),
            Made::Due(because) => tell_due(context, &because),
        }
    }
    backup::backup(request, context.output, context.cancel)
}

fn tell_due(context: &Context<'_>, because: &Because) {
    let output: &dyn Observer = context.output;
    let text = format!("{because}; a full backup is made");
    if because.is_alarm() { output.warn(text) } else { output.event(Event::Note { text }) }
}

/// Where the job's increments are kept; none where every backup is full.
fn incremental(config: &Config, job: &Job) -> anyhow::Result<Option<Incremental>> {
    let Some(asked) = &job.incremental else { return Ok(None) };
    let archive = config.archive(Some(asked.archive.as_str()))?;
    let (name, binlog) = (archive.name.clone(), super::binlog::request(archive));
    Ok(Some(Incremental { archive: name, binlog, full_every: asked.full_every }))
}

pub(super) fn check(context: &Context<'_>, arguments: &CheckArgs) -> anyhow::Result<()> {
    let config = context.config()?;
    let findings = match config.archives().iter().find(|archive| archive.name.as_str() == arguments.job) {
        Some(archive) => binlog::check::survey(&super::binlog::request(archive), context.cancel),
        None => checked(context, &config, config.job(&arguments.job)?)?,
    };
    if arguments.json {
        context.output.answer_json(&findings)?;
    } else {
        context.output.answer(&shown(&findings));
    }
    findings.into_result()
}

/// What a backup of `job` would meet, and what dead runs left.
fn checked(context: &Context<'_>, config: &Config, job: &Job) -> anyhow::Result<Findings> {
    let (_, mut findings) = survey(context, &request(job))?;
    if let Some(how) = incremental(config, job)? {
        findings.extend(binlog::check::survey(&how.binlog, context.cancel));
    }
    for Leftover { text, remedy } in findings.attempt("leftovers", leftovers()).into_iter().flatten() {
        findings.warn("leftovers", text, remedy.unwrap_or("the next run does not touch it"));
    }
    Ok(findings)
}

/// Looked at, not remembered: after a failed run people ask first what it left.
fn with_leftovers(error: anyhow::Error) -> anyhow::Error {
    match leftovers() {
        Ok(left) => Failure::leaving(error, left),
        Err(_) => error,
    }
}

fn leftovers() -> anyhow::Result<Vec<Leftover>> {
    Ok(recover::plan()?.left())
}

/// What was found, and the steps that a backup would take.
fn survey(context: &Context<'_>, request: &Request) -> anyhow::Result<(Vec<String>, Findings)> {
    let mut session = request.server.connect(context.cancel)?;
    let (steps, findings) = if request.is_live() {
        let (ground, findings) = check::survey_live(request, &mut session, context.cancel);
        (ground.map(|ground| backup::describe_live(request, &ground)), findings)
    } else {
        let (ground, findings) = check::survey(request, &mut session, context.cancel);
        (ground.map(|ground| backup::describe(request, &ground)), findings)
    };
    context.cancel.check()?;
    Ok((steps.unwrap_or_default(), findings))
}

fn dry_run(context: &Context<'_>, request: &Request, how: Option<&Incremental>) -> anyhow::Result<()> {
    if let Some(how) = how {
        match increment::describe(request, how, context.cancel)? {
            Ok(steps) => {
                show_steps(context, &steps);
                return Ok(());
            }
            Err(because) => tell_due(context, &because),
        }
    }
    let (steps, findings) = survey(context, request)?;
    findings.into_result()?;
    show_steps(context, &steps);
    Ok(())
}

fn show_steps(context: &Context<'_>, steps: &[String]) {
    let lines: Vec<String> = steps.iter().enumerate().map(|(n, step)| format!("{:>3}. {step}", n + 1)).collect();
    context.output.answer(&lines.join("\n"));
}

fn shown(findings: &Findings) -> String {
    let mut lines = Vec::new();
    for finding in findings.iter() {
        let mark = match finding.level {
            Level::Good => "ok",
            Level::Warning => "warning",
            Level::Refusal => "REFUSED",
        };
        lines.push(format!("{mark:>8}  {}: {}", finding.subject, finding.text));
        if let Some(hint) = &finding.hint {
            lines.push(format!("{:>8}  -> {hint}", ""));
        }
    }
    lines.join("\n")
}

fn summary(outcome: &Outcome, request: &Request) -> String {
    let manifest = &outcome.manifest;
    if let Some(increment) = &manifest.increment {
        let Increment { base, to, archive, .. } = increment;
        return format!(
            "increment {} is good: {} in the archive {archive}, nothing is missing from backup {base} to {}:{}\n\
             a full backup instead: mysnap backup {} --full",
            manifest.id,
            Bytes(increment.bytes),
            to.file,
            to.offset,
            manifest.job
        );
    }
    let held = std::time::Duration::from_millis(manifest.hold.waited_ms + manifest.hold.held_ms);
    let took = std::time::Duration::try_from(manifest.end.duration_since(manifest.begin)).unwrap_or_default();
    let from = if request.job.as_str() == LIVE { format!("--from {} ", request.to) } else { String::new() };
    let place = match manifest.method {
        Method::Copy | Method::Increment => "--to DIR",
        Method::Dump => "--database NAME --as NEWNAME",
    };
    format!(
        "backup {} is good: {} in {} to {}; writers waited {}\nbring it back with: mysnap restore {} {from}{place}",
        manifest.id,
        Bytes(manifest.files.totals.bytes),
        human_duration(took),
        request.to,
        human_duration(held),
        manifest.id
    )
}

/// What the configuration says of `job`, as the use case takes it.
fn request(job: &Job) -> Request {
    Request {
        job: job.name.clone(),
        server: job.server.clone(),
        to: job.to.clone(),
        ssh: job.ssh.clone(),
        method: job.method,
        source: job.source,
        dump: job.dump.clone(),
        transfer: job.transfer,
        prove: job.prove,
        queries: job.queries.clone(),
        start_timeout: job.start_timeout,
        server_on: job.server_on,
        node_scratch: job.node_scratch.clone(),
        prepared: job.prepared,
        lock: job.lock,
        hold: job.hold,
        tries: job.retries,
        pause: job.retry_pause,
        long_queries: job.long_queries,
        snapshot_size: match job.snapshot_size {
            SnapshotSize::Auto => StoreSize::Auto,
            SnapshotSize::Share(share) => StoreSize::Share(share),
            SnapshotSize::Bytes(bytes) => StoreSize::Bytes(bytes),
        },
        limits: limits(job),
        pool_room: pool_room(job),
        keep_snapshot: job.keep_snapshot,
        new_server: false,
    }
}

pub(super) fn limits(job: &Job) -> Limits {
    Limits {
        warn: job.store.warn,
        grow_at: job.store.grow_at,
        grow_by: job.store.grow_by,
        give_up: job.store.give_up,
        pool_give_up: job.pool.give_up,
    }
}

pub(super) fn pool_room(job: &Job) -> PoolRoom {
    PoolRoom { data: job.pool.data, metadata: job.pool.metadata }
}
