//! Reaching the server: who it is, who we are to it, and what is said when either is wrong.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::server::{Access, PlaceKind, running};
use mysnap::sys::cancel::Cancel;
use mysql::Conn;
use mysql::prelude::Queryable as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ACCOUNT, PASSWORD, account, privileges, session, table};
use crate::support::{SCHEMA, admin, connect, is_mariadb, socket, start_server};

#[test]
fn the_server_is_known_and_its_places_are_found() {
    let mut session = session();
    let facts = session.facts().clone();
    let mut admin = admin();
    assert_eq!(facts.flavour.is_mariadb(), is_mariadb(&mut admin));
    assert_eq!(facts.uuid.is_none(), facts.flavour.is_mariadb());
    session.prove_local().unwrap();
    let json = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<mysnap::server::Facts>(&json).unwrap(), facts);

    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let link = facts.datadir.join("linked_by_test");
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let places = session.layout();
    std::fs::remove_file(&link).unwrap();
    let places = places.unwrap();
    assert_eq!((places[0].kind, &places[0].real), (PlaceKind::DataDirectory, &facts.datadir));
    assert!(places.iter().any(|place| place.path == link && place.real == elsewhere.path()), "{places:?}");
}

#[test]
fn a_table_in_another_directory_is_a_place() {
    let mut admin = table("InnoDB");
    if !is_mariadb(&mut admin) {
        return; // MySQL 8 needs the directory in innodb_directories, which needs a restart.
    }
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let owner = nix::unistd::User::from_name("mysql").unwrap().map(|user| user.uid);
    nix::unistd::chown(elsewhere.path(), owner, None).unwrap();
    let directory = elsewhere.path().display();
    admin.query_drop(format!("DROP TABLE IF EXISTS {SCHEMA}.outside")).unwrap();
    admin.query_drop(format!("CREATE TABLE {SCHEMA}.outside (id INT) DATA DIRECTORY='{directory}'")).unwrap();
    let places = session().layout().unwrap();
    admin.query_drop(format!("DROP TABLE {SCHEMA}.outside")).unwrap();
    let found = places.iter().find(|place| place.real.starts_with(elsewhere.path()));
    assert_eq!(found.map(|place| place.kind), Some(PlaceKind::Tablespace), "{places:?}");
}

#[test]
fn a_socket_that_leads_elsewhere_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map(Result::unwrap) {
            let server = UnixStream::connect(socket()).unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                std::thread::spawn(move || {
                    // Either side may hang up first.
                    drop(std::io::copy(&mut from, &mut to));
                    drop(to.shutdown(std::net::Shutdown::Both));
                });
            }
        }
    });
    let (access, _files) = account(None);
    let session = Access { socket: Some(path), ..access }.connect(&Cancel::new()).unwrap();
    let error = session.prove_local().unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Refused), "{error:#}");
}

#[test]
fn each_missing_privilege_is_named_with_its_grant() {
    let mut admin = admin();
    for privilege in privileges(&mut admin) {
        let (access, _files) = account(Some(privilege));
        let missing = access.connect(&Cancel::new()).unwrap().missing_privileges().unwrap();
        assert_eq!(missing.iter().map(|m| m.privilege).collect::<Vec<_>>(), [privilege]);
        admin.query_drop(&missing[0].grant).unwrap();
        assert_eq!(access.connect(&Cancel::new()).unwrap().missing_privileges().unwrap(), []);
    }
}

#[test]
fn a_wrong_password_is_a_matter_of_configuration_and_said_at_once() {
    let (access, files) = account(None);
    mysnap::sys::durable::write(
        &files.path().join("test.cnf"),
        format!("[client]\nuser={ACCOUNT}\npassword=x\n").as_bytes(),
    )
    .unwrap();
    let began = Instant::now();
    let error = access.connect(&Cancel::new()).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Config), "{error:#}");
    assert!(!hints_of(&error).is_empty() && began.elapsed() < Duration::from_secs(5));
    access.wait_until_answering(Duration::from_secs(1), &Cancel::new()).unwrap();
}

