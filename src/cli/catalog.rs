//! `list` and `show`: what a destination holds.

use std::time::Duration;

use serde::Serialize;

use super::args::{ListArgs, ShowArgs};
use super::{Context, source};
use crate::drill;
use crate::dump::{DatabaseIndex, TableIndex};
use crate::load::Dump;
use crate::server::BinlogPosition;
use crate::store::{Backup, Catalog, Destination, Increment, Item, Manifest, Method, ProofLevel, Shown};
use crate::sys::clock;
use crate::sys::units::{Bytes, human_duration};

pub(super) fn list(context: &Context<'_>, arguments: &ListArgs) -> anyhow::Result<()> {
    let opened = source::open(context, &arguments.source)?;
    let catalog = opened.catalog()?;
    if arguments.json {
        return context.output.answer_json(&rows(&catalog, opened.store.destination()));
    }
    context.output.answer(&table(&catalog, opened.store.destination()));
    Ok(())
}

pub(super) fn show(context: &Context<'_>, arguments: &ShowArgs) -> anyhow::Result<()> {
    let opened = source::open(context, &arguments.source)?;
    let backup = opened.backup(&arguments.id)?;
    if arguments.json {
        return context.output.answer_json(&backup.manifest);
    }
    context.output.answer(&describe(&backup));
    if backup.manifest.method == Method::Dump {
        context.output.answer(&contents(&Dump::open(&*opened.store, &backup)?));
    }
    Ok(())
}

/// The databases of a dump and their tables.
fn contents(dump: &Dump<'_>) -> String {
    let table = |table: &TableIndex| format!("  {:<40} {:>12} rows  {}", table.name, table.rows, table.engine);
    let database = |database: &DatabaseIndex| {
        let head = format!("database     {}", database.name);
        let objects = database.objects.iter().map(|o| format!("  {:<40} {}", o.name, o.kind.name()));
        let lines = std::iter::once(head).chain(database.tables.iter().map(table)).chain(objects);
        lines.collect::<Vec<_>>().join("\n")
    };
    dump.index.databases.iter().map(database).collect::<Vec<_>>().join("\n")
}

/// One line of `list --json`.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    job: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a Manifest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drill: Option<drill::Report>,
}

fn rows<'a>(catalog: &'a Catalog, destination: &Destination) -> Vec<Row<'a>> {
    catalog
        .items
        .iter()
        .map(|item| {
            let slot = item.slot();
            let (state, reason, manifest) = match item {
                Item::Good(backup) => ("good", None, Some(&backup.manifest)),
                Item::Bad(backup, why) => ("bad", Some(why.as_str()), Some(&backup.manifest)),
                Item::Unreadable(_, why) => ("unreadable", Some(why.as_str()), None),
            };
            let drill = manifest.and_then(|manifest| last_drill(manifest, destination));
            Row { id: slot.id.as_str(), job: slot.job.as_str(), state, reason, manifest, drill }
        })
        .collect()
}

fn table(catalog: &Catalog, destination: &Destination) -> String {
    if catalog.items.is_empty() {
        return format!("no backups in {destination}");
    }
    let head = format!("{:<24} {:<12} {:>9} {:>10}  {:<9} {}", "ID", "JOB", "AGE", "SIZE", "PROVED", "POSITION");
    let mut lines = vec![head];
    for item in &catalog.items {
        match item {
            // Those stand below their base.
            Item::Good(backup) if backup.manifest.increment.is_some() => {}
            Item::Good(backup) => lines.extend(chain(catalog, backup, destination)),
            Item::Bad(backup, _) => lines.push(line(backup, "BAD")),
            Item::Unreadable(slot, why) => lines.push(format!("{:<24} {:<12} unreadable: {why}", slot.id, slot.job)),
        }
    }
    if !catalog.leftovers.is_empty() {
        let names: Vec<&str> = catalog.leftovers.iter().map(|slot| slot.id.as_str()).collect();
        lines.push(format!("unfinished, not backups: {}", names.join(", ")));
    }
    lines.join("\n")
}

/// A backup, and below it the increments that go on from it, newest first as everything.
fn chain(catalog: &Catalog, base: &Backup, destination: &Destination) -> Vec<String> {
    let of_it = |one: &&Backup| one.slot.job == base.slot.job && one.manifest.needs() == Some(&base.slot.id);
    let increments = catalog.increments().filter(of_it).map(|one| line(one, &proved(&one.manifest, destination)));
    std::iter::once(line(base, &proved(&base.manifest, destination))).chain(increments).collect()
}

fn line(backup: &Backup, proved: &str) -> String {
    let manifest = &backup.manifest;
    let below = if manifest.increment.is_some() { "+ " } else { "" };
    let id = format!("{below}{}", manifest.id);
    let size = Bytes(manifest.bytes()).to_string();
    let age = age(manifest);
    let window = window(manifest).map(|window| format!(", {window}")).unwrap_or_default();
    format!("{id:<24} {:<12} {age:>9} {size:>10}  {proved:<9} {}{window}", manifest.job, position(manifest))
}

