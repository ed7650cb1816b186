//! `restore --until` and `--before`: a point in time.

use super::args::{BinlogArchive, PointArgs, RestoreArgs};
use super::source::{Opened, newer, refuse_increment};
use super::{Context, binlog, load, restore as files};
use crate::dump::{Compression, Options, Sizes};
use crate::fault::{Fault, Kind};
use crate::load::gives_way;
use crate::pitr::{self, Outcome, Plan, Point, Sources, Target, Wanted as Extracted};
use crate::recover;
use crate::restore::Request;
use crate::run::events::Observer;
use crate::store::{Backup, Catalog, Store};
use crate::sys::namespace;
use crate::sys::units::parse_duration;

pub(super) fn restore(context: &Context<'_>, opened: &Opened, arguments: &RestoreArgs) -> anyhow::Result<()> {
    let target = target(&arguments.point)?;
    refuse_nowhere(arguments)?;
    let catalog = opened.catalog()?;
    let backups = bases(opened, &catalog, arguments.id.as_deref())?;
    let wanted = Wanted { target, catalog: &catalog, backups, archive: archive(&arguments.point), timeline: None };
    to_point(context, opened, &wanted, arguments)
}

/// An increment: its base, brought to where the increment ends.
pub(super) fn restore_increment(
    context: &Context<'_>,
    opened: &Opened,
    backup: &Backup,
    arguments: &RestoreArgs,
) -> anyhow::Result<()> {
    refuse_nowhere(arguments)?;
    // What kind of a backup the id names was not known before; until now only the thread that takes signals was started.
    namespace::ensure_own_mounts()?;
    let catalog = opened.catalog()?;
    let Some(increment) = &backup.manifest.increment else { return refuse_increment(backup) };
    let base = catalog.good().find(|base| base.slot.job == backup.slot.job && base.manifest.id == increment.base);
    let base = base.ok_or_else(|| {
        let message = format!("the base of increment {} can't be used: {}", backup.manifest.id, increment.base);
        Fault::new(Kind::Verify, message).hint("`mysnap list` shows what there is")
    })?;
    let archive = match &arguments.point.archive {
        Some(_) => archive(&arguments.point),
        None => BinlogArchive { archive: Some(increment.archive.to_string()), from: None },
    };
    let target = Target { point: Point::Place(increment.to.clone()), before: false };
    let wanted =
        Wanted { target, catalog: &catalog, backups: vec![base], archive, timeline: Some(&increment.timeline) };
    to_point(context, opened, &wanted, arguments)
}

/// Where to, and what leads there.
struct Wanted<'a> {
    target: Target,
    catalog: &'a Catalog,
    /// The first one from which there is a way is taken.
    backups: Vec<&'a Backup>,
    archive: BinlogArchive,
    /// The only one that is meant, where that is known.
    timeline: Option<&'a str>,
}

fn to_point(
    context: &Context<'_>,
    opened: &Opened,
    wanted: &Wanted<'_>,
    arguments: &RestoreArgs,
) -> anyhow::Result<()> {
    let Wanted { target, catalog, backups, archive, timeline } = wanted;
    let (home, mut index) = binlog::opened(context, archive)?;
    let output: &dyn Observer = context.output;
    // Where it is on the way it is read again, and refused with the nearest point.
    if let Err(error) = crate::binlog::verify::look_at_open(&home, &mut index) {
        output.warn(format!("how far the newest logs are archived can't be told: {error:#}"));
    }
    if arguments.id.is_none() {
        pitr::refuse_ambiguous(backups, &index, target)?;
    }
    // A reset may have given another history the same names.
    if let Some(only) = timeline {
        index.timelines.retain(|timeline| timeline.id == *only);
    }
    let sources = Sources { store: &*opened.store, archive: &home };
    let plan = output.phase(
        "plan",
        || pitr::plan(sources, &index, backups, target, context.cancel),
        |plan| format!("{} transactions to be replayed, every event read", plan.way.transactions),
    )?;
    opened.hold(plan.route.backup);
    let chosen = plan.route.backup;
    let was_named = arguments.id.is_some();
    opened.warn_of_drills(context, chosen, &newer(catalog, (!was_named).then_some(chosen)));
    match &arguments.to {
        Some(_) => into_directory(context, opened, &plan, sources, arguments),
        None => into_server(context, opened, &plan, sources, arguments),
    }
}

fn target(point: &PointArgs) -> anyhow::Result<Target> {
    let wrong = |what: &str, why: String| Fault::new(Kind::Config, format!("{what}: {why}"));
    let round = point.round.as_deref().map(parse_duration).transpose().map_err(|why| wrong("--round", why))?;
    let target = match (&point.until, &point.before) {
        (Some(until), _) => Target::until(until, round).map_err(|why| wrong("--until", why))?,
        (None, before) => {
            Target::before(before.as_deref().unwrap_or_default()).map_err(|why| wrong("--before", why))?
        }
    };
    Ok(target)
}

fn refuse_nowhere(arguments: &RestoreArgs) -> anyhow::Result<()> {
    if arguments.to.is_some() || !arguments.dump.databases.is_empty() {
        return Ok(());
    }
    let hint = "all of it as files: --to DIR; a database into a running server: --database NAME --as NEWNAME";
    Err(Fault::new(Kind::Config, "where does it go?").hint(hint).into())
}

