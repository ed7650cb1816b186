//! What a load will do: decided from what was looked at, and nothing else.

use super::dialect::Crossing;
use super::source::Dump;
use super::unfinished::{self, Left, There, Unfinished};
use super::{Plan, Request, Target, TargetTable, fits, rewrite};
use crate::dump::{AccountText, DatabaseIndex, ObjectKind, ObjectText, TableIndex};
use crate::fault::{Fault, Kind};
use crate::server::{Facts, Loader, RESTORING, Version, quoted};
use crate::sys::units::Bytes;

/// What is wanted of a database.
pub(super) struct Wanted<'a> {
    pub(super) database: &'a DatabaseIndex,
    pub(super) tables: Vec<&'a TableIndex>,
    pub(super) objects: Vec<&'a ObjectText>,
}

/// Looks at the dump and at the server behind `loader`, and decides; refuses what must not be done.
pub fn plan(dump: &Dump<'_>, request: &Request, loader: &mut Loader, facts: &Facts) -> anyhow::Result<Plan> {
    let wanted = wanted(dump, request)?;
    let there = loader.databases()?;
    let abilities = loader.abilities(&dump.named_zones())?;
    let crossing = Crossing::new(&dump.manifest.server, facts, &request.collations);
    let without = fits::refuse_unknown(dump, &wanted, (&crossing, facts), &abilities)?;
    let left = unfinished::look(loader, &there)?;
    let staging = free_name(&dump.manifest.id.as_str().to_ascii_lowercase(), &left.unfinished);
    let mut databases = Vec::new();
    for (n, each) in wanted.iter().enumerate() {
        let to = database_name(each, request);
        let exists = there.contains(&to);
        let tables = if exists { loader.tables(&to)? } else { Vec::new() };
        if exists && !request.tables.is_empty() {
            refuse_views(each, request, &loader.views(&to)?)?;
        }
        let place = Place { to, staging: format!("{staging}_{n}"), exists, tables };
        databases.push(Target {
            collation: crossing.collation(&each.database.collation).to_owned(),
            ..target(each, request, place, &left)?
        });
    }
    let is_done_anew = |each: &&Unfinished| {
        let of = databases.iter().find(|target| target.to == each.database);
        of.is_some_and(|target| each.is_replaced_by(request, &names(target)))
    };
    let (superseded, kept): (Vec<&Unfinished>, Vec<&Unfinished>) = left.unfinished.iter().partition(is_done_anew);
    let accounts: Vec<AccountText> =
        if request.databases.is_empty() { dump.index.accounts.clone() } else { Vec::new() };
    let parts = databases.iter().flat_map(|d| &d.tables).flat_map(|table| &table.table.parts);
    let bytes = parts.map(|part| part.bytes).sum();
    let opens_local_infile = !abilities.local_infile;
    let mut plan = Plan {
        steps: Vec::new(),
        warnings: fits::doubts(dump, &crossing, facts)
            .into_iter()
            .chain(without)
            .chain(fits::collated(&crossing, request))
            .collect(),
        destroys: !(left.abandoned.is_empty() && superseded.is_empty())
            || databases.iter().any(|target| target.replaces_all || !target.replaced.is_empty()),
        bytes,
        abandoned: left.abandoned.clone(),
        superseded: superseded.iter().map(|each| each.aside.clone()).collect(),
        databases,
        accounts,
        opens_local_infile,
        workers: request.workers,
        binary_log: request.binary_log,
        facts: facts.clone(),
        crossing,
        abilities,
    };
    plan.warnings.extend(dump.manifest.proof.failure.iter().map(|why| format!("the backup is bad: {why}")));
    plan.warnings.extend(superseded.into_iter().map(|each| each.told(true)));
    plan.warnings.extend(kept.into_iter().map(|each| each.told(false)));
    for target in &plan.databases {
        refuse_history(target, facts)?;
        plan.warnings.extend(fits::compared_otherwise(target, &plan.crossing, &plan.abilities));
    }
    refuse_missing_sequences(dump, &plan.databases, loader)?;
    let home = "had a DATA DIRECTORY or INDEX DIRECTORY, and get their files in the directory of their database";
    plan.warnings.extend(brought_home(dump, &plan.databases, rewrite::has_directory, home)?);
    let alone = "were in a tablespace of several tables, and get files of their own";
    plan.warnings.extend(brought_home(dump, &plan.databases, rewrite::has_tablespace, alone)?);
    plan.databases.iter_mut().try_for_each(|target| leave_out_bound_triggers(target, dump, &mut plan.warnings))?;
    plan.warnings.extend(plan.databases.iter().flat_map(left_out));
    plan.steps = steps(&plan, request);
    Ok(plan)
}

