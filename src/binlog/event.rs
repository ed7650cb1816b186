//! Events of a binary log: what each begins with, and which kinds there are.
//!
//! The format is that of the servers' replication protocol, version 4: the same from MySQL 5.0 to 9 and in every
//! MariaDB; the families differ in what they put into events and in the numbers of kinds above 159. Read from
//! MySQL's `libs/mysql/binlog/event` and MariaDB's `sql/log_event.h`.

use super::bytes::Bytes;
use crate::server::Version;

/// How every binary log begins.
pub const MAGIC: [u8; 4] = *b"\xfebin";
/// How one begins that MySQL has encrypted.
pub const ENCRYPTED_MAGIC: [u8; 4] = *b"\xfdbin";
/// The length of what every event begins with.
pub const HEADER: usize = 19;
/// The length of a checksum at an event's end.
pub const CHECKSUM: usize = 4;
/// Longer than any event: servers take no statement above 1 GiB.
pub const LONGEST: u32 = (1 << 30) + (64 << 20);
/// Where in a file the byte lies whose lowest bit says that a server writes to it.
pub const IN_USE_AT: u64 = 4 + 17;
/// That bit: the only one that changes in a file after it was written.
pub const IN_USE: u8 = 1;

/// What an event begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When it began, in seconds since 1970; 0 where there is no such moment.
    pub timestamp: u32,
    /// Its kind.
    pub kind: Kind,
    /// The server on which it was first executed.
    pub server_id: u32,
    /// Its length with header and checksum, in bytes.
    pub size: u32,
    /// Flags.
    pub flags: u16,
}

impl Header {
    /// Reads one.
    pub fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        let (timestamp, kind, server_id, size) = (bytes.u32()?, bytes.u8()?, bytes.u32()?, bytes.u32()?);
        // The position of its end is of no use: 4 bytes, and 0 inside transactions on newer MariaDB.
        bytes.take(4)?;
        Some(Self { timestamp, kind: Kind(kind), server_id, size, flags: bytes.u16()? })
    }
}

impl Header {
    /// Whether what follows is encrypted. Where MariaDB hands a file out decrypted, it says that this event means nothing.
    pub fn begins_encryption(&self) -> bool {
        const IGNORABLE: u16 = 0x80;
        self.kind == Kind::START_ENCRYPTION && self.flags & IGNORABLE == 0
    }
}

/// The kind of an event, as the number that stands in the file: nobody knows all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// A statement.
    pub const QUERY: Self = Self(2);
    /// The server was shut down.
    pub const STOP: Self = Self(3);
    /// The log goes on in another file.
    pub const ROTATE: Self = Self(4);
    /// A value for the statement that follows.
    pub const INTVAR: Self = Self(5);
    /// Seeds of RAND() for the statement that follows.
    pub const RAND: Self = Self(13);
    /// A user variable for the statement that follows.
    pub const USER_VAR: Self = Self(14);
    /// How the file is written.
    pub const FORMAT_DESCRIPTION: Self = Self(15);
    /// The commit of a transaction.
    pub const XID: Self = Self(16);
    /// The table of the rows that follow.
    pub const TABLE_MAP: Self = Self(19);
    /// The server lost events.
    pub const INCIDENT: Self = Self(26);
    /// The statement of the rows that follow, of MySQL.
    pub const ROWS_QUERY: Self = Self(29);
    /// The beginning of a transaction with a GTID, of MySQL.
    pub const GTID: Self = Self(33);
    /// The same without one.
    pub const ANONYMOUS_GTID: Self = Self(34);
    /// What was executed before this file, of MySQL.
    pub const PREVIOUS_GTIDS: Self = Self(35);
    /// The end of a prepared distributed transaction, of MySQL.
    pub const XA_PREPARE: Self = Self(38);
    /// A whole transaction, compressed, of MySQL.
    pub const TRANSACTION_PAYLOAD: Self = Self(40);
    /// The beginning of a transaction whose GTID has a tag, of MySQL.
    pub const GTID_TAGGED: Self = Self(42);
    /// The statement of the rows that follow, of MariaDB.
    pub const ANNOTATE_ROWS: Self = Self(160);
    /// The beginning of a transaction, of MariaDB.
    pub const MARIADB_GTID: Self = Self(162);
    /// What was executed before this file, of MariaDB.
    pub const MARIADB_GTID_LIST: Self = Self(163);
    /// From here on MariaDB has encrypted.
    pub const START_ENCRYPTION: Self = Self(164);
    /// A compressed statement, of MariaDB.
    pub const QUERY_COMPRESSED: Self = Self(165);

    /// Its name, as the servers write it.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(number, _)| *number == self.0).map_or("Unknown", |(_, name)| name)
    }

    /// Whether a transaction begins with it.
    pub fn begins_a_transaction(self) -> bool {
        [Self::GTID, Self::ANONYMOUS_GTID, Self::GTID_TAGGED, Self::MARIADB_GTID].contains(&self)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            "Unknown" => write!(f, "Unknown({})", self.0),
            name => f.write_str(name),
        }
    }
}

