//! Every key that may stand in the configuration, with its default and its meaning.

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default, written as in the file; none where the key is required or absent by default.
    pub default: Option<&'static str>,
    /// What it means and what is allowed.
    pub about: &'static str,
}

const fn key(name: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, default: Some(default), about }
}

const fn without_default(name: &'static str, about: &'static str) -> Key {
    Key { name, default: None, about }
}

/// The keys of `[server]` and `[job.NAME.server]`.
pub const SERVER: &[Key] = &[
    without_default("option_file", "a MySQL option file with user and password in [client], mode 0600"),
    without_default("socket", "the server's unix socket"),
    without_default("host", "a host name or address: TCP instead of a socket; must be this host, but for an archive"),
    without_default("port", "the TCP port"),
    without_default("user", "the account"),
    without_default("tls", "over TCP: \"verify-identity\", or \"disabled\" (this host only, and the default there)"),
    without_default("tls_ca", "a file of certificate authorities that may vouch for the server"),
];

/// The keys of `[binlog.NAME]`.
pub const BINLOG: &[Key] = &[
    without_default(
        "to",
        "where the archive goes: \"/path\", on another disk of this host, or \"user@host:/path\"; required",
    ),
    key(
        "engine",
        "\"auto\"",
        "how they are read: \"files\", the server's own on this host; \"tool\", mysqlbinlog or mariadb-binlog; \"auto\", files \
         where that can be",
    ),
    without_default(
        "spool",
        "a directory for what the tool has read and the archive has not; else the archive's, or /var/tmp with a node's",
    ),
    key("compression", "\"zstd\"", "how files are packed that the server has closed: \"zstd\", \"gzip\" or \"none\""),
    key("sync_interval", "\"1s\"", "how often a stream makes durable what is new: 100ms to 60s"),
    without_default(
        "binlog_keep",
        "how old what is archived must be before it goes, once no backup needs it: \"30d\"; without it nothing goes",
    ),
    key("max_lag", "\"5min\"", "how long ago it may have been at one with the server before `mysnap status` tells"),
    without_default("ssh_key", "the private key to use for the destination, and no other"),
    without_default("ssh_port", "its ssh port"),
    without_default("ssh_known_hosts", "the file of known host keys; else ssh's own"),
];

