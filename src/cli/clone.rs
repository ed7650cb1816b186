//! `clone`, `clone list` and `clone stop`.

use std::ffi::OsString;
use std::net::SocketAddr;

use serde::Serialize;

use super::args::{self, CloneArgs, CloneStart, CloneVerb};
use super::source::{self, Opened};
use super::{Context, backup, snapshots};
use crate::clone::{self, Listed, Plan, Request, Source, State, unit};
use crate::fault::{Fault, Kind};
use crate::id::{CloneName, RunId};
use crate::kept::Kept;
use crate::run::CloneGround;
use crate::run::events::Observer;
use crate::server::Flavour;
use crate::snapshot::{Limits, PoolRoom};

pub(super) fn clone(context: &Context<'_>, arguments: &CloneArgs) -> anyhow::Result<()> {
    match (&arguments.verb, &arguments.start) {
        (Some(CloneVerb::List { json }), _) => list(context, *json),
        (Some(CloneVerb::Stop { name, yes }), _) => stop(context, name, *yes),
        (None, Some(start)) => begin(context, start, &arguments.source),
        (None, None) => Err(Fault::new(Kind::Config, "clone of what?").hint("mysnap clone --help").into()),
    }
}

fn begin(context: &Context<'_>, arguments: &CloneStart, from: &args::Source) -> anyhow::Result<()> {
    if let Some(report) = &arguments.report {
        return in_the_unit(context, arguments, from, report);
    }
    let request = request(context, arguments, from)?;
    let plan = clone::plan(&request)?;
    if arguments.dry_run {
        context.output.answer(&shown(&plan));
        return Ok(());
    }
    if plan.uses_up {
        context.output.confirm(&shown(&plan), request.source.id().as_str(), arguments.yes)?;
    } else {
        context.output.result(&shown(&plan));
    }
    let output: &dyn Observer = context.output;
    if arguments.foreground || !unit::is_available() {
        return clone::serve(&request, output, context.cancel, &|| {
            tell(context, &request, "Ctrl-C ends it, and with it what was written to it")
        });
    }
    let begin = || unit::start(&request.name, &again(context, arguments, from)?, output, context.cancel);
    output.phase("clone", begin, |()| format!("{} runs as {}", request.name, unit::name(&request.name)))?;
    tell(context, &request, &format!("mysnap clone stop {}", request.name))
}

/// The unit's own part: whoever started it waits for an answer.
fn in_the_unit(
    context: &Context<'_>,
    arguments: &CloneStart,
    from: &args::Source,
    report: &std::path::Path,
) -> anyhow::Result<()> {
    let reporter = unit::Reporter::open(report)?;
    let ready = || {
        reporter.ready();
        Ok(())
    };
    request(context, arguments, from)
        .and_then(|request| clone::serve(&request, &reporter, context.cancel, &ready))
        .inspect_err(|error| reporter.failed(error))
}

/// What was typed, for the unit: it works in another directory.
fn again(context: &Context<'_>, arguments: &CloneStart, from: &args::Source) -> anyhow::Result<Vec<OsString>> {
    let mut words: Vec<OsString> = vec!["--config".into(), std::path::absolute(&context.arguments.config)?.into()];
    words.extend(["clone", &arguments.id, "--name", arguments.name.as_str(), "--yes"].map(OsString::from));
    words.extend(["--buffer-pool".into(), arguments.buffer_pool.0.to_string().into()]);
    words.extend(["--scratch".into(), std::path::absolute(&arguments.scratch)?.into()]);
    if let Some(port) = arguments.port {
        words.extend(["--port", &port.to_string(), "--bind", &arguments.bind.to_string()].map(OsString::from));
    }
    if arguments.replace_accounts {
        words.push("--replace-accounts".into());
    }
    for (option, value) in [("--job", &from.job), ("--from", &from.from)] {
        words.extend(value.iter().flat_map(|value| [option.into(), value.into()]));
    }
    Ok(words)
}

fn request(context: &Context<'_>, arguments: &CloneStart, from: &args::Source) -> anyhow::Result<Request> {
    Ok(Request {
        name: arguments.name.clone(),
        listen: arguments.port.map(|port| SocketAddr::new(arguments.bind, port)),
        buffer_pool: arguments.buffer_pool,
        replace_accounts: arguments.replace_accounts,
        source: source(context, arguments, from)?,
    })
}