const NAMES: [(u8, &str); 54] = [
    (1, "Start"),
    (2, "Query"),
    (3, "Stop"),
    (4, "Rotate"),
    (5, "Intvar"),
    (6, "Load"),
    (7, "Slave"),
    (8, "Create_file"),
    (9, "Append_block"),
    (10, "Exec_load"),
    (11, "Delete_file"),
    (12, "New_load"),
    (13, "RAND"),
    (14, "User_var"),
    (15, "Format_desc"),
    (16, "Xid"),
    (17, "Begin_load_query"),
    (18, "Execute_load_query"),
    (19, "Table_map"),
    (20, "Pre_ga_write_rows"),
    (21, "Pre_ga_update_rows"),
    (22, "Pre_ga_delete_rows"),
    (23, "Write_rows_v1"),
    (24, "Update_rows_v1"),
    (25, "Delete_rows_v1"),
    (26, "Incident"),
    (27, "Heartbeat"),
    (28, "Ignorable"),
    (29, "Rows_query"),
    (30, "Write_rows"),
    (31, "Update_rows"),
    (32, "Delete_rows"),
    (33, "Gtid"),
    (34, "Anonymous_Gtid"),
    (35, "Previous_gtids"),
    (36, "Transaction_context"),
    (37, "View_change"),
    (38, "XA_prepare"),
    (39, "Update_rows_partial"),
    (40, "Transaction_payload"),
    (41, "Heartbeat_v2"),
    (42, "Gtid_tagged"),
    (160, "Annotate_rows"),
    (161, "Binlog_checkpoint"),
    (162, "Gtid"),
    (163, "Gtid_list"),
    (164, "Start_encryption"),
    (165, "Query_compressed"),
    (166, "Write_rows_compressed_v1"),
    (167, "Update_rows_compressed_v1"),
    (168, "Delete_rows_compressed_v1"),
    (169, "Write_rows_compressed"),
    (170, "Update_rows_compressed"),
    (171, "Delete_rows_compressed"),
];

/// How the events of a file end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// Without a checksum.
    Off,
    /// With a CRC-32.
    Crc32,
}

/// What the first event of a file says about the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// The server that wrote it, as it names its version.
    pub server: String,
    /// How events end.
    pub checksums: Checksums,
}

impl Format {
    /// Reads the body of a format description, with its checksum at the end.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let short = || "its first event is too short".to_owned();
        let mut bytes = Bytes(body);
        let version = bytes.u16().ok_or_else(short)?;
        if version != 4 {
            return Err(format!("it has format {version}, not 4"));
        }
        let server = bytes.take(50).ok_or_else(short)?;
        let server = server.split(|byte| *byte == 0).next().unwrap_or_default();
        let server = String::from_utf8_lossy(server).into_owned();
        if !knows_checksums(&server) {
            return Err(format!("it was written by {server:?}, which is too old"));
        }
        bytes.take(4).ok_or_else(short)?;
        if usize::from(bytes.u8().ok_or_else(short)?) != HEADER {
            return Err("its events have headers of another length".to_owned());
        }
        let lengths = bytes.0.len().checked_sub(CHECKSUM + 1).ok_or_else(short)?;
        bytes.take(lengths).ok_or_else(short)?;
        let checksums = match bytes.u8().ok_or_else(short)? {
            0 => Checksums::Off,
            1 => Checksums::Crc32,
            other => return Err(format!("it has checksums of the unknown kind {other}")),
        };
        Ok(Self { server, checksums })
    }

    /// Whether MariaDB wrote it.
    pub fn is_mariadb(&self) -> bool {
        self.server.contains("MariaDB")
    }

    /// The length of the checksum at the end of an event of `kind`; the format description always has one.
    pub fn checksum_length(&self, kind: Kind) -> usize {
        let off = self.checksums == Checksums::Off && kind != Kind::FORMAT_DESCRIPTION;
        if off { 0 } else { CHECKSUM }
    }
}

/// Checksums came with MySQL 5.6.1 and MariaDB 5.3; before them nothing says that there are none.
fn knows_checksums(server: &str) -> bool {
    let first = if server.contains("MariaDB") { Version(5, 3, 0) } else { Version(5, 6, 1) };
    Version::parse(server).is_some_and(|version| version >= first)
}

/// Where a ROTATE event says that the log goes on.
pub fn next_file(body: &[u8]) -> Option<String> {
    let mut bytes = Bytes(body);
    bytes.u64()?;
    Some(String::from_utf8_lossy(bytes.0).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_servers_names_and_unknown_ones_their_number() {
        assert_eq!(Kind::TRANSACTION_PAYLOAD.to_string(), "Transaction_payload");
        assert_eq!(Kind(171).to_string(), "Delete_rows_compressed");
        assert_eq!(Kind(250).to_string(), "Unknown(250)");
    }

    #[test]
    fn a_format_is_refused_with_the_reason() {
        let mut body = vec![4, 0];
        body.extend_from_slice(b"10.11.6-MariaDB-log");
        body.resize(2 + 50 + 4, 0);
        body.extend_from_slice(&[19, 56, 13, 0, 8, 1, 0, 0, 0, 0]);
        let format = Format::parse(&body).unwrap();
        assert_eq!((format.checksums, format.is_mariadb()), (Checksums::Crc32, true));
        let refused = |at: usize, value: u8| {
            let mut wrong = body.clone();
            wrong[at] = value;
            Format::parse(&wrong).unwrap_err()
        };
        assert!(refused(0, 3).contains("format 3"));
        assert!(refused(2, b'x').contains("too old"));
        assert!(refused(56, 20).contains("another length"));
        assert!(refused(61, 9).contains("unknown kind 9"));
        assert!(Format::parse(&body[..30]).unwrap_err().contains("too short"));
    }
}
