//! How to reach the server: what was configured, then option files and usual sockets.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::sys::cancel::Cancel;
use crate::sys::secret::Secret;

/// How the server proves who it is over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain text; refused for a host other than this one.
    Disabled,
    /// The certificate comes from a trusted authority.
    VerifyCa,
    /// The same, and it names the host. The default.
    #[default]
    VerifyIdentity,
}

/// What is known about reaching the server; what is missing is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// A MySQL option file; else `/etc/mysnap/mysnap.cnf`, then `~/.my.cnf`, where they exist.
    pub option_file: Option<PathBuf>,
    /// The server's unix socket; else that of the option file, then the usual ones.
    pub socket: Option<PathBuf>,
    /// A host name or address: TCP instead of a socket.
    pub host: Option<String>,
    /// The port, 3306 otherwise.
    pub port: Option<u16>,
    /// The account; else that of the option file, then ours (socket authentication).
    pub user: Option<String>,
    /// Certificate authorities that may vouch for the server.
    pub ssl_ca: Option<PathBuf>,
    /// How the server proves who it is over TCP; `None` is the option file's, then the default.
    pub tls: Option<TlsMode>,
}

impl Access {
    /// Looks up what is missing.
    pub fn resolve(&self) -> anyhow::Result<Address> {
        anyhow::bail!("not built yet")
    }

    /// A session, after a bounded number of tries where the server is down, restarting or full.
    pub fn connect(&self, cancel: &Cancel) -> anyhow::Result<Session> {
        Session::open(&self.resolve()?, cancel)
    }

    /// Waits until a server answers, for at most `patience`. A refused password is an answer too.
    pub fn wait_until_answering(&self, patience: Duration, cancel: &Cancel) -> anyhow::Result<()> {
        let _ = (patience, cancel);
        anyhow::bail!("not built yet")
    }
}

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Socket(PathBuf),
    /// TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// How the server proves who it is.
        tls: TlsMode,
        /// Who may vouch for it.
        ca: Option<PathBuf>,
    },
}

/// Where the server is and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where.
    pub endpoint: Endpoint,
    /// The account.
    pub user: String,
    /// Its password; none with socket authentication.
    pub password: Option<Secret>,
    /// The option file that was read, if any.
    pub option_file: Option<PathBuf>,
}