/// How the names of databases begin that this load makes aside: none that has a note begins so.
fn free_name(id: &str, left: &[Unfinished]) -> String {
    let first = format!("{RESTORING}{id}");
    let mut name = first.clone();
    for n in 2_u32.. {
        if left.iter().all(|each| !each.aside.starts_with(&name)) {
            break;
        }
        name = format!("{first}_run{n}");
    }
    name
}

/// The tables of `target`, by their names in the server.
fn names(target: &Target) -> Vec<String> {
    target.tables.iter().map(|table| table.to.clone()).collect()
}

/// Where a database goes.
struct Place {
    to: String,
    staging: String,
    exists: bool,
    /// What is there.
    tables: Vec<String>,
}

fn refuse_ambiguous(request: &Request) -> anyhow::Result<()> {
    let one_database = request.databases.len() == 1;
    let config = |text: &str| anyhow::Error::from(Fault::new(Kind::Config, text.to_owned()));
    if !request.tables.is_empty() && !one_database {
        return Err(config("--table needs one --database"));
    }
    if request.new_name.is_some() && (!one_database || request.tables.len() > 1) {
        return Err(config("--as gives a new name to one --database, or to one --table of it"));
    }
    Ok(())
}

fn wanted<'a>(dump: &'a Dump<'_>, request: &Request) -> anyhow::Result<Vec<Wanted<'a>>> {
    refuse_ambiguous(request)?;
    let all = &dump.index.databases;
    let missing = request.databases.iter().find(|name| all.iter().all(|each| each.name != **name));
    if let Some(name) = missing {
        let names: Vec<&str> = all.iter().map(|each| each.name.as_str()).collect();
        let fault = Fault::new(Kind::NotFound, format!("backup {} has no database {name:?}", dump.manifest.id));
        return Err(fault.hint(format!("it has {}", names.join(", "))).into());
    }
    let chosen = all.iter().filter(|each| request.databases.is_empty() || request.databases.contains(&each.name));
    chosen.map(|database| of_database(database, request)).collect()
}

fn of_database<'a>(database: &'a DatabaseIndex, request: &Request) -> anyhow::Result<Wanted<'a>> {
    if request.tables.is_empty() {
        let (tables, objects) = (database.tables.iter().collect(), database.objects.iter().collect());
        return Ok(Wanted { database, tables, objects });
    }
    if let Some(name) = request.tables.iter().find(|name| database.tables.iter().all(|each| each.name != **name)) {
        let fault = Fault::new(Kind::NotFound, format!("the backup has no table {}.{name}", database.name));
        return Err(fault.hint("`mysnap show ID` lists them").into());
    }
    let has = |name: &String| request.tables.contains(name);
    let tables = database.tables.iter().filter(|table| has(&table.name)).collect();
    // A table under a new name leaves its triggers to the one that has them.
    let triggers = database.objects.iter().filter(|object| {
        object.kind == ObjectKind::Trigger && request.new_name.is_none() && object.table.as_ref().is_some_and(has)
    });
    Ok(Wanted { database, tables, objects: triggers.collect() })
}

fn database_name(wanted: &Wanted<'_>, request: &Request) -> String {
    let new = request.new_name.as_ref().filter(|_| request.tables.is_empty());
    new.unwrap_or(&wanted.database.name).clone()
}

