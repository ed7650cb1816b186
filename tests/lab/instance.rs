//! Another instance of the server on the same host (C5), and what one of our own needs to be like the live one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mysnap::sys::retry;
use mysql::prelude::Queryable as _;

use crate::dump::root as restorer;
use crate::host::{self, mysnap, mysnap_ok, root, run, try_run};
use crate::live::{LOCAL, Undo, expect, forget_stored, local, stored};

const HOME: &str = "/srv/second";

/// A server of the same flavour with data of its own, on the root file system.
struct Second(Child);

impl Second {
    #[expect(clippy::disallowed_methods, reason = "a server that the test ends")]
    fn start() -> Self {
        run(&["rm", "-rf", HOME]);
        run(&["install", "-d", "-o", "mysql", "-g", "mysql", HOME]);
        let datadir = format!("--datadir={HOME}/data");
        let program = if host::is_mariadb_installed() {
            run(&["mariadb-install-db", "--no-defaults", "--user=mysql", "--skip-test-db", &datadir]);
            "/usr/sbin/mariadbd"
        } else {
            run(&["mysqld", "--no-defaults", "--user=mysql", "--initialize-insecure", &datadir]);
            "/usr/sbin/mysqld"
        };
        let mut command = Command::new(program);
        command.args(["--no-defaults", "--user=mysql", "--skip-networking", "--performance-schema=OFF", &datadir]);
        command.args(["--innodb-buffer-pool-size=32M", &format!("--log-error={HOME}/log")]);
        command.args([format!("--socket={}", socket().display()), format!("--pid-file={HOME}/pid")]);
        if !host::is_mariadb_installed() {
            command.arg("--mysqlx=OFF");
        }
        let second = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let answers = || {
            let said = try_run(&[host::client(), "-u", "root", "-S", socket().to_str().unwrap(), "-e", "SELECT 1"]);
            if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
        };
        retry::until(Duration::from_secs(120), answers).unwrap();
        second
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        run(&["rm", "-rf", HOME]);
    }
}

fn socket() -> PathBuf {
    Path::new(HOME).join("sock")
}

#[test]
fn a_socket_that_another_instance_has_taken_is_refused_by_where_its_data_lies() {
    let _second = Second::start();
    // The configured path now leads to the other one.
    let path = "/run/mysnap-test-swapped.sock";
    let _gone = Undo::with(&format!("rm -f {path} /etc/mysnap/second.cnf"));
    run(&["ln", "-s", socket().to_str().unwrap(), path]);
    run(&["sh", "-c", "umask 077 && printf '[client]\\nuser = root\\n' > /etc/mysnap/second.cnf"]);
    let server = format!("[server]\nsocket = \"{path}\"\noption_file = \"/etc/mysnap/second.cnf\"\n");
    let before = stored();
    let ran = mysnap(&["--config", &local("second", &server), "backup", "local"]);
    expect(&ran, 3, &[&format!("data directory in {HOME}/data lies on"), "not a logical volume"]);
    assert_eq!(stored(), before);
    host::assert_nothing_left();
}

/// Another server in place of this one: MySQL makes itself a new uuid, MariaDB has only the host's name.
fn exchanged() -> Undo {
    if host::is_mariadb_installed() {
        let name = run(&["hostname"]);
        run(&["hostname", "another-host"]);
        return Undo::with(&format!("hostname {}", name.trim()));
    }
    let uuid = "cd /var/lib/mysql && systemctl stop mysql";
    run(&["sh", "-c", &format!("{uuid} && mv auto.cnf /root/auto.cnf && systemctl start mysql")]);
    Undo::with(&format!("{uuid} && mv /root/auto.cnf auto.cnf && systemctl start mysql"))
}

#[test]
fn a_server_that_is_not_the_one_of_the_earlier_backups_is_refused_until_it_is_told() {
    let config = local("exchanged", "");
    mysnap_ok(&["--config", &config, "backup", "local"]);
    let _back = exchanged();
    let before = stored();
    let ran = mysnap(&["--config", &config, "backup", "local"]);
    expect(&ran, 3, &["the backups of job local at", "are of another server", "--new-server"]);
    assert_eq!(stored(), before);
    mysnap_ok(&["--config", &config, "backup", "local", "--new-server"]);
    mysnap_ok(&["--config", &config, "backup", "local"]);
    host::assert_nothing_left();
    // What the other tests find is of their server again.
    forget_stored();
}

/// MariaDB's plugin with a key file or MySQL's component with a keyring, and a table that is written with a key of it.
struct Encrypted {
    _server: Undo,
    /// The file with the keys.
    keys: &'static str,
    /// What of them is looked for where nothing of them must be.
    key: String,
}

impl Encrypted {
    const TEXT: &str = "nobody reads this on the disk";

