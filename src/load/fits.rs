//! Whether a server can take what a dump holds.

use std::collections::BTreeMap;

use super::plan::Wanted;
use super::rewrite;
use super::source::Dump;
use crate::fault::{Fault, Kind};
use crate::server::{Abilities, Facts};

/// So many names are told.
const TOLD: usize = 5;

/// Refuses what the server of `facts` does not know, by name: what stands in the way, and where.
pub(super) fn refuse_unknown(
    dump: &Dump<'_>,
    wanted: &[Wanted<'_>],
    facts: &Facts,
    abilities: &Abilities,
) -> anyhow::Result<()> {
    let mut unknown: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    for each in wanted {
        let database = &each.database.name;
        let of_database = [("character set", &each.database.charset), ("collation", &each.database.collation)];
        for (what, value) in of_database {
            if !knows(abilities, what, value) {
                unknown.entry((what, value.clone())).or_default().push(database.clone());
            }
        }
        for table in &each.tables {
            for (what, value) in rewrite::asked_for(&dump.statement(&table.definition)?) {
                if !knows(abilities, what, &value) {
                    unknown.entry((what, value)).or_default().push(format!("{database}.{}", table.name));
                }
            }
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let told = unknown.iter().map(|((what, value), users)| {
        let more = users.len().saturating_sub(TOLD);
        let mut names: Vec<String> = users.iter().take(TOLD).cloned().collect();
        if more > 0 {
            names.push(format!("{more} more"));
        }
        format!("{what} {value} ({})", names.join(", "))
    });
    let told: Vec<String> = told.collect();
    let server = &dump.manifest.server;
    let message = format!("{} {} does not know {}", facts.flavour, facts.version, told.join("; "));
    let fault = Fault::new(Kind::Refused, message);
    Err(fault.hint(format!("load into {} {} or a later release of it", server.flavour, server.version)).into())
}

fn knows(abilities: &Abilities, what: &str, value: &str) -> bool {
    let known = match what {
        "character set" => &abilities.charsets,
        "collation" => &abilities.collations,
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

/// What may go wrong between servers of different families and releases, and can't be known before.
pub(super) fn doubts(dump: &Dump<'_>, facts: &Facts) -> Option<String> {
    let from = &dump.manifest.server;
    let other = from.flavour.is_mariadb() != facts.flavour.is_mariadb();
    let older = !other && facts.version < from.version;
    (other || older).then(|| {
        format!(
            "the dump is of {} {}, the server is {} {}: a table that it does not know ends the restore, and nothing is changed; a view or program that it does not know is told when the tables are in place",
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
            local_infile: true,
        };
        assert!(knows(&abilities, "character set", "utf8") && knows(&abilities, "collation", "utf8mb3_bin"));
        assert!(knows(&abilities, "engine", "INNODB") && !knows(&abilities, "engine", "Aria"));
        assert!(!knows(&abilities, "collation", "utf8mb4_0900_ai_ci"));
    }
}
