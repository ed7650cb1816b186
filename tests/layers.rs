//! The map of the design, checked: which part of the crate may use which.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each part with the parts below it that it may use.
const LAYERS: [(&str, &[&str]); 32] = [
    ("fault", &[]),
    ("sys", &["fault"]),
    ("id", &["sys"]),
    ("exit", &["fault"]),
    ("lvm", &["fault", "id", "sys"]),
    ("snapshot", &["fault", "id", "lvm", "sys"]),
    ("server", &["fault", "id", "sys"]),
    ("store", &["fault", "id", "server", "sys"]),
    ("run", &["fault", "id", "sys"]),
    ("kept", &["fault", "id", "server", "store", "sys"]),
    ("dump", &["fault", "run", "server", "store", "sys"]),
    ("expire", &["id", "run", "store", "sys"]),
    ("config", &["dump", "expire", "fault", "id", "server", "snapshot", "store", "sys"]),
    ("recover", &["fault", "id", "kept", "lvm", "run", "snapshot", "store", "sys"]),
    ("instance", &["fault", "server", "store", "sys"]),
    ("restore", &["fault", "id", "instance", "run", "server", "store", "sys"]),
    ("load", &["dump", "fault", "server", "store", "sys"]),
    ("proof", &["dump", "fault", "instance", "run", "server", "store", "sys"]),
    ("node", &["dump", "exit", "fault", "id", "instance", "proof", "recover", "run", "server", "store", "sys"]),
    ("check", &["dump", "fault", "id", "instance", "lvm", "node", "run", "server", "snapshot", "store", "sys"]),
    ("binlog", &["check", "dump", "fault", "id", "node", "run", "server", "store", "sys"]),
    ("drill", &["fault", "id", "instance", "load", "proof", "recover", "restore", "run", "server", "store", "sys"]),
    ("extract", &["dump", "fault", "instance", "proof", "recover", "restore", "run", "server", "store", "sys"]),
    (
        "pitr",
        &[
            "binlog", "dump", "extract", "fault", "id", "instance", "load", "proof", "recover", "restore", "run",
            "server", "store", "sys",
        ],
    ),
    (
        "status",
        &["binlog", "drill", "dump", "fault", "id", "lvm", "recover", "run", "server", "snapshot", "store", "sys"],
    ),
    (
        "backup",
        &[
            "binlog", "check", "drill", "dump", "fault", "id", "instance", "kept", "lvm", "node", "proof", "recover",
            "run", "server", "snapshot", "store", "sys",
        ],
    ),
    ("verify", &["binlog", "fault", "id", "run", "store", "sys"]),
    (
        "clone",
        &["fault", "id", "instance", "kept", "lvm", "recover", "restore", "run", "server", "snapshot", "store", "sys"],
    ),
    ("rollback", &["fault", "id", "kept", "lvm", "recover", "run", "server", "snapshot", "sys"]),
    (
        "cli",
        &[
            "backup", "binlog", "check", "clone", "config", "drill", "dump", "exit", "expire", "extract", "fault",
            "id", "kept", "load", "lvm", "node", "pitr", "recover", "restore", "rollback", "run", "server", "snapshot",
            "status", "store", "sys", "verify",
        ],
    ),
    (
        "fuzz",
        &[
            "binlog", "check", "config", "drill", "dump", "id", "instance", "kept", "load", "lvm", "node", "restore",
            "rollback", "run", "server", "store", "sys",
        ],
    ),
    ("main", &["cli", "exit", "sys"]),
];

#[test]
fn dependencies_point_down_only() {
    let mut wrong = Vec::new();
    for file in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let part = part_of(&file);
        if part == "lib" {
            continue;
        }
        let (_, allowed) =
            LAYERS.iter().find(|(name, _)| *name == part).unwrap_or_else(|| panic!("{part} has no layer"));
        for used in used_parts(&std::fs::read_to_string(&file).unwrap()) {
            if used != part && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_has_no_cycle() {
    for (index, (name, below)) in LAYERS.iter().enumerate() {
        let known: BTreeSet<&str> = LAYERS[..index].iter().map(|(n, _)| *n).collect();
        for part in *below {
            assert!(known.contains(part), "{name} stands above {part}, so it must come after it");
        }
    }
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// `src/lvm/report.rs` belongs to `lvm`, `src/exit.rs` to `exit`.
fn part_of(file: &Path) -> String {
    let below = file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn used_parts(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let text = code.join("\n");
    let mut used = BTreeSet::new();
    for marker in ["crate::", "mysnap::"] {
        for (at, _) in text.match_indices(marker) {
            let rest = &text[at + marker.len()..];
            let names = if let Some(group) = rest.strip_prefix('{') { group.split('}').next().unwrap() } else { rest };
            for name in names.split(',').take(if rest.starts_with('{') { usize::MAX } else { 1 }) {
                let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                used.insert(name);
            }
        }
    }
    used.retain(|name| LAYERS.iter().any(|(part, _)| part == name));
    used
}
