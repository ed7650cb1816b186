//! `restore`: files back from a copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::RestoreArgs;
use super::source;
use super::{Context, load, pitr};
use crate::fault::{Fault, Kind};
use crate::restore::{self, Plan, Request, Restored};
use crate::run::events::{Event, Observer};
use crate::store::{Backup, Method, RootName, Transfer};
use crate::sys::units::Bytes;

pub(super) fn restore(context: &Context<'_>, arguments: &RestoreArgs) -> anyhow::Result<()> {
    let opened = source::open(context, &arguments.source)?;
    if arguments.point.is_given() {
        return pitr::restore(context, &opened, arguments);
    }
    let id = arguments.id.as_deref().unwrap_or_default();
    if let Some(increment) = opened.increment(id)? {
        return pitr::restore_increment(context, &opened, &increment, arguments);
    }
    let backup = opened.full_to_bring_back(context, id)?;
    if backup.manifest.method == Method::Dump {
        refuse_directory(arguments)?;
        return load::load(context, &opened, &backup, arguments);
    }
    if !arguments.dump.databases.is_empty() {
        return load::extract(context, &opened, &backup, arguments);
    }
    let Some(to) = &arguments.to else {
        let fault = Fault::new(Kind::Config, format!("backup {} is files: where do they go?", backup.manifest.id));
        let hint = "all of them: --to DIR; one database into a running server: --database NAME --as NEWNAME";
        return Err(fault.hint(hint).into());
    };
    let request = request(arguments, to, opened.transfer)?;
    let plan = restore::plan(&*opened.store, &backup, &request)?;
    if !is_to_be_done(context, arguments, &backup, &shown(&plan, &backup))? {
        return Ok(());
    }
    let total = Bytes(backup.manifest.files.totals.bytes);
    let progress = |done| context.output.event(Event::Progress { done: Bytes(done), total });
    let output: &dyn Observer = context.output;
    let restored = output.phase(
        "restore",
        || restore::execute(&plan, &*opened.store, &progress, context.cancel),
        |r| format!("{} files, {} into {}, every digest matches", r.files, Bytes(r.bytes), r.to.display()),
    )?;
    finish(context, arguments, &plan, &restored)
}

/// Shows the plan, and asks where something gives way; whether there is more to do than that.
pub(super) fn is_to_be_done(
    context: &Context<'_>,
    arguments: &RestoreArgs,
    backup: &Backup,
    shown: &str,
) -> anyhow::Result<bool> {
    if arguments.dry_run {
        context.output.answer(shown);
    } else if arguments.replace {
        context.output.confirm(shown, backup.manifest.id.as_str(), arguments.yes)?;
    } else {
        context.output.result(shown);
    }
    Ok(!arguments.dry_run)
}

/// Starts the server where that was asked for, and says what to do next.
pub(super) fn finish(
    context: &Context<'_>,
    arguments: &RestoreArgs,
    plan: &Plan,
    restored: &Restored,
) -> anyhow::Result<()> {
    if !arguments.start {
        return tell(context, restored);
    }
    let output: &dyn Observer = context.output;
    let start = || restore::start(plan, restored, context.cancel);
    let started = output.phase("start", start, |_| "the server answers".to_owned());
    // Where the former files are must be known above all where the server does not start.
    tell(context, started.as_ref().unwrap_or(restored))?;
    started.map(drop)
}

/// What was typed, for files that go to `to`.
pub(super) fn request(arguments: &RestoreArgs, to: &Path, transfer: Transfer) -> anyhow::Result<Request> {
    Ok(Request {
        to: to.to_owned(),
        roots: roots(&arguments.roots)?,
        replace: arguments.replace,
        clone: arguments.clone,
        any_version: arguments.any_version,
        start: arguments.start,
        workshop: None,
        transfer,
    })
}

fn refuse_directory(arguments: &RestoreArgs) -> anyhow::Result<()> {
    if arguments.to.is_none() {
        return Ok(());
    }
    let fault = Fault::new(Kind::Config, "a dump goes into a running server, not into a directory");
    Err(fault.hint("leave --to out; --into SERVER names another server than the job's").into())
}

fn tell(context: &Context<'_>, restored: &Restored) -> anyhow::Result<()> {
    context.output.result(&next(restored));
    context.output.result_event(restored)
}

fn roots(typed: &[String]) -> anyhow::Result<BTreeMap<RootName, PathBuf>> {
    let wrong = |text: &str| {
        Fault::new(Kind::Config, format!("--root {text}: not NAME=PATH with an absolute path"))
            .hint("`mysnap show` lists the names under \"contains\"")
    };
    let mut roots = BTreeMap::new();
    for text in typed {
        let (name, path) = text.split_once('=').ok_or_else(|| wrong(text))?;
        let name: RootName = name.parse().map_err(|_| wrong(text))?;
        if !path.starts_with('/') {
            return Err(wrong(text).into());
        }
        roots.insert(name, path.into());
    }
    Ok(roots)
}

fn shown(plan: &Plan, backup: &Backup) -> String {
    let begin = std::iter::once(format!("plan, backup {} of {}:", backup.manifest.id, backup.manifest.taken()));
    let steps = plan.steps.iter().enumerate().map(|(n, step)| format!("  {}. {step}", n + 1));
    let warnings = plan.warnings.iter().map(|warning| format!("  warning: {warning}"));
    begin.chain(steps).chain(warnings).collect::<Vec<_>>().join("\n")
}

fn next(restored: &Restored) -> String {
    let mut lines = vec![format!("restored into {}", restored.to.display())];
    lines.extend(restored.kept_aside.iter().map(|p| format!("what was there before: {}", p.display())));
    if !restored.next.is_empty() {
        lines.push("next:".to_owned());
        lines.extend(restored.next.iter().map(|step| format!("  - {step}")));
    }
    lines.join("\n")
}