/// A kept snapshot, unless a destination is named.
fn source(context: &Context<'_>, arguments: &CloneStart, from: &args::Source) -> anyhow::Result<Source> {
    let named = from.job.is_some() || from.from.is_some();
    if let Some(run) = arguments.id.parse::<RunId>().ok().filter(|_| !named) {
        let volumes = snapshots::volumes_of(&run)?;
        if !volumes.is_empty() {
            let kept = Box::new(Kept::of(&run)?);
            let (limits, pool_room) = limits(context, &kept)?;
            return Ok(Source::Kept { kept, volumes, limits, pool_room });
        }
    }
    let opened = source::open(context, from)?;
    let backup = Box::new(opened.full_to_bring_back(context, &arguments.id)?);
    let Opened { store, transfer, .. } = opened;
    Ok(Source::Backup { backup, store, scratch: arguments.scratch.clone(), transfer })
}

/// Those of the job whose snapshots they are, or what a job has that says nothing about it.
fn limits(context: &Context<'_>, kept: &Kept) -> anyhow::Result<(Limits, PoolRoom)> {
    if !context.arguments.config.exists() {
        return Ok((Limits::default(), PoolRoom::default()));
    }
    let config = context.config()?;
    let job = config.jobs().iter().find(|job| job.name == kept.job);
    Ok(job.map_or_else(Default::default, |job| (backup::limits(job), backup::pool_room(job))))
}

fn list(context: &Context<'_>, json: bool) -> anyhow::Result<()> {
    let clones = clone::list()?;
    if json {
        return context.output.answer_json(&clones);
    }
    if clones.is_empty() {
        context.output.answer("no clones");
        return Ok(());
    }
    let head = row(["NAME", "STATE", "OF", "DATA OF", "SINCE", "ROOM", "WHERE"].map(str::to_owned));
    let lines: Vec<String> = std::iter::once(head).chain(clones.iter().map(line)).collect();
    context.output.answer(&lines.join("\n"));
    Ok(())
}

fn line(clone: &Listed) -> String {
    let what = &clone.what;
    let time = |at: jiff::Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let at = what.listen.map(|at| format!(" and {at}")).unwrap_or_default();
    let place = format!("{}{at}", what.socket.display());
    let [name, state] = [clone.name.clone(), clone.state.name().to_owned()];
    row([name, state, what.of.to_string(), time(what.taken), time(clone.since), clone.room(), place])
}

fn row([name, state, of, taken, since, room, place]: [String; 7]) -> String {
    format!("{name:<16} {state:<9} {of:<22} {taken:<21} {since:<21} {room:<18} {place}")
}

fn stop(context: &Context<'_>, name: &CloneName, yes: bool) -> anyhow::Result<()> {
    let clone = clone::find(name)?;
    let gone = match clone.what.ground {
        CloneGround::Thin => "remove its snapshot: what was written to it is gone".to_owned(),
        CloneGround::Thick => "leave the kept snapshot as the clone has made it".to_owned(),
        CloneGround::Files => "remove its files: what was written to it is gone".to_owned(),
    };
    let end = match clone.state {
        State::Dead => "clean up after it, as `mysnap recover` does",
        State::Starting | State::Running => "end its server",
    };
    context.output.confirm(&format!("plan:\n  1. {end}\n  2. {gone}"), name.as_str(), yes)?;
    clone::stop(&clone, context.output, context.cancel)?;
    if unit::is_available() {
        unit::settle(name, context.cancel)?;
    }
    context.output.result(&format!("clone {name} is gone"));
    Ok(())
}

fn shown(plan: &Plan) -> String {
    let steps = plan.steps.iter().enumerate().map(|(n, step)| format!("  {}. {step}", n + 1));
    let warnings = plan.warnings.iter().map(|warning| format!("  note: {warning}"));
    let lines: Vec<String> = std::iter::once("plan:".to_owned()).chain(steps).chain(warnings).collect();
    lines.join("\n")
}

/// Where a clone is, as the last event.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    socket: std::path::PathBuf,
    listen: Option<SocketAddr>,
    option_file: Option<std::path::PathBuf>,
}

fn tell(context: &Context<'_>, request: &Request, end: &str) -> anyhow::Result<()> {
    let socket = clone::socket(&request.name);
    let option_file = request.replace_accounts.then(|| clone::option_file(&request.name));
    let client = if request.source.flavour() == Flavour::MariaDb { "mariadb" } else { "mysql" };
    let taken = request.source.taken().strftime("%Y-%m-%dT%H:%M:%SZ");
    let mut lines = vec![format!("clone {} has the data of {taken}", request.name)];
    lines.push(match &option_file {
        Some(file) => format!("connect:  {client} --defaults-file={}", file.display()),
        None => format!("connect:  {client} --socket={}, with an account of the data", socket.display()),
    });
    if let Some(at) = request.listen {
        lines.push(format!("      or:  {client} --host={} --port={} --protocol=tcp", at.ip(), at.port()));
    }
    lines.push(format!("end it:   {end}"));
    context.output.result(&lines.join("\n"));
    let told = Told { name: request.name.as_str(), socket, listen: request.listen, option_file };
    context.output.result_event(&told)
}
