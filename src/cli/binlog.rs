//! `binlog`: the archive of a server's binary logs.

use std::io::BufReader;

use jiff::Timestamp;
use serde::Serialize;

use super::Context;
use super::args::{BinlogArchive, BinlogVerb, FindArgs, ShipArgs, VerifyArchiveArgs};
use crate::binlog::find::{self, Hit, Query};
use crate::binlog::{self, Home, Index, Request, Shipped, Window, verify};
use crate::config::Archive;
use crate::fault::{Fault, Kind};
use crate::run::events::{Event, Observer};
use crate::store::{Destination, SshOptions};
use crate::sys::units::Bytes;

pub(super) fn binlog(context: &Context<'_>, verb: &BinlogVerb) -> anyhow::Result<()> {
    match verb {
        BinlogVerb::Stream { archive, new_archive } => stream(context, archive.as_deref(), *new_archive),
        BinlogVerb::Ship(ship) => self::ship(context, ship),
        BinlogVerb::List { which, json } => list(context, which, *json),
        BinlogVerb::Verify(verify) => self::verify(context, verify),
        BinlogVerb::Find(find) => self::find(context, find),
        BinlogVerb::Receive => receive(context),
    }
}

/// What an archive's section asks for.
pub(super) fn request(archive: &Archive) -> Request {
    Request {
        server: archive.server.clone(),
        engine: archive.engine,
        spool: archive.spool.clone(),
        home: home(archive),
        compression: archive.compression,
        sync_interval: archive.sync_interval,
    }
}

pub(super) fn home(archive: &Archive) -> Home {
    Home::at(&archive.to.at(&archive.to.path().join(archive.name.as_str())), &archive.ssh)
}

/// What another host asks for that keeps its archive here.
fn receive(context: &Context<'_>) -> anyhow::Result<()> {
    let answer = binlog::receive(BufReader::new(std::io::stdin()), context.cancel)?;
    answer.map_or(Ok(()), |answer| context.output.result_event(&answer))
}

/// What is to be written; with `new_archive` nobody misses the one that was there.
fn wanted(context: &Context<'_>, archive: Option<&str>, new_archive: bool) -> anyhow::Result<Request> {
    let request = request(context.config()?.archive(archive)?);
    if new_archive {
        binlog::forget(&request.home)?;
    }
    Ok(request)
}

fn stream(context: &Context<'_>, archive: Option<&str>, new_archive: bool) -> anyhow::Result<()> {
    let request = wanted(context, archive, new_archive)?;
    binlog::stream(&request, context.output, context.cancel)?;
    context.output.result("the stream ended in order; what it copied is durable");
    Ok(())
}

fn ship(context: &Context<'_>, arguments: &ShipArgs) -> anyhow::Result<()> {
    let request = wanted(context, arguments.archive.as_deref(), arguments.new_archive)?;
    let Shipped { passed, end } = binlog::ship(&request, arguments.rotate, context.output, context.cancel)?;
    let end = end.map(|end| format!("{}:{}", end.file, end.offset)).unwrap_or_default();
    context.output.result(&format!("archived up to {end}: {} new", Bytes(passed.copied)));
    context.output.result_event(&serde_json::json!({ "end": end, "copied": passed.copied, "closed": passed.closed }))
}

/// The archive that is meant, and its index.
pub(super) fn opened(context: &Context<'_>, which: &BinlogArchive) -> anyhow::Result<(Home, Index)> {
    let home = match &which.from {
        Some(from) => match from.parse() {
            Ok(there @ Destination::Ssh { .. }) => Home::at(&there, &SshOptions::default()),
            Ok(Destination::Local(_)) | Err(_) => Home::new(from),
        },
        None => self::home(context.config()?.archive(which.archive.as_deref())?),
    };
    let index = home.read_index().map_err(|error| {
        Fault::new(Kind::Verify, "the index can't be used")
            .hint("where it is damaged, the next `mysnap binlog ship` or `stream` makes a new one from the files")
            .caused_by(error)
    })?;
    let index = index.ok_or_else(|| {
        let message = format!("there is no archive in {home}");
        Fault::new(Kind::NotFound, message).hint("the first `mysnap binlog ship` makes it; is its file system mounted?")
    })?;
    Ok((home, index))
}

