//! What the documentation shows exists: commands, tests, units.

#![cfg(test)]

use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;
use mysnap::cli::args::Arguments;

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Every other piece: what stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The calls of mysnap in the lines of a code block, arguments only.
fn typed(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = lines.flat_map(|line| line.split(" #").next().unwrap_or_default().split(&[';', '|', '\''][..]));
    let calls = commands.filter_map(|command| {
        let mut words = command.split_whitespace();
        words.find(|word| ["mysnap", "/usr/local/sbin/mysnap"].contains(word))?;
        let arguments: Vec<&str> = words.collect();
        (!arguments.is_empty()).then_some(arguments)
    });
    calls.collect()
}

fn refusal(arguments: &[&str]) -> Option<ErrorKind> {
    Arguments::try_parse_from(["mysnap"].iter().chain(arguments)).err().map(|error| error.kind())
}

#[test]
fn commands_in_the_documentation_are_understood() {
    let mut seen = 0;
    for name in ["README.md", "docs/operations.md"] {
        let text = text(name);
        for arguments in typed(&text) {
            assert_eq!(refusal(&arguments), None, "{name}: mysnap {}", arguments.join(" "));
            seen += 1;
        }
        // Within a sentence a command may be named without all that it needs.
        for command in quoted(&text).into_iter().filter_map(|quoted| quoted.strip_prefix("mysnap ")) {
            let refused = refusal(&command.split_whitespace().collect::<Vec<_>>());
            let named = [None, Some(ErrorKind::MissingRequiredArgument), Some(ErrorKind::DisplayHelp)];
            assert!(named.contains(&refused), "{name}: mysnap {command}: {refused:?}");
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} commands were found");
}

#[test]
fn commands_in_the_units_are_understood() {
    for name in ["packaging/mysnap@.service", "packaging/mysnap-recover.service", "packaging/mysnap-binlog@.service"] {
        let text = text(name);
        let commands = text.lines().filter(|line| line.starts_with("Exec")).filter_map(|line| line.split_once('='));
        for (_, command) in commands {
            let words: Vec<&str> = command.split_whitespace().collect();
            assert_eq!(words.first(), Some(&"/usr/local/sbin/mysnap"), "{name}: {command}");
            assert_eq!(refusal(words.get(1..).unwrap_or_default()), None, "{name}: {command}");
        }
    }
}

#[test]
fn tests_that_the_documentation_names_exist() {
    for name in ["docs/facts.md", "docs/faults.md"] {
        let told = text(name);
        let named: Vec<_> = quoted(&told).into_iter().filter_map(|quoted| quoted.split_once(".rs::")).collect();
        assert!(named.len() > 20, "{name}: only {} tests were found", named.len());
        for (file, test) in named {
            let file = format!("{file}.rs");
            assert!(text(&file).contains(&format!("fn {test}(")), "{name}: no {test} in {file}");
        }
    }
}
