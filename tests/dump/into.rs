//! A server that lets nobody in, or lets in somebody who may nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mysnap::sys::cmd::Call;
use mysnap::sys::durable;

use crate::bench::{Bench, everything};
use crate::server::{Server, either};

/// What `restore` of the backup in `from` into a server says, and how it ends.
fn restored(from: &Path, into: &Path, more: &[&str]) -> (Option<i32>, String) {
    let [from, into] = [from, into].map(|path| path.display().to_string());
    let finished = Call::new(env!("CARGO_BIN_EXE_mysnap"))
        .args(["restore", "latest", "--from", &from, "--into", &into, "--database", "shop"])
        .args(more.iter().copied())
        .finish()
        .unwrap();
    (finished.status.code(), String::from_utf8([finished.stdout, finished.stderr].concat()).unwrap())
}

/// An option file of an account.
fn option_file(directory: &Path, server: &Server, user: &str, password: &str) -> PathBuf {
    let path = directory.join(format!("{user}-{}.cnf", password.len()));
    let socket = server.socket();
    let text = format!("[client]\nsocket={}\nuser={user}\npassword={password}\n", socket.display());
    durable::write(&path, text.as_bytes()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn who_may_not_restore_into_a_server_is_told_before_anything_is_read_or_asked() {
    let (server, bench, home) = (Server::start(), Bench::new(), tempfile::tempdir().unwrap());
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.t (a INT); INSERT INTO shop.t VALUES (1), (2); \
         CREATE USER app@localhost IDENTIFIED BY 'the-right-one'; CREATE USER reader@localhost IDENTIFIED BY 'the-right-one'; \
         GRANT SELECT ON *.* TO reader@localhost; CREATE USER dba@localhost IDENTIFIED BY 'the-right-one'; \
         CREATE ROLE everything; GRANT ALL ON *.* TO everything; GRANT everything TO dba@localhost; {}",
        either("SET DEFAULT ROLE everything FOR dba@localhost", "SET DEFAULT ROLE everything TO dba@localhost")
    ));
    bench.dump(&server, &everything()).unwrap();
    // Whoever reads the dump finds that it is damaged.
    let index = bench.stored("index.json");
    let good = std::fs::read(&index).unwrap();
    durable::write(&index, b"{}").unwrap();
    let socket = server.socket().display().to_string();
    let of = |user, password| option_file(home.path(), &server, user, password);
    let refused = "refused the login of \"app\" with the password in";
    for (file, words) in [
        (of("app", "another"), refused),
        (of("app", "the-right-one"), "the account \"app\" of the server at socket"),
        (of("reader", "the-right-one"), "the account \"reader\" of the server at socket"),
    ] {
        for more in [&[][..], &["--replace"], &["--replace", "--yes"], &["--dry-run"], &["--as", "beside"]] {
            let (status, said) = restored(&bench.destination(), &file, more);
            assert!(
                status == Some(2) && said.contains(words) && said.contains(&socket),
                "{more:?}: {status:?}: {said}"
            );
            assert!(
                words == refused
                    || said.contains(either("was not given CREATE, DROP, ALTER, INSERT", "may not restore"))
            );
            assert!(!said.contains("plan") && !said.contains("the-right-one"), "{more:?}: {said}");
        }
    }
    let (status, said) = restored(&bench.destination(), &of("dba", "the-right-one"), &["--replace"]);
    assert_eq!(status, Some(8), "{said}");
    durable::write(&index, &good).unwrap();
    let (status, said) = restored(&bench.destination(), &of("dba", "the-right-one"), &["--as", "beside"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(server.sql("SELECT SUM(a) FROM beside.t; SELECT COUNT(*) FROM shop.t"), "3\n2\n");
}

#[test]
fn what_a_restore_replaces_goes_only_where_a_person_or_yes_says_so() {
    let (server, bench, home) = (Server::start(), Bench::new(), tempfile::tempdir().unwrap());
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.t (a INT); INSERT INTO shop.t VALUES (1), (2); \
         CREATE USER dba@localhost IDENTIFIED BY 'the-right-one'; GRANT ALL ON *.* TO dba@localhost{}",
        either("", " WITH GRANT OPTION")
    ));
    bench.dump(&server, &everything()).unwrap();
    server.sql("INSERT INTO shop.t VALUES (40)");
    let file = option_file(home.path(), &server, "dba", "the-right-one");
    let (status, said) = restored(&bench.destination(), &file, &["--replace"]);
    assert_eq!(status, Some(11), "{said}");
    assert!(said.contains("plan, backup") && said.contains("--yes confirms"), "{said}");
    assert_eq!(server.sql("SELECT SUM(a) FROM shop.t").trim(), "43");
    assert!(!server.sql("SHOW DATABASES").contains("mysnap_restoring"));
    let (status, said) = restored(&bench.destination(), &file, &["--replace", "--yes"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(server.sql("SELECT SUM(a) FROM shop.t").trim(), "3");
}

#[test]
fn the_shortest_way_to_a_backup_and_the_line_that_it_prints_bring_a_database_back() {
    let (server, home) = (Server::start(), tempfile::tempdir().unwrap());
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (a INT); INSERT INTO shop.t VALUES (1), (2)");
    // Where a server has its usual socket nothing is needed.
    let file = home.path().join(".my.cnf");
    durable::write(&file, format!("[client]\nsocket={}\nuser=root\n", server.socket().display()).as_bytes()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (at_home, to) = (format!("HOME={}", home.path().display()), home.path().join("backup").display().to_string());
    let mysnap = |arguments: &[&str]| {
        let call = Call::new("env").args([&at_home, env!("CARGO_BIN_EXE_mysnap")]);
        let finished = call.args(arguments.iter().copied()).finish().unwrap();
        let said = String::from_utf8([finished.stdout, finished.stderr].concat()).unwrap();
        assert_eq!(finished.status.code(), Some(0), "{arguments:?}: {said}");
        said
    };
    let said = mysnap(&["backup", "--to", &to]);
    let (_, way_back) = said.split_once("bring it back with: mysnap ").unwrap();
    let way_back = way_back.lines().next().unwrap().replace(" NAME ", " shop ").replace("NEWNAME", "shop_then");
    mysnap(&way_back.split(' ').collect::<Vec<_>>());
    assert_eq!(server.sql("SELECT SUM(a) FROM shop_then.t").trim(), "3");
    // As README writes it.
    mysnap(&["restore", "latest", "--from", &to, "--database", "shop", "--as", "shop_again"]);
    assert_eq!(server.sql("SELECT SUM(a) FROM shop_again.t").trim(), "3");
}
