//! How the servers' own tools get to the server as we do: in an option file, so that no password is seen anywhere else.

use std::fmt::Write as _;
use std::path::Path;

use super::access::{Address, Endpoint, TlsMode};
use super::version::Flavour;
use crate::fault::{Fault, Kind};
use crate::sys::secret::Secret;

/// Where distributions have the authorities that everybody trusts: Debian, Red Hat, SUSE.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

impl Address {
    /// The text of an option file by which a tool of `flavour` reaches this server with the same account and no less
    /// proof of who it is. To be its only one (`--defaults-file`): another could take that proof away. MySQL's programs
    /// read a login file all the same, which [`Call`](crate::sys::cmd::Call) keeps from them.
    ///
    /// # Errors
    /// `Config` where MySQL's tool is to prove who the server is and nothing says who may vouch for it.
    pub fn tool_options(&self, flavour: Flavour) -> anyhow::Result<Secret> {
        let mut text = format!("[client]\nuser={}\n", quoted(&self.user));
        if let Some(password) = &self.password {
            line(&mut text, "password", password.reveal());
        }
        match &self.endpoint {
            Endpoint::Socket(path) => {
                text.push_str("protocol=socket\n");
                line(&mut text, "socket", &path.to_string_lossy());
            }
            Endpoint::Tcp { host, port, tls, ca } => {
                line(&mut text, "host", host);
                line(&mut text, "port", &port.to_string());
                text.push_str("protocol=tcp\n");
                text.push_str(proof(flavour, *tls));
                if *tls != TlsMode::Disabled
                    && let Some(ca) = authorities(flavour, ca.as_deref(), &BUNDLES)?
                {
                    line(&mut text, "ssl-ca", &ca.to_string_lossy());
                }
            }
        }
        Ok(Secret::new(text))
    }
}

/// Who may vouch for the server; none where the tool knows by itself. MySQL's trusts nobody unless it is told.
fn authorities<'a>(
    flavour: Flavour,
    configured: Option<&'a Path>,
    bundles: &[&'a str],
) -> anyhow::Result<Option<&'a Path>> {
    if configured.is_some() || flavour.is_mariadb() {
        return Ok(configured);
    }
    let found = bundles.iter().copied().map(Path::new).find(|path| path.is_file());
    let found = found.ok_or_else(|| {
        let message =
            "MySQL's mysqlbinlog is to be told who may vouch for the server, and this host has no list of that";
        Fault::new(Kind::Config, message).hint("set tls_ca to the certificate of the server's authority")
    })?;
    Ok(Some(found))
}

fn proof(flavour: Flavour, tls: TlsMode) -> &'static str {
    match (tls, flavour.is_mariadb()) {
        (TlsMode::VerifyIdentity, true) => "ssl\nssl-verify-server-cert\n",
        (TlsMode::VerifyIdentity, false) => "ssl-mode=VERIFY_IDENTITY\n",
        (TlsMode::Disabled, true) => "skip-ssl\n",
        // Without TLS the password is encrypted with a key that the server is asked for; old tools don't know that.
        (TlsMode::Disabled, false) => "ssl-mode=DISABLED\nloose-get-server-public-key\n",
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    writeln!(text, "{name}={}", quoted(value)).unwrap_or_default();
}

fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::option_file::OptionFile;
    use super::*;

    fn options(tls: TlsMode, flavour: Flavour) -> OptionFile {
        let endpoint = Endpoint::Tcp { host: "db.example".into(), port: 3307, tls, ca: Some("/etc/ca.pem".into()) };
        let password = Some(Secret::new("p#w\"\\ '\n"));
        let address = Address { endpoint, user: "repl".into(), password, option_file: None };
        OptionFile::parse(address.tool_options(flavour).unwrap().reveal()).unwrap()
    }

    #[test]
    fn a_tool_gets_the_same_account_and_no_less_proof() {
        let mariadb = options(TlsMode::VerifyIdentity, Flavour::MariaDb);
        assert_eq!((mariadb.value("user"), mariadb.value("password")), (Some("repl"), Some("p#w\"\\ '\n")));
        assert_eq!((mariadb.value("host"), mariadb.value("port")), (Some("db.example"), Some("3307")));
        assert!(mariadb.is_on("ssl_verify_server_cert") && mariadb.value("ssl_ca") == Some("/etc/ca.pem"));
        let mysql = options(TlsMode::VerifyIdentity, Flavour::MySql);
        assert_eq!((mysql.value("ssl_mode"), mysql.value("ssl_ca")), (Some("VERIFY_IDENTITY"), Some("/etc/ca.pem")));
        let plain = options(TlsMode::Disabled, Flavour::MariaDb);
        assert!(plain.is_on("skip_ssl") && !plain.has("ssl_ca"));
        let socket = Address {
            endpoint: Endpoint::Socket("/run/a b.sock".into()),
            user: "root".into(),
            password: None,
            option_file: None,
        };
        let socket = OptionFile::parse(socket.tool_options(Flavour::MySql).unwrap().reveal()).unwrap();
        assert!(socket.value("socket") == Some("/run/a b.sock") && !socket.has("password"));
    }

    #[test]
    fn mysqls_tool_is_told_whom_to_trust_or_refused() {
        let bundle = tempfile::NamedTempFile::new().unwrap();
        let there = bundle.path().to_str().unwrap();
        let found = authorities(Flavour::Percona, None, &["/nowhere/ca.pem", there]).unwrap();
        assert_eq!(found, Some(bundle.path()));
        let error = authorities(Flavour::MySql, None, &["/nowhere/ca.pem"]).unwrap_err();
        assert_eq!(crate::fault::kind_of(&error), Some(Kind::Config));
        assert!(crate::fault::hints_of(&error)[0].contains("tls_ca"), "{error:#}");
        let own = Path::new("/etc/ca.pem");
        assert_eq!(authorities(Flavour::MySql, Some(own), &[there]).unwrap(), Some(own));
        assert_eq!(authorities(Flavour::MariaDb, None, &[there]).unwrap(), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_password_is_it_is_read_back(value in "[^\0\u{85}\u{2028}\u{2029}\u{b}\u{c}]{0,20}") {
            let file = OptionFile::parse(&format!("[client]\npassword={}\n", quoted(&value))).unwrap();
            proptest::prop_assert_eq!(file.value("password"), Some(value.as_str()));
        }
    }
}