/// From when to when an increment has what was logged.
fn window(manifest: &Manifest) -> Option<String> {
    let increment = manifest.increment.as_ref()?;
    Some(format!("{} to {}", increment.first_event?, increment.last_event?))
}

/// What the last drill found outranks what was proved when it was made.
fn proved(manifest: &Manifest, destination: &Destination) -> String {
    match last_drill(manifest, destination) {
        Some(report) if report.failure.is_some() => "FAILED".to_owned(),
        Some(_) => "drilled".to_owned(),
        None => format!("{:?}", manifest.proof.level).to_lowercase(),
    }
}

/// The last drill of this backup.
pub(super) fn last_drill(manifest: &Manifest, destination: &Destination) -> Option<drill::Report> {
    drill::Drills::of(&manifest.job, destination).ok()?.of_backup(&manifest.id).cloned()
}

fn age(manifest: &Manifest) -> String {
    let age = clock::now().duration_since(manifest.begin);
    Duration::try_from(age).map_or_else(|_| "in future".to_owned(), human_duration)
}

fn position(manifest: &Manifest) -> String {
    let binlog = manifest.position.binlog.as_ref().map(|p| format!("{}:{}", p.file, p.offset));
    binlog.unwrap_or_else(|| "no binary log".to_owned())
}

fn describe_increment(increment: &Increment, field: &mut impl FnMut(&str, String)) {
    let at = |place: &BinlogPosition| format!("{}:{}", place.file, place.offset);
    let Increment { base, previous, archive, timeline, from, to, .. } = increment;
    field("increment of", format!("{base}, goes on from {previous}"));
    field("archive", format!("{archive}, timeline {timeline}"));
    field("covers", format!("{} to {}, {} events", at(from), at(to), increment.events));
    if let (Some(first), Some(last)) = (increment.first_event, increment.last_event) {
        field("window", format!("{first} to {last}"));
    }
    if let Some(gtids) = &increment.gtids_from {
        field("gtids before", gtids.clone());
    }
}

fn describe(backup: &Backup) -> String {
    let manifest = &backup.manifest;
    let totals = &manifest.files.totals;
    let server = &manifest.server;
    let hold = &manifest.hold;
    let mut lines = Vec::new();
    let mut field = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
    field("backup", format!("{} of job {}", manifest.id, manifest.job));
    field("taken", format!("{} on {}, {} ago", manifest.begin, manifest.host, age(manifest)));
    field("server", format!("{} {}, server id {}", server.flavour, server.version, server.server_id));
    field("position", position(manifest));
    if let Some(gtids) = &manifest.position.gtid_set {
        field("gtid set", gtids.clone());
    }
    for upstream in &manifest.position.upstream {
        let at = &upstream.binlog;
        field("upstream", format!("{}:{} at {}:{}", upstream.host, upstream.port, at.file, at.offset));
    }
    if let Some(increment) = &manifest.increment {
        describe_increment(increment, &mut field);
    }
    let parts: Vec<String> = hold.parts.iter().map(|part| format!("{} {}", part.name, part.ms)).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    if let Some(lock) = hold.lock {
        let text =
            format!("waited {} ms, held {} ms{parts} ({lock:?}, try {})", hold.waited_ms, hold.held_ms, hold.tries);
        field("writers", text);
    }
    let files = if manifest.increment.is_some() { manifest.proof.files } else { totals.files };
    field("size", format!("{} in {files} files", Bytes(manifest.bytes())));
    let state = if manifest.method == Method::Increment {
        "what was logged between two places, to be replayed onto its base"
    } else if manifest.method == Method::Dump {
        "statements and rows, to be loaded into a running server"
    } else if manifest.crash_consistent {
        "as of a running server: its first start recovers"
    } else {
        "shut down in order"
    };
    field("state", state.to_owned());
    for root in manifest.roots.iter().filter(|_| manifest.method == Method::Copy) {
        field("contains", format!("{} from {} on {}", root.name, root.live_path.display(), root.volume));
    }
    field(
        "proof",
        format!("{:?} at {}, {} files read back", manifest.proof.level, manifest.proof.at, manifest.proof.files),
    );
    if let Some(shown) = &manifest.proof.shown {
        let started = human_duration(Duration::from_millis(shown.start_ms));
        let on = manifest.proof.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        field("proof", format!("a server{on} answered after {started}: {}", shown.position));
        if shown.queries > 0 {
            field("proof", format!("{} queries were answered right", shown.queries));
        }
        if manifest.proof.level >= ProofLevel::Tables {
            let Shown { tables, uncheckable, .. } = shown;
            field("proof", format!("{tables} tables are whole, {uncheckable} of engines that have no check"));
        }
    }
    if let Some(why) = &manifest.proof.failure {
        field("BAD", why.clone());
    }
    for warning in &manifest.warnings {
        field("warning", warning.clone());
    }
    if let Some(damage) = &backup.twin_damaged {
        field("warning", format!("a twin of the manifest is damaged: {damage}"));
    }
    lines.join("\n")
}
