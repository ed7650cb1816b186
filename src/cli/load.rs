//! `restore` of a dump: into a running server.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::Context;
use super::args::RestoreArgs;
use super::source::Opened;
use crate::dump::{Compression, Options, Pattern, Selection, Sizes};
use crate::extract;
use crate::fault::{Fault, Kind, kind_of};
use crate::load::{self, Dump, Loaded, Plan, Request};
use crate::run::events::{Event, Observer};
use crate::server::{ANOTHER_ACCOUNT, Access, Address, BinlogPosition, Position, Session};
use crate::store::{Backup, Store};
use crate::sys::units::Bytes;

pub(super) fn load(
    context: &Context<'_>,
    opened: &Opened,
    backup: &Backup,
    arguments: &RestoreArgs,
) -> anyhow::Result<()> {
    into(context, &target(context, opened, arguments)?, (&*opened.store, backup), arguments, arguments.yes)
}

/// Out of a backup of files.
pub(super) fn extract(
    context: &Context<'_>,
    opened: &Opened,
    backup: &Backup,
    arguments: &RestoreArgs,
) -> anyhow::Result<()> {
    let target = target(context, opened, arguments)?;
    let loading = request(arguments);
    let gives_way = load::gives_way(&loading, &mut target.session.loader(loading.binary_log)?)?;
    let wanted = extract::Request {
        backup: backup.clone(),
        scratch: arguments.dump.scratch.clone(),
        dump: Options {
            selection: selection(&loading),
            workers: loading.workers,
            compression: Compression::Zstd,
            sizes: Sizes::default(),
        },
        transfer: opened.transfer,
    };
    let last = gives_way.iter().map(|what| format!("when everything is loaded, DROP {what}"));
    let steps = extract::describe(&wanted, &*opened.store).into_iter().chain(last);
    let steps = steps.enumerate().map(|(n, step)| format!("  {}. {step}", n + 1));
    let steps = std::iter::once("first:".to_owned()).chain(steps).collect::<Vec<_>>().join("\n");
    if arguments.dry_run {
        context.output.answer(&steps);
        return Ok(());
    }
    let asked = !gives_way.is_empty();
    // It goes long after this: nobody waits for a question then.
    if asked {
        context.output.confirm(&steps, backup.manifest.id.as_str(), arguments.yes)?;
    } else {
        context.output.result(&steps);
    }
    extract::extract(&wanted, &*opened.store, context.output, context.cancel, |store, backup| {
        into(context, &target, (store, backup), arguments, arguments.yes || asked)
    })
}

pub(super) fn selection(request: &Request) -> Selection {
    let tables = |database: &String| -> Vec<Pattern> {
        if request.tables.is_empty() {
            return vec![Pattern::exact(database, None)];
        }
        request.tables.iter().map(|table| Pattern::exact(database, Some(table))).collect()
    };
    Selection { include: request.databases.iter().flat_map(tables).collect(), exclude: Vec::new() }
}

/// The server that gets it.
pub(super) struct Target {
    address: Address,
    pub(super) session: Session,
}

pub(super) fn target(context: &Context<'_>, opened: &Opened, arguments: &RestoreArgs) -> anyhow::Result<Target> {
    let access = arguments.dump.into.as_deref().map_or_else(|| Ok(opened.server.clone()), access)?;
    let target = Target { address: access.resolve()?, session: access.connect(context.cancel)? };
    refuse_powerless(&target)?;
    Ok(target)
}

/// Nobody is asked for what the account could not do.
fn refuse_powerless(target: &Target) -> anyhow::Result<()> {
    let Address { user, endpoint, .. } = &target.address;
    let refused = |what: &str| {
        let message = format!("the account {user:?} of the server at {endpoint} {what}");
        Fault::new(Kind::Config, message).hint(ANOTHER_ACCOUNT)
    };
    let missing = target.session.loader(true).and_then(|mut loader| loader.missing_privileges());
    match missing {
        Ok(missing) if missing.is_empty() => Ok(()),
        Ok(missing) => Err(refused(&format!("was not given {}", missing.join(", "))).into()),
        // MySQL lets not everybody set what a restore sets for itself.
        Err(error) if kind_of(&error) == Some(Kind::Config) => Err(refused("may not restore").caused_by(error).into()),
        Err(error) => Err(error),
    }
}

