//! How to reach the server: what was configured, then an option file, then the usual sockets.
//!
//! Without a user and a password this is socket authentication: the server asks the kernel who we
//! are, and no password exists at all. Over TCP to another host the server must prove who it is;
//! nothing falls back to less.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::credentials;
use super::option_file::OptionFile;
use super::session::{self, Session};
use crate::fault::{Fault, Kind};
use crate::sys::cancel::Cancel;
use crate::sys::secret::Secret;

const OPTION_FILE: &str = "/etc/mysnap/mysnap.cnf";
const SOCKETS: [&str; 4] =
    ["/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];
const PORT: u16 = 3306;

/// How the server proves who it is over TCP.
///
/// There is no mode that asks for a trusted authority alone: the driver trusts the public ones too,
/// and those sign for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain text; refused for a host other than this one.
    Disabled,
    /// A certificate from a trusted authority names the host. The default for another host.
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
    /// A host name or address: TCP instead of a socket. `localhost` means the socket, as ever.
    pub host: Option<String>,
    /// The port, 3306 otherwise.
    pub port: Option<u16>,
    /// The account; else that of the option file, then ours (socket authentication).
    pub user: Option<String>,
    /// Certificate authorities that may vouch for the server.
    pub ssl_ca: Option<PathBuf>,
    /// How the server proves who it is over TCP; else the option file's, then by the host.
    pub tls: Option<TlsMode>,
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

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "socket {}", path.display()),
            Self::Tcp { host, port, .. } => write!(f, "{host} port {port}"),
        }
    }
}

impl Address {
    /// An error unless a server answers there now; a refused login is an answer.
    pub fn answers(&self) -> anyhow::Result<()> {
        session::answers(self)
    }
}

impl Access {
    /// Looks up what is missing.
    pub fn resolve(&self) -> anyhow::Result<Address> {
        let option_file = self.option_file.clone().or_else(usual_option_file);
        let options = option_file.as_deref().map(credentials::read).transpose()?.unwrap_or_default();
        let user = self.user.clone().or_else(|| options.value("user").map(str::to_owned));
        Ok(Address {
            endpoint: self.endpoint(&options)?,
            user: user.map_or_else(our_name, Ok)?,
            password: password(&options)?,
            option_file,
        })
    }

    /// A session, after a bounded number of tries where the server is down, restarting or full.
    pub fn connect(&self, cancel: &Cancel) -> anyhow::Result<Session> {
        Session::open(&self.resolve()?, cancel)
    }

    /// Waits until a server answers, for at most `patience`. A refused login is an answer too: the
    /// accounts of a restored server may be others.
    pub fn wait_until_answering(&self, patience: Duration, cancel: &Cancel) -> anyhow::Result<()> {
        let end = Instant::now() + patience;
        loop {
            // The socket may appear only when the server is up: look for it each time.
            let answer = self.resolve().and_then(|address| address.answers());
            match answer {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= end => {
                    return Err(error.context(format!("no server answered within {patience:?}")));
                }
                Err(_) => cancel.sleep(Duration::from_millis(200))?,
            }
        }
    }

    fn endpoint(&self, options: &OptionFile) -> anyhow::Result<Endpoint> {
        if let Some(socket) = &self.socket {
            return Ok(Endpoint::Socket(socket.clone()));
        }
        let host = self.host.as_deref().or_else(|| options.value("host"));
        match host.filter(|host| *host != "localhost") {
            Some(host) => self.tcp(host, options),
            None => local(options),
        }
    }

    fn tcp(&self, host: &str, options: &OptionFile) -> anyhow::Result<Endpoint> {
        let file_port = options.value("port").map(|port| {
            port.parse().map_err(|_| Fault::new(Kind::Config, format!("option file: {port:?} is not a port")))
        });
        let port = self.port.map(Ok).or(file_port).transpose()?.unwrap_or(PORT);
        let here = is_loopback(host);
        let default = if here { TlsMode::Disabled } else { TlsMode::VerifyIdentity };
        let tls = self.tls.or(tls_mode(options)?).unwrap_or(default);
        if tls == TlsMode::Disabled && !here {
            return Err(Fault::new(Kind::Config, format!("the connection to {host} would not be encrypted"))
                .hint("take away what switches TLS off (tls in the configuration, ssl-mode in the option file), and name in tls_ca who signed the server's certificate")
                .into());
        }
        let ca = self.ssl_ca.clone().or_else(|| options.value("ssl_ca").map(PathBuf::from));
        Ok(Endpoint::Tcp { host: host.to_owned(), port, tls, ca })
    }
}

