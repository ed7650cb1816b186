//! Clients that write down what the server has acknowledged: the transaction's name, what it did, and when.

use std::collections::BTreeSet;

use mysnap::sys::cmd::Call;

use crate::server::Server;

/// Every client's rows are in one table, how many there are in another; each of its tables has its number.
pub const TABLES: &str = "CREATE DATABASE shop; USE shop; \
    CREATE TABLE shop.entries (client INT, n INT, PRIMARY KEY (client, n)); \
    CREATE TABLE shop.sums (client INT PRIMARY KEY, total INT NOT NULL); \
    INSERT INTO shop.sums SELECT seq, 0 FROM seq_1_to_9";

/// What was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Done {
    /// The number in the server's one domain: the order in which it logged them.
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
    let told = |what: &str, n: u32| {
        format!(
            "SELECT CONCAT_WS(' ', SUBSTRING_INDEX(@@last_gtid, '-', -1), '{what}', {client}, {n}, \
                 CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS INT));\n"
        )
    };
    let mut statements = "USE shop;\n".to_owned();
    for n in 1..=count {
        let both = format!(
            "BEGIN; INSERT INTO entries VALUES ({client}, {n}); \
             UPDATE sums SET total = total + 1 WHERE client = {client}; COMMIT;\n"
        );
        statements.push_str(&both);
        statements.push_str(&told("row", n));
        if with_tables && n % 17 == 0 {
            let table = format!("CREATE TABLE t_{client}_{n} (a INT) ENGINE = InnoDB;\n");
            statements.push_str(&table);
            statements.push_str(&told("table", n));
        }
        if n % 60 == 0 && client == 1 {
            statements.push_str("FLUSH BINARY LOGS;\n");
        }
        if n % 25 == 0 {
            // Times of events have whole seconds.
            statements.push_str("SELECT SLEEP(0.2) INTO @slept;\n");
        }
    }
    let call = Call::new("mariadb").args(["--no-defaults", "-uroot", "-N", "-B"]);
    let ran = call.arg(format!("--socket={}", socket.display())).stdin(statements).finish().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8(ran.stdout).unwrap();
    said.lines().map(parsed).collect()
}

fn parsed(line: &str) -> Done {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words[at].parse().unwrap();
    Done {
        number: words[0].parse().unwrap(),
        is_row: words[1] == "row",
        client: number(2),
        n: number(3),
        at: words[4].parse().unwrap(),
    }
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