fn target(wanted: &Wanted<'_>, request: &Request, place: Place, left: &Left) -> anyhow::Result<Target> {
    let Place { to, staging, exists, tables: there } = place;
    let renamed = request.new_name.as_ref().filter(|_| !request.tables.is_empty());
    let tables: Vec<TargetTable> = wanted
        .tables
        .iter()
        .map(|table| TargetTable {
            table: (*table).clone(),
            to: renamed.unwrap_or(&table.name).clone(),
            renamed: renamed.is_some(),
        })
        .collect();
    let whole = request.tables.is_empty();
    let names: Vec<String> = tables.iter().map(|table| table.to.clone()).collect();
    let with_rows = |object: &&&ObjectText| matches!(object.kind, ObjectKind::View | ObjectKind::Sequence);
    let objects = wanted.objects.iter().filter(with_rows).map(|object| object.name.as_str());
    let made = names.iter().map(String::as_str).chain(objects).collect();
    let is_unfinished = left.is_of(request, &to, &names, &There { names: &there, made });
    let in_the_way = in_the_way(request, &to, exists.then_some(&there), &names, is_unfinished)?;
    let objects: Vec<ObjectText> = wanted.objects.iter().map(|object| (*object).clone()).collect();
    let has_sequences = objects.iter().any(|object| object.kind == ObjectKind::Sequence);
    // Its tables name them by their database, which is not free before the old one is gone.
    let goes_first = whole && exists && has_sequences && is_unfinished;
    let exists = exists && !goes_first;
    let replaces_all = whole && exists;
    if has_sequences && replaces_all {
        let message = format!("database {to:?} has sequences, and can't take the place of one that is there");
        let fault = Fault::new(Kind::Refused, message);
        return Err(fault.hint("load it beside with --as NAME, or DROP DATABASE first").into());
    }
    Ok(Target {
        from: wanted.database.name.clone(),
        to,
        staging,
        charset: wanted.database.charset.clone(),
        collation: wanted.database.collation.clone(),
        exists,
        is_whole: whole,
        replaces_all,
        goes_first,
        replaced: if whole { Vec::new() } else { in_the_way },
        tables,
        objects,
    })
}

/// What gives way, as far as that can be told before the dump is there: a line for each. An error where nobody said that
/// it may.
pub fn gives_way(request: &Request, loader: &mut Loader) -> anyhow::Result<Vec<String>> {
    refuse_ambiguous(request)?;
    let all = loader.databases()?;
    let left = unfinished::look(loader, &all)?;
    let mut lines: Vec<String> = left.abandoned.iter().map(|name| format!("database {name}")).collect();
    for database in &request.databases {
        let new = request.new_name.as_ref();
        let whole = request.tables.is_empty();
        let to = new.filter(|_| whole).unwrap_or(database);
        let names: Vec<String> = request.tables.iter().map(|table| new.unwrap_or(table).clone()).collect();
        let exists = all.contains(to);
        let there = if exists { loader.tables(to)? } else { Vec::new() };
        // What the load would put there is not known yet.
        let made = there.iter().map(String::as_str).collect();
        let is_unfinished = left.is_of(request, to, &names, &There { names: &there, made });
        let taken = in_the_way(request, to, exists.then_some(&there), &names, is_unfinished)?;
        if whole && exists {
            lines.push(format!("database {to}, with {} tables and views", there.len()));
        } else if !whole {
            lines.extend(taken.iter().map(|table| format!("table {to}.{table}")));
        }
    }
    Ok(lines)
}

/// What of a database that is `there` gives way; an error where nobody said that it may, and it is not what a load
/// left half done.
fn in_the_way(
    request: &Request,
    to: &str,
    there: Option<&Vec<String>>,
    names: &[String],
    is_unfinished: bool,
) -> anyhow::Result<Vec<String>> {
    let Some(there) = there else { return Ok(Vec::new()) };
    let whole = request.tables.is_empty();
    let taken: Vec<String> =
        if whole { there.clone() } else { names.iter().filter(|name| there.contains(name)).cloned().collect() };
    if request.replace || is_unfinished || taken.is_empty() && !whole {
        return Ok(taken);
    }
    let what = if whole {
        format!("there is a database {to:?}, with {} tables and views", there.len())
    } else {
        format!("there is a table {to}.{}", taken.join(", "))
    };
    let hint = "--as NAME loads it beside what is there; --replace removes that when everything is loaded";
    Err(Fault::new(Kind::Refused, what).hint(hint).into())
}