fn list(context: &Context<'_>, which: &BinlogArchive, json: bool) -> anyhow::Result<()> {
    let (home, mut index) = opened(context, which)?;
    binlog::verify::look_at_open(&home, &mut index)?;
    if json {
        return context
            .output
            .answer_json(&Listed { windows: index.windows().iter().map(span).collect(), index: &index });
    }
    context.output.answer(&shown(&index));
    Ok(())
}

/// What `list --json` prints.
#[derive(Serialize)]
struct Listed<'a> {
    windows: Vec<Span<'a>>,
    #[serde(flatten)]
    index: &'a Index,
}

/// A window as JSON.
#[derive(Serialize)]
struct Span<'a> {
    timeline: &'a str,
    from: Place<'a>,
    to: Place<'a>,
}

/// An end of a window.
#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gtids: Option<&'a str>,
}

fn span<'a>(window: &Window<'a>) -> Span<'a> {
    let times = window.times();
    let (first, last) = (window.files.first(), window.files.last());
    Span {
        timeline: &window.timeline.id,
        from: Place {
            file: first.map_or("", |file| file.name.as_str()),
            offset: 4,
            time: times.map(|(first, _)| first),
            gtids: first.and_then(|file| file.gtids_before.as_deref()),
        },
        to: Place {
            file: last.map_or("", |file| file.name.as_str()),
            offset: last.map_or(0, |file| file.size),
            time: times.map(|(_, last)| last),
            gtids: last.and_then(|file| file.gtids_after.as_deref()),
        },
    }
}

/// Timelines with what hangs together, and between that why it does not.
fn shown(index: &Index) -> String {
    let mut lines = Vec::new();
    for timeline in &index.timelines {
        if let Some(because) = &timeline.because {
            lines.push(format!("     gap  {because}"));
        }
        lines.push(format!(
            "timeline  {} of server {} ({})",
            timeline.id, timeline.server.server_id, timeline.server.flavour
        ));
        for window in timeline.windows() {
            if let Some(gap) = window.files.first().and_then(|file| file.gap.as_ref()) {
                lines.push(format!("     gap  {gap}"));
            }
            let times = window.times().map_or_else(String::new, |(first, last)| format!("{first} to {last}, "));
            let (files, size) = (window.files.len(), Bytes(window.size()));
            lines.push(format!("  window  {times}{window}, {files} files, {size}"));
            let notes =
                window.files.iter().flat_map(|file| file.notes.iter().chain(&file.damage).map(move |n| (file, n)));
            lines.extend(notes.map(|(file, note)| format!("    note  {}: {note}", file.name)));
        }
    }
    if lines.is_empty() { "the archive holds nothing yet".to_owned() } else { lines.join("\n") }
}

fn verify(context: &Context<'_>, arguments: &VerifyArchiveArgs) -> anyhow::Result<()> {
    let (home, index) = opened(context, &arguments.which)?;
    let total = Bytes(index.windows().iter().map(Window::size).sum());
    let progress = |done| context.output.event(Event::Progress { done: Bytes(done), total });
    let output: &dyn Observer = context.output;
    let report = output.phase(
        "verify",
        || verify::verify(&home, &index, &progress, context.cancel),
        |report| format!("{} files, {} read", report.files, Bytes(report.bytes)),
    )?;
    if arguments.json {
        context.output.answer_json(&report)?;
    } else {
        report.gaps.iter().for_each(|gap| context.output.result(&format!("known gap: {gap}")));
    }
    if report.damaged.is_empty() {
        context.output.result(&format!("the archive is whole: {} files match their digests", report.files));
        return Ok(());
    }
    let message = format!("the archive {home} is damaged: {}", report.damaged.join("; "));
    Err(Fault::new(Kind::Verify, message).hint("look at the destination's disk; no restore can cross these").into())
}