fn archive(point: &PointArgs) -> BinlogArchive {
    match point.archive.as_deref() {
        Some(path) if path.contains('/') => BinlogArchive { archive: None, from: Some(path.into()) },
        name => BinlogArchive { archive: name.map(str::to_owned), from: None },
    }
}

/// The backups to begin with: the one that was named, or all that are good.
fn bases<'a>(opened: &Opened, catalog: &'a Catalog, id: Option<&str>) -> anyhow::Result<Vec<&'a Backup>> {
    match id {
        Some(id) => {
            let base = catalog.find(id)?;
            refuse_increment(base)?;
            Ok(vec![base])
        }
        None => Ok(opened.to_bring_back(catalog)),
    }
}

fn into_directory(
    context: &Context<'_>,
    opened: &Opened,
    plan: &Plan<'_>,
    sources: Sources<'_>,
    arguments: &RestoreArgs,
) -> anyhow::Result<()> {
    let to = arguments.to.as_deref().unwrap_or(std::path::Path::new("/"));
    let request = files::request(arguments, to, opened.transfer)?;
    let workshop = Some(recover::NAMED_LATER.to_owned());
    let placed = pitr::refuse_unfit(plan, sources.store, &Request { workshop, ..request.clone() })?;
    let steps = ["bring the backup back into a directory beside the target", REPLAY, CHECK].map(str::to_owned);
    let shown = shown(plan, steps.into_iter().chain(placed.last_steps()), &placed.warnings);
    if !files::is_to_be_done(context, arguments, plan.route.backup, &shown)? {
        return Ok(());
    }
    let (placed, restored, outcome) = pitr::restore(plan, sources, &request, context.output, context.cancel)?;
    tell(context, plan, &outcome);
    files::finish(context, arguments, &placed, &restored)
}

fn into_server(
    context: &Context<'_>,
    opened: &Opened,
    plan: &Plan<'_>,
    sources: Sources<'_>,
    arguments: &RestoreArgs,
) -> anyhow::Result<()> {
    let target = load::target(context, opened, arguments)?;
    let loading = load::request(arguments);
    gives_way(&loading, &mut target.session.loader(loading.binary_log)?)?;
    let names = loading.databases.join(", ");
    let scratch = arguments.dump.scratch.display();
    let steps = [
        format!("bring the backup back to {scratch}"),
        REPLAY.to_owned(),
        format!("{CHECK}; dump {names} of it"),
        format!("load {names} into the server, aside first"),
        if arguments.replace {
            "DROP what it has under these names now, and move what was loaded into its place".to_owned()
        } else {
            "move it into its place, and remove the rest".to_owned()
        },
    ];
    // What gives way goes long after this: nobody waits for a question then.
    if !files::is_to_be_done(context, arguments, plan.route.backup, &shown(plan, steps, &[]))? {
        return Ok(());
    }
    let wanted = Extracted {
        scratch: arguments.dump.scratch.clone(),
        dump: Options {
            selection: load::selection(&loading),
            workers: loading.workers,
            compression: Compression::Zstd,
            sizes: Sizes::default(),
        },
        transfer: opened.transfer,
    };
    let then = |store: &dyn Store, backup: &Backup| {
        load::into(context, &target, (store, backup), arguments, arguments.yes || arguments.replace)
    };
    let ((), outcome) = pitr::extract(plan, sources, &wanted, context.output, context.cancel, then)?;
    tell(context, plan, &outcome);
    Ok(())
}

const REPLAY: &str = "start an isolated server on it, and replay the logs up to the stop";
const CHECK: &str = "compare what it has executed with what was read, shut it down in order";

/// What will be done, and what is done around the stop.
fn shown(plan: &Plan<'_>, steps: impl IntoIterator<Item = String>, warnings: &[String]) -> String {
    let begin = std::iter::once("plan:".to_owned()).chain(plan.describe().into_iter().map(|line| format!("  {line}")));
    let steps = steps.into_iter().enumerate().map(|(n, step)| format!("  {}. {step}", n + 1));
    let warnings = warnings.iter().map(|warning| format!("  warning: {warning}"));
    let mut lines: Vec<String> = begin.chain(steps).chain(warnings).collect();
    let mut around = |what: &str, hits: &[crate::binlog::find::Hit]| {
        lines.push(what.to_owned());
        let told = hits.iter().map(binlog::told).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.extend(told.map(|line| format!("  {line}")));
    };
    around("the last that is done:", &plan.last);
    around("the first that is not:", &plan.next);
    lines.join("\n")
}

fn tell(context: &Context<'_>, plan: &Plan<'_>, outcome: &Outcome) {
    let output: &dyn Observer = context.output;
    outcome.warnings.iter().for_each(|warning| output.warn(warning.clone()));
    let stop = &plan.way.stop;
    context.output.result(&format!(
        "replayed {} transactions onto backup {}: as of {}:{}",
        outcome.transactions, plan.route.backup.manifest.id, stop.file, stop.offset
    ));
}