/// A view can't give way to a table.
fn refuse_views(wanted: &Wanted<'_>, request: &Request, views: &[String]) -> anyhow::Result<()> {
    let names = wanted.tables.iter().map(|table| request.new_name.as_ref().unwrap_or(&table.name));
    let Some(name) = names.into_iter().find(|name| views.contains(name)) else { return Ok(()) };
    let fault = Fault::new(Kind::Refused, format!("{name} is a view in the server"));
    Err(fault.hint("--as NAME loads the table beside it").into())
}

/// Rows of the past would become rows of now.
fn refuse_history(target: &Target, facts: &Facts) -> anyhow::Result<()> {
    let takes_history = facts.flavour.is_mariadb() && facts.version >= Version(10, 11, 0);
    let versioned = target.tables.iter().find(|table| table.table.history).filter(|_| !takes_history);
    let Some(table) = versioned else { return Ok(()) };
    let what =
        format!("{} {} takes no former rows of {}.{}", facts.flavour, facts.version, target.from, table.table.name);
    Err(Fault::new(Kind::Refused, what).hint("load into MariaDB 10.11 or later").into())
}

/// A trigger says of which table it is; with the database in front that is not the new one.
fn leave_out_bound_triggers(target: &mut Target, dump: &Dump<'_>, warnings: &mut Vec<String>) -> anyhow::Result<()> {
    if target.from == target.to {
        return Ok(());
    }
    let (from, objects) = (target.from.clone(), std::mem::take(&mut target.objects));
    for object in objects {
        if object.kind == ObjectKind::Trigger && names_database(&dump.statement(&object.text)?, &from) {
            warnings.push(format!("trigger {} names its table with database {from}: left out", object.name));
        } else {
            target.objects.push(object);
        }
    }
    Ok(())
}

/// In its head, before its body.
pub(super) fn names_database(trigger: &str, database: &str) -> bool {
    let upper = trigger.to_ascii_uppercase();
    let head = trigger.get(..upper.find("FOR EACH ROW").unwrap_or(trigger.len())).unwrap_or(trigger);
    [database.to_owned(), quoted(database)]
        .iter()
        .any(|name| head.contains(&format!("{name}.")) || head.contains(&format!("{name} .")))
}

/// Tables whose definition `was` of a place of their own, and what becomes of that.
fn brought_home(
    dump: &Dump<'_>,
    databases: &[Target],
    was: fn(&str) -> bool,
    what: &str,
) -> anyhow::Result<Option<String>> {
    let mut names = Vec::new();
    for target in databases {
        for table in &target.tables {
            if was(&dump.statement(&table.table.definition)?) {
                names.push(format!("{}.{}", target.from, table.table.name));
            }
        }
    }
    Ok((!names.is_empty()).then(|| format!("{} {what}", names.join(", "))))
}

/// A default may be the next value of a sequence, which one table alone does not bring.
fn refuse_missing_sequences(dump: &Dump<'_>, databases: &[Target], loader: &mut Loader) -> anyhow::Result<()> {
    for target in databases {
        for table in &target.tables {
            for (schema, name) in rewrite::sequences(&dump.statement(&table.table.definition)?) {
                let schema = if schema == target.from { target.to.clone() } else { schema };
                let is_sequence = |object: &ObjectText| object.kind == ObjectKind::Sequence && object.name == name;
                let comes = databases.iter().any(|each| each.to == schema && each.objects.iter().any(is_sequence));
                if !comes && !loader.tables(&schema)?.contains(&name) {
                    let sequence = format!("{schema}.{name}");
                    let of = format!("{}.{}", target.from, table.table.name);
                    let what = format!("{of} takes a default from sequence {sequence}, which is not there");
                    let hint = format!("CREATE SEQUENCE {sequence} first, or load the whole database");
                    return Err(Fault::new(Kind::Refused, what).hint(hint).into());
                }
            }
        }
    }
    Ok(())
}

