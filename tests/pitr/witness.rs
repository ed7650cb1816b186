//! Clients that write down what the server has acknowledged: the transaction's name, what it did, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use mysnap::sys::clock;
use mysql::consts::CapabilityFlags;
use mysql::prelude::Queryable as _;
use mysql::session_state_change::SessionStateChange;
use mysql::{Conn, OptsBuilder};

use crate::server::{IS_MARIADB, Server};

/// Every client's rows are in one table, how many there are in another; each of its tables has its number.
pub const TABLES: &str = "CREATE DATABASE shop; USE shop; \
    CREATE TABLE shop.entries (client INT, n INT, PRIMARY KEY (client, n)); \
    CREATE TABLE shop.sums (client INT PRIMARY KEY, total INT NOT NULL); \
    INSERT INTO shop.sums VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0)";

/// What was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Done {
    /// The number in the server's one domain or of its one UUID: the order in which it logged them.
    pub number: u64,
    /// A row, or a table.
    pub is_row: bool,
    pub client: u32,
    pub n: u32,
    /// When it was acknowledged, in microseconds.
    pub at: u64,
}

/// Lets `clients` write `count` transactions each, `with_tables` some of them DDL, and the log rotate meanwhile.
pub fn write(server: &Server, clients: std::ops::Range<u32>, count: u32, with_tables: bool) -> Vec<Done> {
    let client = |client: u32| {
        let socket = server.socket();
        std::thread::spawn(move || acknowledged(&socket, client, count, with_tables))
    };
    let clients: Vec<_> = clients.map(client).collect();
    let mut done: Vec<Done> = clients.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    done.sort();
    done
}

fn acknowledged(socket: &std::path::Path, client: u32, count: u32, with_tables: bool) -> Vec<Done> {
    let mut session = Session::open(socket);
    let mut done = Vec::new();
    for n in 1..=count {
        session.run("BEGIN");
        session.run(&format!("INSERT INTO entries VALUES ({client}, {n})"));
        session.run(&format!("UPDATE sums SET total = total + 1 WHERE client = {client}"));
        let mut logged = |is_row, statement: &str| {
            session.run(statement);
            let at = clock::now().as_microsecond().try_into().unwrap();
            done.push(Done { number: session.last_number(), is_row, client, n, at });
        };
        logged(true, "COMMIT");
        if with_tables && n % 17 == 0 {
            logged(false, &format!("CREATE TABLE t_{client}_{n} (a INT) ENGINE = InnoDB"));
        }
        if n % 60 == 0 && client == 1 {
            session.run("FLUSH BINARY LOGS");
        }
        if n % 25 == 0 {
            // Times of events have whole seconds.
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    done
}

/// A client's, which is told the name of each of its transactions.
struct Session(Conn);

impl Session {
    fn open(socket: &std::path::Path) -> Self {
        let options = OptsBuilder::new().socket(Some(socket.display().to_string())).user(Some("root"));
        // MySQL says it with the acknowledgement alone.
        let tracking = CapabilityFlags::CLIENT_SESSION_TRACK;
        let options = options.db_name(Some("shop")).additional_capabilities(tracking);
        let mut session = Self(Conn::new(options).unwrap());
        if !*IS_MARIADB {
            session.run("SET SESSION session_track_gtids = OWN_GTID");
        }
        session
    }

    fn run(&mut self, statement: &str) {
        self.0.query_drop(statement).unwrap();
    }

    /// The number of the transaction that was acknowledged last.
    fn last_number(&mut self) -> u64 {
        if *IS_MARIADB {
            return number(&self.0.query_first::<String, _>("SELECT @@last_gtid").unwrap().unwrap());
        }
        let changes = self.0.session_state_changes().unwrap();
        let name = changes.iter().find_map(|change| match change.decode().unwrap() {
            SessionStateChange::Gtids(name) => Some(number(&name.as_str())),
            _ => None,
        });
        name.expect("the server told no name")
    }
}

/// That of a transaction's name.
fn number(name: &str) -> u64 {
    let digits = name.rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.unwrap().parse().unwrap_or_else(|error| panic!("{name:?}: {error}"))
}

/// What a server must have: rows and tables.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    rows: BTreeSet<(u32, u32)>,
    tables: BTreeSet<(u32, u32)>,
}

impl State {
    /// After everything up to `number`.
    pub fn after(done: &[Done], number: u64) -> Self {
        let of = |row: bool| {
            let fits = done.iter().filter(move |done| done.number <= number && done.is_row == row);
            fits.map(|done| (done.client, done.n)).collect()
        };
        Self { rows: of(true), tables: of(false) }
    }

    /// What `server` has. The sums say that nothing was done twice.
    pub fn of(server: &Server) -> Self {
        let pairs = |text: String| {
            let pair = |line: &str| {
                let (client, n) = line.split_once(['\t', '_']).unwrap();
                (client.parse().unwrap(), n.parse().unwrap())
            };
            text.lines().map(pair).collect::<BTreeSet<(u32, u32)>>()
        };
        let rows = pairs(server.sql("SELECT client, n FROM shop.entries"));
        let tables = server.sql(
            "SELECT SUBSTRING(TABLE_NAME, 3) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME LIKE 't\\_%'",
        );
        let wrong = server.sql(
            "SELECT client, total, COUNT(n) FROM shop.sums LEFT JOIN shop.entries USING (client) \
             GROUP BY client, total HAVING total <> COUNT(n)",
        );
        assert_eq!(wrong, "", "the sums are not those of the rows");
        Self { rows, tables: pairs(tables) }
    }
}
