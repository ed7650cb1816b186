//! The accounts of a server, for a dump.

use super::dump_sql as sql;
use super::reader::Reader;
use super::sql::{literal, quoted};
use super::version::Version;

/// Accounts that a server makes itself.
const SYSTEM_ACCOUNTS: [&str; 4] = ["mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys"];
/// What a server says of an account of which it takes no notice: ER_PASSWORD_NO_MATCH, ER_NONEXISTING_GRANT,
/// ER_CANNOT_USER.
const UNKNOWN: [u16; 3] = [1133, 1141, 1396];

/// An account or a role, as statements that make it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, quoted as a statement names it.
    pub name: String,
    /// What makes it and gives it what it has, in order.
    pub statements: Vec<Vec<u8>>,
}

/// The accounts that are not the server's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Those that the server knows, roles first.
    pub known: Vec<Account>,
    /// Why others, each by its name, are not among them: the server has them in its tables, takes no notice of them,
    /// and does not say how they are made.
    pub ignored: Vec<String>,
}

impl Reader {
    /// Every account that is not the server's own; `except` is left out.
    pub fn accounts(&mut self, except: Option<&str>) -> anyhow::Result<Accounts> {
        let (mut names, mut roles) = (Vec::new(), Vec::new());
        if self.flavour.is_mariadb() && self.version >= Version(10, 0, 5) {
            for row in self.rows(sql::ROLES)? {
                roles.push(row.text("user")?);
            }
        }
        for row in self.rows(sql::ACCOUNTS)? {
            let (user, host) = (row.text("user")?, row.text("host")?);
            let left_out = Some(user.as_str()) == except || SYSTEM_ACCOUNTS.contains(&user.as_str());
            if !(left_out || host.is_empty() && roles.contains(&user)) {
                names.push(format!("{}@{}", literal(&user), literal(&host)));
            }
        }
        let mut accounts = Accounts::default();
        for role in roles {
            let (name, create) = made_role(&role);
            let grants = self.first_column(&sql::show_grants(&name))?;
            accounts.known.push(Account { name, statements: std::iter::once(create).chain(grants).collect() });
        }
        for name in names {
            match self.account(&name) {
                Ok(statements) => accounts.known.push(Account { name, statements }),
                Err(error) if is_unknown(&error) => accounts.ignored.extend(self.ignored(&name)?),
                Err(error) => return Err(error),
            }
        }
        Ok(accounts)
    }

    fn account(&mut self, name: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        let create = self.first_column(&sql::show_create_user(name))?.pop().unwrap_or_default();
        let grants = self.first_column(&sql::show_grants(name))?;
        Ok(std::iter::once(create).chain(grants).collect())
    }

    /// Why the server takes no notice of that account; none where it was dropped meanwhile.
    fn ignored(&mut self, name: &str) -> anyhow::Result<Option<String>> {
        let mut is_there = false;
        for row in self.rows(sql::ACCOUNTS)? {
            is_there |= format!("{}@{}", literal(&row.text("user")?), literal(&row.text("host")?)) == name;
        }
        if !is_there {
            return Ok(None);
        }
        let resolves = self.first_column(sql::SKIPS_NAMES)?.pop().is_none_or(|value| value == b"0");
        let why = if resolves {
            "was it written into the system tables? FLUSH PRIVILEGES makes the server know it"
        } else {
            "with skip_name_resolve it ignores accounts whose host is a name; a dump from a snapshot (source = \
             \"snapshot\") has it, or make it again with an address for its host"
        };
        Ok(Some(format!("the account {name} is not in the dump: the server takes no notice of it; {why}")))
    }
}

/// What is given to PUBLIC is given to everybody, and it is there always.
fn made_role(role: &str) -> (String, Vec<u8>) {
    if role == "PUBLIC" {
        return (role.to_owned(), b"GRANT USAGE ON *.* TO PUBLIC".to_vec());
    }
    let name = quoted(role);
    let create = format!("CREATE ROLE {name}").into_bytes();
    (name, create)
}

fn is_unknown(error: &anyhow::Error) -> bool {
    let is_it = |cause: &mysql::Error| matches!(cause, mysql::Error::MySqlError(e) if UNKNOWN.contains(&e.code));
    error.chain().filter_map(|cause| cause.downcast_ref()).any(is_it)
}