fn left_out(target: &Target) -> Vec<String> {
    let broken = target.objects.iter().filter(|object| object.broken);
    let broken =
        broken.map(|view| format!("view {}.{} did not work when it was dumped: left out", target.from, view.name));
    let unbound = target.tables.iter().filter(|table| table.renamed);
    let unbound = unbound.map(|table| format!("{} is a copy: it gets no foreign keys and no triggers", table.to));
    let events = target.objects.iter().filter(|o| o.kind == ObjectKind::Event && target.from != target.to);
    let events = events.map(|event| format!("event {} is disabled", event.name));
    let named: Vec<&str> = target
        .objects
        .iter()
        .filter(|object| !matches!(object.kind, ObjectKind::Sequence) && target.from != target.to)
        .map(|object| object.name.as_str())
        .collect();
    let named = (!named.is_empty()).then(|| {
        format!("where {} name database {} in their text, they still mean that one", named.join(", "), target.from)
    });
    broken.chain(unbound).chain(events).chain(named).collect()
}

fn steps(plan: &Plan, request: &Request) -> Vec<String> {
    let mut steps = Vec::new();
    for name in &plan.abandoned {
        steps.push(format!("remove database {name}, left by a restore that was cut short"));
    }
    let first = plan.databases.iter().filter(|target| target.goes_first);
    steps.extend(first.map(|target| format!("DROP DATABASE {}", target.to)));
    if plan.opens_local_infile {
        steps.push("SET GLOBAL local_infile = ON for as long as rows are loaded".to_owned());
    }
    for target in &plan.databases {
        let rows: u64 = target.tables.iter().map(|table| table.table.rows).sum();
        let bytes = target.tables.iter().flat_map(|t| &t.table.parts).map(|part| part.bytes).sum();
        let what = match target.tables.as_slice() {
            [one] if !request.tables.is_empty() => format!("table {}", one.table.name),
            tables => format!("{} tables", tables.len()),
        };
        steps.push(format!(
            "load {what} of {} ({rows} rows, {}) aside, by {} connections",
            target.from,
            Bytes(bytes),
            plan.workers
        ));
        if target.replaces_all {
            steps.push(format!("DROP DATABASE {}", target.to));
        }
        steps.extend(target.replaced.iter().map(|name| format!("DROP TABLE {}.{name}", target.to)));
        let names: Vec<&str> = target.tables.iter().map(|table| table.to.as_str()).collect();
        let place =
            if request.tables.is_empty() { target.to.clone() } else { format!("{}.{}", target.to, names.join(", ")) };
        let others = target.objects.iter().filter(|object| !object.broken).count();
        let others = if others > 0 { format!("; make {others} views, programs and the like") } else { String::new() };
        steps.push(format!("move it to {place}{others}"));
    }
    if !plan.accounts.is_empty() {
        steps.push(format!("make {} accounts and roles; those that are there stay as they are", plan.accounts.len()));
    }
    for name in &plan.superseded {
        steps.push(format!("remove database {name}, left by a restore that was cut short"));
    }
    if !plan.binary_log {
        steps.push("write nothing of it to the binary log: replicas don't get it".to_owned());
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_another_restore_is_not_used_again() {
        let left = ["mysnap_restoring_a_0", "mysnap_restoring_a_run2_1"].map(|aside| Unfinished {
            aside: aside.into(),
            database: "shop".into(),
            tables: Vec::new(),
        });
        assert_eq!(free_name("a", &left), "mysnap_restoring_a_run3");
        assert_eq!(free_name("b", &left), "mysnap_restoring_b");
    }

    #[test]
    fn a_trigger_that_names_its_table_with_the_database_is_known() {
        let trigger = |table: &str| format!("CREATE TRIGGER t BEFORE INSERT ON {table} FOR EACH ROW SET @a = 'shop.x'");
        assert!(names_database(&trigger("shop.orders"), "shop"));
        assert!(names_database(&trigger("`shop` .`orders`"), "shop"));
        assert!(!names_database(&trigger("orders"), "shop"));
    }
}
