//! Whether a server can take what a dump holds.

use std::collections::BTreeMap;

use super::dialect::Crossing;
use super::plan::Wanted;
use super::source::Dump;
use super::{Request, Target, rewrite};
use crate::dump::{ObjectKind, ObjectText};
use crate::fault::{Fault, Kind};
use crate::server::{Abilities, Facts};

/// So many names are told.
const TOLD: usize = 5;

const ZONES_HINT: &str = "`mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql mysql` (MariaDB has it as mariadb-tzinfo-to-sql) has a \
                          server know time zones by their names";

/// What stands in the way, and where.
#[derive(Default)]
struct Unknown(BTreeMap<(&'static str, String), Vec<String>>);

impl Unknown {
    fn add(&mut self, what: &'static str, value: &str, user: &str) {
        let users = self.0.entry((what, value.to_owned())).or_default();
        if !users.iter().any(|each| each == user) {
            users.push(user.to_owned());
        }
    }
}

/// Refuses what the server of `facts` does not know, by name: what stands in the way, and where. What a table will be
/// without is returned, as warnings.
pub(super) fn refuse_unknown(
    dump: &Dump<'_>,
    wanted: &[Wanted<'_>],
    (crossing, facts): (&Crossing, &Facts),
    abilities: &Abilities,
) -> anyhow::Result<Vec<String>> {
    let (mut unknown, mut without) = (Unknown::default(), Unknown::default());
    for each in wanted {
        let database = &each.database.name;
        let collation = crossing.collation(&each.database.collation);
        let of_database = [("character set", each.database.charset.as_str()), ("collation", collation)];
        for (what, value) in of_database {
            if !knows(abilities, what, value) {
                unknown.add(what, value, database);
            }
        }
        for table in &each.tables {
            let name = format!("{database}.{}", table.name);
            let carried = crossing.table(&dump.statement(&table.definition)?);
            carried.lacks.iter().for_each(|lack| unknown.add("", lack, &name));
            carried.without.iter().for_each(|what| without.add("", what, &name));
            for (what, value) in rewrite::asked_for(&carried.statement) {
                if !knows(abilities, what, &value) {
                    unknown.add(what, &value, &name);
                }
            }
        }
        for object in &each.objects {
            refuse_object(object, database, crossing, abilities, &mut unknown);
        }
    }
    let without = without.0.iter().map(|((_, what), users)| format!("{} will be without {what}", named(users)));
    if unknown.0.is_empty() {
        return Ok(without.collect());
    }
    let told =
        unknown.0.iter().map(|((what, value), users)| format!("{what} {value} ({})", named(users)).trim().to_owned());
    let told: Vec<String> = told.collect();
    let message = format!("{} {} does not know {}", facts.flavour, facts.version, told.join("; "));
    let only_zones = unknown.0.keys().all(|(what, _)| *what == "time zone");
    let hint = if only_zones { ZONES_HINT.to_owned() } else { hint(dump) };
    Err(Fault::new(Kind::Refused, message).hint(hint).into())
}

/// What can be done about a dump that a server does not take.
pub(super) fn hint(dump: &Dump<'_>) -> String {
    let server = &dump.manifest.server;
    format!(
        "load into {} {} or a later release of it, or only what it knows: --database and --table name it; --collation OLD=NEW has another collation",
        server.flavour, server.version
    )
}

/// A program in a mode that a server has not would mean something else there.
fn refuse_object(
    object: &ObjectText,
    database: &str,
    crossing: &Crossing,
    abilities: &Abilities,
    unknown: &mut Unknown,
) {
    let name = format!("{} {database}.{}", object.kind.name(), object.name);
    if object.kind == ObjectKind::Sequence && !crossing.has_sequences() {
        unknown.add("", "sequences", &format!("{database}.{}", object.name));
    }
    if let Some(zone) = object.named_zone().filter(|zone| !knows(abilities, "time zone", zone)) {
        unknown.add("time zone", zone, &name);
    }
    let modes = object.settings.sql_mode.as_deref().unwrap_or_default();
    for mode in modes.split(',').filter(|mode| crossing.lacks_mode(mode)) {
        unknown.add("sql_mode", mode, &name);
    }
    if let Some(client) = object.settings.client.as_deref().filter(|client| !knows(abilities, "character set", client))
    {
        unknown.add("character set", client, &name);
    }
}

/// A program's own collation, which its literals are compared by, or the nearest that the server knows.
pub(super) fn nearest_collation<'a>(abilities: &'a Abilities, collation: &'a str) -> &'a str {
    if knows(abilities, "collation", collation) {
        return collation;
    }
    // The same order of characters in two releases of Unicode, by the names of both families.
    let near = [("_0900_", "_uca1400_"), ("_uca1400_", "_0900_")].map(|(own, other)| collation.replacen(own, other, 1));
    if let Some(known) =
        abilities.collations.iter().find(|each| near.iter().any(|near| near.eq_ignore_ascii_case(each)))
    {
        return known;
    }
    let charset = alias(collation.split('_').next().unwrap_or_default());
    let default = abilities.default_collations.iter().find(|(name, _)| alias(name) == charset);
    default.map_or(collation, |(_, default)| default)
}

/// What somebody wants otherwise.
pub(super) fn collated(crossing: &Crossing, request: &Request) -> Vec<String> {
    let told = request.collations.iter().map(|(own, _)| {
        format!(
            "what has collation {own} gets {}: texts may sort otherwise, and others be equal",
            crossing.collation(own)
        )
    });
    told.collect()
}

/// Programs whose collation the server does not know.
pub(super) fn compared_otherwise(target: &Target, crossing: &Crossing, abilities: &Abilities) -> Option<String> {
    let (mut names, mut nearest) = (Vec::new(), BTreeMap::new());
    for object in target.objects.iter().filter(|object| !object.broken) {
        let Some(own) = object.settings.collation.as_deref() else { continue };
        // What somebody wants otherwise is told already.
        let collation = crossing.collation(own);
        let near = nearest_collation(abilities, collation);
        if near != collation {
            nearest.insert(collation, near);
            names.push(format!("{} {}", object.kind.name(), object.name));
        }
    }
    let told: Vec<String> = nearest.iter().map(|(own, near)| format!("{near}, not {own}")).collect();
    (!names.is_empty())
        .then(|| format!("{} of {} compare their own literals by {}", named(&names), target.from, told.join("; ")))
}

/// A few of these names, and how many more there are.
fn named(users: &[String]) -> String {
    first(users, TOLD)
}

/// The first `most` of these, and how many more there are.
pub(super) fn first(users: &[String], most: usize) -> String {
    let mut names: Vec<String> = users.iter().take(most).cloned().collect();
    let more = users.len().saturating_sub(most);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

fn knows(abilities: &Abilities, what: &str, value: &str) -> bool {
    let known = match what {
        "character set" => &abilities.charsets,
        "collation" => &abilities.collations,
        "time zone" => &abilities.zones,
        _ => &abilities.engines,
    };
    // utf8 is another name of utf8mb3, by the age of the server.
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b) || alias(a).eq_ignore_ascii_case(&alias(b));
    known.iter().any(|each| same(each, value))
}

fn alias(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("utf8mb3") {
        Some(rest) => format!("utf8{rest}"),
        None => name,
    }
}

/// What servers of different families and releases do otherwise, and nobody can know before it is used.
pub(super) fn doubts(dump: &Dump<'_>, crossing: &Crossing, facts: &Facts) -> Option<String> {
    let from = &dump.manifest.server;
    crossing.differs().then(|| {
        format!(
            "the dump is of {} {}, the server is {} {}: everything without rows is tried aside first, and what it does not take ends the restore before anything is changed; what a program does inside is known when it is used",
            from.flavour, from.version, facts.flavour, facts.version
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_knows_utf8_by_both_names() {
        let abilities = Abilities {
            charsets: vec!["utf8mb3".into(), "utf8mb4".into()],
            collations: vec!["utf8_bin".into()],
            engines: vec!["InnoDB".into()],
            default_collations: vec![("utf8mb3".into(), "utf8mb3_general_ci".into())],
            local_infile: true,
            zones: vec![],
        };
        assert!(knows(&abilities, "character set", "utf8") && knows(&abilities, "collation", "utf8mb3_bin"));
        assert!(knows(&abilities, "engine", "INNODB") && !knows(&abilities, "engine", "Aria"));
        assert!(!knows(&abilities, "collation", "utf8mb4_0900_ai_ci"));
    }
}
