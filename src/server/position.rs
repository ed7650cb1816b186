//! Where in the stream of changes a copy stands.

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::session::{Columns, Connection};
use super::sql::{self, Dialect};

/// Where in the stream of changes a copy stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The server's own binary log; none where it is off: then nothing can be replayed onto a copy.
    pub binlog: Option<BinlogPosition>,
    /// The transactions executed, as the server writes them; none without GTIDs.
    pub gtid_set: Option<String>,
    /// Where each channel stands on a replica.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<UpstreamPosition>,
    /// Whether the copy holds exactly the rows up to here.
    pub exact: Exactness,
}

/// A place in a binary log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinlogPosition {
    /// The file's name, without a directory.
    pub file: String,
    /// The offset in it.
    pub offset: u64,
}

/// Where a replica's channel stands in its source's binary log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamPosition {
    /// The channel's name; empty for the default one.
    pub channel: String,
    /// The source's host.
    pub host: String,
    /// The source's port.
    pub port: u16,
    /// The place up to which its changes are applied.
    pub binlog: BinlogPosition,
    /// Whether the replica finds its place by GTID.
    pub by_gtid: bool,
    /// What is applied of all sources by GTID: MariaDB's `gtid_slave_pos`, MySQL's executed set.
    pub gtid_set: Option<String>,
}

/// Whether a copy holds exactly the rows up to its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exactness {
    /// It does.
    Exact,
    /// It may not, because of this.
    NotExact(String),
}

impl Position {
    /// Asks the server; only under the lock is the answer one moment.
    pub(super) fn read(connection: &mut Connection, dialect: Dialect, exact: Exactness) -> anyhow::Result<Self> {
        let binlog = connection.rows(dialect.binlog_status)?.first().and_then(binlog_position);
        let gtid_set = connection.value(dialect.gtid_set)?;
        let channels = connection.rows(dialect.replica_status)?;
        let applied = match dialect.replica_gtid_set {
            Some(query) if !channels.is_empty() => connection.value(query)?,
            Some(_) => None,
            None => gtid_set.clone(),
        };
        let upstream = channels.iter().filter_map(|row| upstream(row, applied.as_deref())).collect();
        // MySQL breaks a long set into lines.
        Ok(Self { binlog, gtid_set: gtid_set.map(|set| set.replace('\n', "")), upstream, exact })
    }

    /// The statements that make a server restored to this position replicate from `source`, the
    /// server that it was copied from; none without a binary log.
    pub fn replication_statement(&self, source: &Facts) -> Option<String> {
        let binlog = self.binlog.as_ref()?;
        let place = sql::ReplicationSource {
            channel: "",
            host: &source.hostname,
            port: source.port,
            file: &binlog.file,
            offset: binlog.offset,
            // MySQL takes up by GTID only from a source where every transaction has one.
            gtid_set: self.gtid_set.as_deref().filter(|_| source.gtid_mode.as_deref().is_none_or(|mode| mode == "ON")),
        };
        Some(place.statement(source.flavour, source.version))
    }
}

impl UpstreamPosition {
    /// The statements that make a server restored from `replica` take its place at this source.
    pub fn replication_statement(&self, replica: &Facts) -> String {
        let place = sql::ReplicationSource {
            channel: &self.channel,
            host: &self.host,
            port: self.port,
            file: &self.binlog.file,
            offset: self.binlog.offset,
            gtid_set: self.gtid_set.as_deref().filter(|_| self.by_gtid),
        };
        place.statement(replica.flavour, replica.version)
    }
}

pub(super) fn binlog_position(row: &Columns) -> Option<BinlogPosition> {
    Some(BinlogPosition { file: row.get(&["File"])?.to_owned(), offset: row.get(&["Position"])?.parse().ok()? })
}