fn local(options: &OptionFile) -> anyhow::Result<Endpoint> {
    if let Some(socket) = options.value("socket") {
        return Ok(Endpoint::Socket(socket.into()));
    }
    let found = SOCKETS.iter().map(Path::new).find(|path| path.exists());
    let missing = || {
        Fault::new(Kind::Refused, format!("no server socket found (looked for {})", SOCKETS.join(", ")))
            .hint("is the server running? otherwise set `socket` in the configuration")
    };
    Ok(Endpoint::Socket(found.ok_or_else(missing)?.into()))
}

/// What the option file asks for. Modes that encrypt without proof of identity are raised to proof:
/// whoever can read along can also answer in the server's place. They are not refused, because the
/// file may be shared with programs that know them.
fn tls_mode(options: &OptionFile) -> anyhow::Result<Option<TlsMode>> {
    let mode = match options.value("ssl_mode").map(str::to_ascii_uppercase).as_deref() {
        Some("DISABLED") => Some(TlsMode::Disabled),
        Some("REQUIRED" | "VERIFY_CA" | "VERIFY_IDENTITY") => Some(TlsMode::VerifyIdentity),
        Some("PREFERRED") | None => None,
        Some(other) => {
            return Err(Fault::new(Kind::Config, format!("option file: {other:?} is not an ssl-mode")).into());
        }
    };
    let switched_off = options.is_on("skip_ssl") || options.has("ssl") && !options.is_on("ssl");
    let switched_on = options.is_on("ssl") || options.is_on("ssl_verify_server_cert");
    Ok(mode.or(switched_off.then_some(TlsMode::Disabled)).or(switched_on.then_some(TlsMode::VerifyIdentity)))
}

fn password(options: &OptionFile) -> anyhow::Result<Option<Secret>> {
    match options.value("password") {
        Some(password) => Ok(Some(Secret::new(password))),
        None if options.has("password") => Err(Fault::new(Kind::Config, "option file: password has no value")
            .hint("without one a client asks for it; nobody is there to answer")
            .into()),
        None => Ok(None),
    }
}

fn usual_option_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".my.cnf"));
    [Some(PathBuf::from(OPTION_FILE)), home].into_iter().flatten().find(|path| path.exists())
}

fn our_name() -> anyhow::Result<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid())?;
    Ok(user.map_or_else(|| "root".to_owned(), |user| user.name))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;

    fn resolved(access: &Access, options: &str) -> anyhow::Result<Endpoint> {
        access.endpoint(&OptionFile::parse(options).unwrap())
    }

    #[test]
    fn another_host_must_prove_who_it_is() {
        let remote = Access { host: Some("db.example".into()), ..Access::default() };
        let Endpoint::Tcp { tls, port, .. } = resolved(&remote, "").unwrap() else { panic!("must be TCP") };
        assert_eq!((tls, port), (TlsMode::VerifyIdentity, PORT));
        for weak in ["ssl-mode=DISABLED", "skip-ssl", "ssl=0"] {
            let error = resolved(&remote, &format!("[client]\n{weak}")).unwrap_err();
            assert_eq!(kind_of(&error), Some(Kind::Config), "{weak}");
        }
        for unproved in ["ssl-mode=PREFERRED", "ssl-mode=required", "ssl-mode=VERIFY_CA", "ssl"] {
            let Endpoint::Tcp { tls, .. } = resolved(&remote, &format!("[client]\n{unproved}")).unwrap() else {
                panic!("must be TCP")
            };
            assert_eq!(tls, TlsMode::VerifyIdentity, "{unproved}");
        }
    }

    #[test]
    fn what_is_configured_comes_before_the_option_file() {
        let file = "[client]\nsocket=/a.sock\nport=3310\n";
        let socket = |path: &str| Endpoint::Socket(path.into());
        assert_eq!(resolved(&Access::default(), file).unwrap(), socket("/a.sock"));
        let access = Access { socket: Some("/b.sock".into()), ..Access::default() };
        assert_eq!(resolved(&access, file).unwrap(), socket("/b.sock"));
        let access = Access { host: Some("localhost".into()), ..Access::default() };
        assert_eq!(resolved(&access, file).unwrap(), socket("/a.sock"));
        let access = Access { host: Some("127.0.0.1".into()), ..Access::default() };
        let Endpoint::Tcp { port, tls, .. } = resolved(&access, file).unwrap() else { panic!("must be TCP") };
        assert_eq!((port, tls), (3310, TlsMode::Disabled));
    }

    #[test]
    fn a_password_without_a_value_is_refused() {
        assert!(password(&OptionFile::parse("[client]\npassword\n").unwrap()).is_err());
        assert_eq!(password(&OptionFile::parse("[client]\npassword=\n").unwrap()).unwrap(), Some(Secret::new("")));
    }
}