/// The keys of `[job.NAME]` and `[defaults]`.
pub const JOB: &[Key] = &[
    without_default("to", "where backups go: \"/path\" or \"user@host:/path\"; required"),
    key(
        "method",
        "\"copy\"",
        "how backups are made: \"copy\", the files of the snapshot; \"dump\", statements and rows",
    ),
    key("source", "\"snapshot\"", "what a dump reads: a second server on a \"snapshot\", or the \"live\" server"),
    without_default("include", "what a dump takes, else everything: [\"shop\", \"crm.people\"], with * and ?"),
    without_default("exclude", "what a dump leaves out: [\"*.sessions\"]"),
    key(
        "dump_on",
        "\"host\"",
        "where a snapshot is dumped: on the \"host\", or on the \"node\" that the dump goes to, which gets the files first",
    ),
    key(
        "node_scratch",
        "\"/var/tmp\"",
        "where the node has room for a second server's files, with prove_on or dump_on",
    ),
    key("workers", "2", "how many connections a dump reads by: 1 to 64"),
    key("compression", "\"zstd\"", "how a dump is packed: \"zstd\", \"gzip\" or \"none\""),
    key(
        "prove",
        "\"checksum\"",
        "\"checksum\" reads back what was copied; \"start\" also starts a second server on the snapshot, \"queries\" asks it \
         the job's queries, \"tables\" lets it read every table too; \"none\"",
    ),
    key(
        "prove_on",
        "\"host\"",
        "where that server is started: on the \"host\", or on the \"node\" that the copy went to, beside the copy itself",
    ),
    key("prepared", "false", "recover on the snapshot before the copy: what is stored starts at once"),
    without_default("queries", "what a second server must answer with a number other than 0: [\"SELECT …\"]"),
    key(
        "start_timeout",
        "\"4h\"",
        "how long a second server may take to recover and to answer before the run is given up: 1s and longer",
    ),
    key(
        "lock",
        "\"auto\"",
        "\"auto\" fits the server; \"global\" is FLUSH TABLES WITH READ LOCK, \"stages\" BACKUP STAGE",
    ),
    key("max_stall", "\"5s\"", "the longest time that writers may wait for us, getting the lock included: 1s to 60s"),
    key("retries", "3", "tries to get the lock, each on a fresh connection: 1 to 100"),
    key("retry_pause", "\"60s\"", "the pause between them"),
    key("long_query_threshold", "\"5s\"", "a query that has run this long is not started behind"),
    key("long_query_wait", "\"180s\"", "how long to wait for such queries to end before the try is given up"),
    key("kill_long_selects", "false", "after this much waiting (\"20s\") long SELECTs, and only SELECTs, are killed"),
    key(
        "snapshot_size",
        "\"auto\"",
        "\"auto\" cannot overflow where the group has room for it; else \"20%\" or \"10GiB\"",
    ),
    key("keep_snapshot", "false", "keep the snapshot after the backup, for `mysnap rollback`"),
    key("store_warn", "\"70%\"", "use of a thick snapshot's store from which on to warn"),
    key("store_grow_at", "\"80%\"", "use from which on the store is grown while the group has room"),
    key("store_grow_by", "\"20%\"", "by which share of its size it is grown"),
    key("store_give_up", "\"95%\"", "use from which on the backup is given up"),
    key("pool_data_limit", "\"80%\"", "use of a thin pool's data above which no snapshot is taken"),
    key("pool_metadata_limit", "\"70%\"", "use of a thin pool's metadata above which no snapshot is taken"),
    key("pool_give_up", "\"90%\"", "use of either from which on our snapshot is removed, before the server is harmed"),
    without_default(
        "keep",
        "what stays when a backup was made: { last = 3, daily = 7, weekly = 4, monthly = 12, yearly = 1, within = \"14d\" }",
    ),
    key(
        "incremental",
        "false",
        "\"binlog\": between two full backups a backup is what was logged since the last one, kept in an archive of the \
         server's binary logs",
    ),
    without_default("archive", "which [binlog.NAME] keeps that; else the only one of the same server"),
    key("full_every", "\"7d\"", "how old the full backup may get before the next one: 1h and longer"),
    key("max_age", "\"26h\"", "how old the newest good backup may be before `mysnap status` calls it critical"),
    without_default("bandwidth_limit", "bytes for each second, at most: \"50MiB\""),
    key("nice", "10", "CPU niceness of copying: 0 to 19"),
    key("io_class", "\"best-effort\"", "disk priority of copying: \"best-effort\" (lowest), \"idle\" or \"none\""),
    without_default("ssh_key", "the private key to use for the destination, and no other"),
    without_default("ssh_port", "its ssh port"),
    without_default("ssh_known_hosts", "the file of known host keys; else ssh's own"),
];

/// The key of that name.
pub fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// The key that was probably meant.
pub fn nearest(keys: &'static [Key], name: &str) -> Option<&'static str> {
    let close = keys.iter().map(|key| (distance(key.name, name), key.name)).min()?;
    (close.0 <= 1 + name.len() / 4).then_some(close.1)
}

/// Insertions, deletions and replacements that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            *cell = replaced.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised() {
        assert_eq!(nearest(JOB, "max_stal"), Some("max_stall"));
        assert_eq!(nearest(JOB, "maxstall"), Some("max_stall"));
        assert_eq!(nearest(JOB, "bandwith_limit"), Some("bandwidth_limit"));
        assert_eq!(nearest(JOB, "password"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn no_key_is_listed_twice() {
        for keys in [SERVER, BINLOG, JOB] {
            let names: std::collections::HashSet<_> = keys.iter().map(|key| key.name).collect();
            assert_eq!(names.len(), keys.len());
        }
    }
}