/// A channel; none for one that was never configured, such as group replication's own.
pub(super) fn upstream(row: &Columns, applied: Option<&str>) -> Option<UpstreamPosition> {
    let host = row.get(&["Source_Host", "Master_Host"]).filter(|host| !host.is_empty())?;
    let by_gtid = match row.get(&["Auto_Position", "Using_Gtid"]) {
        None | Some("0" | "No" | "") => false,
        Some(_) => true,
    };
    Some(UpstreamPosition {
        channel: row.get(&["Channel_Name", "Connection_name"]).unwrap_or_default().to_owned(),
        host: host.to_owned(),
        port: row.get(&["Source_Port", "Master_Port"])?.parse().ok()?,
        binlog: BinlogPosition {
            file: row.get(&["Relay_Source_Log_File", "Relay_Master_Log_File"])?.to_owned(),
            offset: row.get(&["Exec_Source_Log_Pos", "Exec_Master_Log_Pos"])?.parse().ok()?,
        },
        by_gtid,
        gtid_set: applied.map(|set| set.replace('\n', "")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::variables;
    use super::*;

    fn position(gtid_set: Option<&str>) -> Position {
        Position {
            binlog: Some(BinlogPosition { file: "binlog.000003".into(), offset: 4711 }),
            gtid_set: gtid_set.map(str::to_owned),
            upstream: Vec::new(),
            exact: Exactness::Exact,
        }
    }

    fn facts(extra: &[(&str, &str)]) -> Facts {
        let usual = [("hostname", "db1"), ("port", "3306")];
        Facts::from_variables(&variables(&[&usual, extra].concat()), 0).unwrap()
    }

    #[test]
    fn the_replication_statement_fits_the_server() {
        let mariadb = position(Some("0-1-5")).replication_statement(&facts(&[])).unwrap();
        assert!(mariadb.starts_with("SET GLOBAL gtid_slave_pos='0-1-5'; CHANGE MASTER TO MASTER_HOST='db1'"));
        assert!(mariadb.ends_with("MASTER_USE_GTID=slave_pos; START SLAVE;"), "{mariadb}");
        let old = facts(&[("version", "5.7.42"), ("gtid_mode", "OFF")]);
        let old = position(None).replication_statement(&old).unwrap();
        assert!(old.contains("MASTER_LOG_FILE='binlog.000003', MASTER_LOG_POS=4711"), "{old}");
        let new = facts(&[("version", "9.7.4"), ("gtid_mode", "ON")]);
        let new = position(Some("3E11:1-9")).replication_statement(&new).unwrap();
        assert!(new.contains("SOURCE_AUTO_POSITION=1") && new.ends_with("START REPLICA;"), "{new}");
        let off = Position { binlog: None, ..position(None) };
        assert_eq!(off.replication_statement(&facts(&[])), None);
    }

    #[test]
    fn a_channel_is_read_under_its_old_and_new_names() {
        let old = Columns::of(&[
            ("Connection_name", "east"),
            ("Master_Host", "db0"),
            ("Master_Port", "3306"),
            ("Relay_Master_Log_File", "b.000009"),
            ("Exec_Master_Log_Pos", "1234"),
            ("Using_Gtid", "Slave_Pos"),
        ]);
        let channel = upstream(&old, Some("0-1-5")).unwrap();
        assert_eq!((channel.channel.as_str(), channel.by_gtid), ("east", true));
        let statement = channel.replication_statement(&facts(&[]));
        assert!(statement.contains("CHANGE MASTER 'east' TO MASTER_HOST='db0'"), "{statement}");
        assert!(statement.ends_with("START SLAVE 'east';"), "{statement}");
        let new = Columns::of(&[
            ("Source_Host", "db0"),
            ("Source_Port", "3306"),
            ("Relay_Source_Log_File", "b.000009"),
            ("Exec_Source_Log_Pos", "1234"),
            ("Auto_Position", "0"),
        ]);
        let channel = upstream(&new, None).unwrap();
        assert_eq!(channel.binlog, BinlogPosition { file: "b.000009".into(), offset: 1234 });
        assert!(!channel.by_gtid);
        let statement = channel.replication_statement(&facts(&[("version", "9.7.4")]));
        assert!(statement.contains("SOURCE_LOG_POS=1234; START REPLICA;"), "{statement}");
        assert_eq!(upstream(&Columns::of(&[("Source_Host", "")]), None), None);
    }
}