fn find(context: &Context<'_>, arguments: &FindArgs) -> anyhow::Result<()> {
    let query = query(arguments)?;
    let (home, index) = opened(context, &arguments.which)?;
    let mut hits: Vec<Hit> = Vec::new();
    let mut each = |hit: Hit| {
        hits.push(hit);
        hits.len() <= arguments.limit
    };
    find::find(&home, &index, &query, &mut each, context.cancel)?;
    let more = hits.len() > arguments.limit;
    hits.truncate(arguments.limit);
    if arguments.json {
        context.output.answer_json(&hits)?;
    } else {
        for hit in &hits {
            context.output.answer(&told(hit));
        }
    }
    if more {
        context.output.event(Event::Warning { text: format!("there are more than {} (--limit)", arguments.limit) });
    }
    if hits.is_empty() {
        return Err(Fault::new(Kind::NotFound, "nothing in the archive fits")
            .hint("`mysnap binlog list` shows what it has")
            .into());
    }
    Ok(())
}

fn query(arguments: &FindArgs) -> anyhow::Result<Query> {
    let wrong = |what: &str, why: String| Fault::new(Kind::Config, format!("{what}: {why}"));
    let time =
        |what: &str, text: &Option<String>| text.as_deref().map(moment).transpose().map_err(|why| wrong(what, why));
    let table = arguments.table.as_deref().map(|text| match text.split_once('.') {
        Some((database, table)) => (Some(database.to_owned()), table.to_owned()),
        None => (None, text.to_owned()),
    });
    Ok(Query {
        table,
        kinds: arguments.kinds.clone(),
        text: arguments.text.clone(),
        since: time("--since", &arguments.since)?,
        until: time("--until", &arguments.until)?,
        gtid: arguments.gtid.as_deref().map(str::parse).transpose().map_err(|why| wrong("--gtid", why))?,
    })
}

/// A moment as people write it, in UTC unless it says otherwise.
fn moment(text: &str) -> Result<Timestamp, String> {
    let utc = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let read = text.parse::<Timestamp>().ok().or_else(|| Some(utc()?.timestamp()));
    read.ok_or_else(|| {
        format!("{text:?} is no time; allowed: \"2026-11-26 09:30:00\" (UTC), \"2026-11-26T10:30:00+01:00\"")
    })
}

pub(super) fn told(hit: &Hit) -> String {
    const SHOWN: usize = 300;
    let found = &hit.found;
    let time = found.time.map(|time| time.to_string()).unwrap_or_default();
    let what = match &found.table {
        Some(table) => format!("{} {}.{table}", found.kind, found.database),
        // Its text names the databases where none was in use.
        None if found.database.is_empty() => found.kind.clone(),
        None => format!("{} (in {})", found.kind, found.database),
    };
    let rows = match (found.rows, &found.table) {
        (Some(1), _) => "  1 row".to_owned(),
        (Some(rows), _) => format!("  {rows} rows"),
        (None, Some(_)) => "  rows not counted".to_owned(),
        (None, None) => String::new(),
    };
    let gtid = found.gtid.as_ref().map(|gtid| format!("  gtid {gtid}")).unwrap_or_default();
    let mut lines = vec![format!("{time}  {what}{rows}  {}:{}-{}{gtid}", hit.file, found.offset, found.end)];
    lines.extend(found.statement.as_ref().map(|text| {
        let short: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let more = if text.chars().nth(SHOWN).is_some() { " …" } else { "" };
        format!("    {short}{more}")
    }));
    lines.push(format!("    stop just before it: {}:{}", hit.file, found.stop_before));
    lines.join("\n")
}