    fn start() -> Self {
        let (keys, server) = if host::is_mariadb_installed() { Self::mariadb() } else { Self::mysql() };
        let clause = if host::is_mariadb_installed() { "ENCRYPTED=YES" } else { "ENCRYPTION='Y'" };
        let table = format!("CREATE TABLE hidden.t (id INT PRIMARY KEY, note VARCHAR(99)) {clause}");
        root().query_drop("CREATE DATABASE hidden").unwrap();
        root().query_drop(table).unwrap();
        root().query_drop(format!("INSERT INTO hidden.t VALUES (1, '{}')", Self::TEXT)).unwrap();
        let text = std::fs::read_to_string(keys).unwrap();
        let key = if host::is_mariadb_installed() {
            text.trim().split_once(';').unwrap().1.to_owned()
        } else {
            let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
            kept["elements"][0]["data"].as_str().unwrap().to_owned()
        };
        assert!(key.len() >= 32, "{key}");
        Self { _server: server, keys, key }
    }

    /// Ends it: the tables go while the server has their keys.
    fn undo(files: &str) -> Undo {
        let (client, service) = (host::client(), host::service());
        Undo::with(&format!(
            "{client} -u root -e 'DROP DATABASE IF EXISTS hidden; DROP DATABASE IF EXISTS hidden_then'; \
             rm -f {files}; systemctl restart {service}"
        ))
    }

    fn mariadb() -> (&'static str, Undo) {
        let (key, keys) = ("770A8A65DA156D24EE2A093277530142", "/etc/mysql/mysnap-keys");
        let settings = "/etc/mysql/mariadb.conf.d/zz-keys.cnf";
        let server = Self::undo(&format!("{keys} {settings}"));
        run(&[
            "sh",
            "-c",
            &format!(
                "umask 077; echo '1;{key}' >{keys}; chown mysql {keys}; umask 022; printf '[mariadb]\\n\
                 plugin_load_add=file_key_management\\nfile_key_management_filename={keys}\\n' >{settings}; \
                 systemctl restart mariadb"
            ),
        ]);
        (keys, server)
    }

    /// As the manual says it: every server that this program starts would open the one keyring.
    fn mysql() -> (&'static str, Undo) {
        let (directory, keys) = ("/var/lib/mysql-keyring", "/var/lib/mysql-keyring/mysnap-keys");
        let manifest = "/usr/sbin/mysqld.my";
        let settings = "/usr/lib/mysql/plugin/component_keyring_file.cnf";
        let server = Self::undo(&format!("{keys} {keys}.backup {manifest} {settings}"));
        let told = format!(r#"{{"path": "{keys}", "read_only": false}}"#);
        run(&[
            "sh",
            "-c",
            &format!(
                // What the unit runs as root before the server would make the file, and keep it.
                "install -d -o mysql -g mysql -m 0750 {directory}; install -o mysql -g mysql -m 0600 /dev/null {keys}; \
                 echo '{{\"components\": \"file://component_keyring_file\"}}' >{manifest}; echo '{told}' >{settings}; \
                 systemctl restart mysql"
            ),
        ]);
        (keys, server)
    }

    /// Whether any file below the destination has the words.
    fn is_stored(words: &str, files: &str) -> bool {
        let found =
            try_run(&["sh", "-c", &format!("find {LOCAL} -type f -path '{files}' -exec grep -l '{words}' {{}} +")]);
        !found.stdout.is_empty()
    }
}

/// Nothing of the keys is stored. A second server opens MariaDB's file by itself, and has a copy of MySQL's keyring.
#[test]
fn tables_encrypted_with_a_key_file_are_proved_drilled_and_taken_out_of_a_copy() {
    let encrypted = Encrypted::start();
    let (keys, scratch) = (encrypted.keys, "/srv/encrypted");
    let _gone = Undo::with(&format!("rm -rf /var/lib/mysnap/drills {scratch}"));
    run(&["install", "-d", "-m", "0755", scratch]);
    forget_stored();
    let before = std::fs::read(keys).unwrap();
    let config = local("encrypted", "prove = \"tables\"\n");
    let checked = mysnap(&["--config", &config, "check", "local"]);
    expect(&checked, 0, &[&format!("{keys} is no part of the backup")]);
    mysnap_ok(&["--config", &config, "backup", "local"]);
    assert!(!Encrypted::is_stored(Encrypted::TEXT, "*/hidden/t.ibd") && !Encrypted::is_stored(&encrypted.key, "*"));
    assert!(Encrypted::is_stored(keys, "*.json"), "where the keys are is in the manifest");

    let drill = ["--config", &config, "drill", "local", "--scratch", scratch, "--level", "tables"];
    mysnap_ok(&drill);
    let out = ["restore", "latest", "--from", LOCAL, "--database", "hidden", "--as", "hidden_then"];
    mysnap_ok(&[&["--config", &config], &out[..], &["--into", &restorer(), "--scratch", scratch, "--yes"]].concat());
    let note: Option<String> = root().query_first("SELECT note FROM hidden_then.t").unwrap();
    assert_eq!(note.as_deref(), Some(Encrypted::TEXT));
    assert_eq!(std::fs::read(keys).unwrap(), before, "the live server's keys are its own");

    run(&["mv", keys, "/root/mysnap-keys"]);
    let ran = mysnap(&drill);
    let checked = mysnap(&["--config", &config, "check", "local"]);
    run(&["mv", "/root/mysnap-keys", keys]);
    let missing = format!("the keys of the encrypted tables are not here: there is no {keys}");
    expect(&ran, 3, &[&missing]);
    expect(&checked, 3, &[&missing]);
    host::assert_nothing_left();
    forget_stored();
}