#[test]
fn a_server_that_does_not_prove_itself_is_refused() {
    let (access, _files) = account(None);
    let port = access.connect(&Cancel::new()).unwrap().facts().port;
    // Not known as this host, so that the server must prove who it is; its certificate is its own,
    // or there is none.
    let access = Access { socket: None, host: Some("::ffff:127.0.0.1".into()), port: Some(port), ..access };
    let error = access.connect(&Cancel::new()).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Config), "{error:#}");
    assert!(format!("{error:#}").contains("did not prove"), "{error:#}");
}

#[test]
fn a_full_server_is_tried_again_for_a_while() {
    let mut admin = admin();
    let (access, _files) = account(None);
    let before: u32 = admin.query_first("SELECT @@GLOBAL.max_connections").unwrap().unwrap();
    admin.query_drop("SET GLOBAL max_connections = 10").unwrap();
    let mut full: Vec<Conn> = Vec::new();
    // A connection of an earlier test may just be going.
    for _ in 0..4 {
        while let Ok(connection) = connect(ACCOUNT, Some(PASSWORD)) {
            full.push(connection);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let error = access.connect(&Cancel::new()).unwrap_err();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        drop(full);
    });
    let connected = access.connect(&Cancel::new());
    admin.query_drop(format!("SET GLOBAL max_connections = {before}")).unwrap();
    later.join().unwrap();
    assert_eq!(kind_of(&error), Some(Kind::Refused), "{error:#}");
    connected.unwrap();
}

/// For as long as a restart usually takes; what takes longer is said instead.
#[test]
fn a_server_that_restarts_is_waited_for() {
    let (access, _files) = account(None);
    let pid_file = access.connect(&Cancel::new()).unwrap().facts().pid_file.clone();
    let pid = Pid::from_raw(std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let ends = || if kill(pid, None).is_err() { Ok(()) } else { Err("it still runs") };
    mysnap::sys::retry::until(Duration::from_secs(60), ends).unwrap();
    let began = Instant::now();
    let starter = std::thread::spawn(move || {
        start_server();
        began.elapsed()
    });
    let connected = access.connect(&Cancel::new());
    let gave_up = began.elapsed();
    let answered = starter.join().unwrap();
    println!("it answered after {answered:?}");
    match connected {
        Ok(_) => {}
        Err(error) => {
            assert_eq!(kind_of(&error), Some(Kind::Refused), "{error:#}");
            assert!(answered > Duration::from_secs(15) && gave_up < Duration::from_secs(30), "{gave_up:?}: {error:#}");
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_refused_and_waited_for() {
    let access = Access { socket: Some("/nonexistent.sock".into()), ..Access::default() };
    assert_eq!(kind_of(&access.connect(&Cancel::new()).unwrap_err()), Some(Kind::Refused));
    let cancel = Cancel::new();
    cancel.set(15);
    assert_eq!(kind_of(&access.connect(&cancel).unwrap_err()), Some(Kind::Cancelled));
}

#[test]
fn children_do_not_inherit_the_session() {
    let _session = session();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let is_socket = path.read_link().is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        if is_socket {
            let info = std::fs::read_to_string(path.to_string_lossy().replace("/fd/", "/fdinfo/")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
            assert_ne!(flags & 0o2_000_000, 0, "{info}");
        }
    }
}

#[test]
fn a_running_server_is_seen_in_its_directory() {
    let session = session();
    let users = running::users_of(&session.facts().datadir).unwrap();
    let pid: i32 = std::fs::read_to_string(&session.facts().pid_file).unwrap().trim().parse().unwrap();
    assert!(users.iter().any(|user| user.pid == Some(pid)), "{users:?}");
    assert_eq!(running::users_of(Path::new("/usr/share/doc")).unwrap(), []);
}