pub(super) fn request(arguments: &RestoreArgs) -> Request {
    Request {
        databases: arguments.dump.databases.clone(),
        tables: arguments.dump.tables.clone(),
        new_name: arguments.dump.new_name.clone(),
        collations: arguments.dump.collations.clone(),
        replace: arguments.replace,
        workers: arguments.dump.workers,
        binary_log: !arguments.dump.no_binary_log,
    }
}

/// Loads a dump; what gives way is asked for unless somebody has `confirmed` it.
pub(super) fn into(
    context: &Context<'_>,
    target: &Target,
    (store, backup): (&dyn Store, &Backup),
    arguments: &RestoreArgs,
    confirmed: bool,
) -> anyhow::Result<()> {
    let Target { address, session } = target;
    let request = request(arguments);
    let dump = Dump::open(store, backup)?;
    let plan = load::plan(&dump, &request, &mut session.loader(request.binary_log)?, session.facts())?;
    let shown = shown(&plan, backup, &address.endpoint.to_string());
    if arguments.dry_run {
        context.output.answer(&shown);
        return Ok(());
    }
    // What gives way is named once more by the person.
    if plan.destroys {
        context.output.confirm(&shown, backup.manifest.id.as_str(), confirmed)?;
    } else {
        context.output.result(&shown);
    }
    let total = Bytes(plan.bytes);
    let progress = |done| context.output.event(Event::Progress { done: Bytes(done), total });
    let output: &dyn Observer = context.output;
    let loaded = output.phase(
        "load",
        || load::execute(&plan, &dump, address, &progress, context.cancel),
        |l| format!("{} rows of {} tables, {}, all taken", l.rows, l.tables, total),
    )?;
    for warning in &loaded.warnings {
        output.warn(warning.clone());
    }
    context.output.result(&told(&loaded, &dump.manifest.position));
    context.output.result_event(&loaded)
}

/// A socket or an option file by its path, a host by its name.
fn access(text: &str) -> anyhow::Result<Access> {
    let wrong = |why: &str| {
        Fault::new(Kind::Config, format!("--into {text}: {why}")).hint("a socket, an option file, or HOST[:PORT]")
    };
    if text.starts_with('/') {
        let path = Path::new(text);
        let found = path.metadata().map_err(|error| wrong("cannot be looked at").caused_by(error))?;
        let path = Some(path.to_owned());
        return Ok(if found.file_type().is_socket() {
            Access { socket: path, ..Access::default() }
        } else {
            Access { option_file: path, ..Access::default() }
        });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => {
            (host, Some(port.parse().map_err(|_| wrong("has no port after the colon"))?))
        }
        _ => (text, None),
    };
    if host.is_empty() {
        return Err(wrong("names no host").into());
    }
    Ok(Access { host: Some(host.trim_matches(['[', ']']).to_owned()), port, ..Access::default() })
}

fn shown(plan: &Plan, backup: &Backup, server: &str) -> String {
    let begin = std::iter::once(format!("plan, backup {} for the server at {server}:", backup.manifest.id));
    let steps = plan.steps.iter().enumerate().map(|(n, step)| format!("  {}. {step}", n + 1));
    let warnings = plan.warnings.iter().map(|warning| format!("  warning: {warning}"));
    begin.chain(steps).chain(warnings).collect::<Vec<_>>().join("\n")
}

fn told(loaded: &Loaded, position: &Position) -> String {
    let done = format!("restored {}: {} rows of {} tables", loaded.databases.join(", "), loaded.rows, loaded.tables);
    let Some(BinlogPosition { file, offset }) = &position.binlog else { return done };
    let gtids = position.gtid_set.as_ref().map(|set| format!(", GTID set {set}")).unwrap_or_default();
    format!("{done}\nthey are as of {file}:{offset}{gtids} of the server that was dumped")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_host_or_path() {
        let host = access("db2:3310").unwrap();
        assert_eq!((host.host.as_deref(), host.port), (Some("db2"), Some(3310)));
        assert_eq!(access("::1").unwrap().host.as_deref(), Some("::1"));
        assert_eq!(access("db2").unwrap().port, None);
        for wrong in ["db2:x", ":3306", "/no/such/socket"] {
            assert_eq!(crate::fault::kind_of(&access(wrong).unwrap_err()), Some(Kind::Config), "{wrong}");
        }
    }
}
