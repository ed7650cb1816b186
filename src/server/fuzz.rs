//! Answers of a server, made of bytes that nobody chose.

use std::collections::BTreeMap;
use std::path::Path;

use super::facts::{Facts, Variables};
use super::option_file::OptionFile;
use super::session::Columns;
use super::{Exactness, Position};
use super::{keyring, layout, long_queries, position, running};

/// Every reader of variables and rows, from lines `name=value`.
pub(crate) fn answer(text: &str) {
    let pairs: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let row = Columns::of(&pairs);
    long_queries::running_query(&row);
    let upstream: Vec<_> = position::upstream(&row, Some(text)).into_iter().collect();
    let position = Position {
        binlog: position::binlog_position(&row),
        gtid_set: Some(text.to_owned()),
        upstream,
        exact: Exactness::Exact,
    };
    let values: BTreeMap<String, String> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let variables = Variables::new(values);
    layout::configured(&variables, true);
    let Ok(facts) = Facts::from_variables(&variables, 0) else { return };
    position.replication_statement(&facts);
    for upstream in &position.upstream {
        upstream.replication_statement(&facts);
    }
}

/// What the system says of sockets, and the configuration of a component that has keys.
pub(crate) fn system(text: &str) {
    for line in text.lines() {
        running::listener(line, Path::new("/run/mysqld/mysqld.sock"), Path::new("/nonexistent/mysnap"));
    }
    keyring::path_of(text);
}

/// An option file.
pub(crate) fn option_file(text: &str) {
    drop(OptionFile::parse(text));
}
