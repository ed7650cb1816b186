use super::*;
use crate::server::Version;
use crate::store::{FileList, Slot, Transfer};

pub(in crate::restore) fn files() -> Vec<FileEntry> {
    let text = include_str!("../../tests/data/files-1.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(in crate::restore) fn backup() -> Backup {
    let manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
    Backup { slot: Slot::finished(&manifest.job, &manifest.id), manifest, twin_damaged: None }
}

fn request() -> Request {
    Request {
        to: "/var/lib/mysql".into(),
        roots: BTreeMap::new(),
        replace: false,
        clone: false,
        any_version: false,
        start: false,
        workshop: None,
        transfer: Transfer::default(),
    }
}

pub(in crate::restore) fn ground(root: Root, path: &Path) -> Ground {
    let beside = |what: &str| PathBuf::from(format!("{}.{what}-ID", path.display()));
    Ground {
        root,
        path: path.to_owned(),
        is_mount_point: false,
        occupied: false,
        users: Vec::new(),
        staging: beside("restoring"),
        staged: Bytes(0),
        ready: beside("restored"),
        is_ready: false,
        aside: beside("before"),
        device: 1,
        room: Bytes(1 << 40),
    }
}

fn grounds(request: &Request) -> Vec<Ground> {
    let places = places(&backup().manifest, request).unwrap();
    places.into_iter().map(|(root, path)| ground(root, &path)).collect()
}

fn decided(files: Vec<FileEntry>, request: &Request, grounds: Vec<Ground>) -> anyhow::Result<Plan> {
    let installed = Installed { flavour: crate::server::Flavour::MySql, version: Version(9, 7, 4) };
    decide(&backup(), files, request, grounds, Some(&installed))
}

fn refused(request: &Request, grounds: Vec<Ground>) -> String {
    let error = decided(files(), request, grounds).unwrap_err();
    assert_eq!(crate::fault::kind_of(&error), Some(Kind::Refused));
    format!("{error:#}; {}", crate::fault::hints_of(&error).join(" "))
}

fn entry(path: &str, like: usize) -> FileEntry {
    FileEntry { path: path.parse().unwrap(), ..files()[like].clone() }
}

#[test]
fn a_hidden_data_directory_is_refused_where_the_server_cannot_recover() {
    let to = PathBuf::from("/srv/.data");
    let said = refused(&Request { to: to.clone(), ..request() }, grounds(&Request { to, ..request() }));
    assert!(said.contains("can't recover in /srv/.data: its name begins with a dot"), "{said}");
    let below = Request { to: "/srv/.hidden/data".into(), ..request() };
    decided(files(), &below, grounds(&below)).unwrap();
}

#[test]
fn the_plan_says_what_happens_in_which_order() {
    let request = request();
    let plan = decided(files(), &request, grounds(&request)).unwrap();
    assert_eq!(
        plan.steps,
        [
            "copy binlog-1 (1.00 KiB) to /var/log/mysql.restoring-ID, compare every file with its digest, set owners and modes",
            "copy datadir (12.0 MiB) to /var/lib/mysql.restoring-ID, compare every file with its digest, set owners and modes",
            "rename /var/log/mysql.restoring-ID to /var/log/mysql",
            "rename /var/lib/mysql.restoring-ID to /var/lib/mysql",
        ]
    );
    assert!(plan.warnings.iter().any(|w| w.contains("symlink to /srv/old%20data, which is no part of the backup")));
    let next = next_steps(&plan, &["/var/lib/mysql.before-ID".into()], false);
    assert!(next[0].contains("systemctl start mysql"), "{next:?}");
    assert!(next.iter().any(|step| step.contains("make it a replica of db1")), "{next:?}");
    assert_eq!(next.last().unwrap(), "when all is well, remove /var/lib/mysql.before-ID");
}

#[test]
fn a_server_that_was_started_is_not_among_the_next_steps() {
    for to in ["/var/lib/mysql", "/srv/new"] {
        let request = Request { to: to.into(), start: true, ..request() };
        let plan = decided(files(), &request, grounds(&request)).unwrap();
        assert_eq!(plan.steps.last().unwrap(), "start the service (mysql), wait until it answers");
        let next = next_steps(&plan, &["/var/lib/mysql.before-ID".into()], true);
        let advice = ["start the server", "set datadir", "AppArmor"];
        assert!(!next.iter().any(|step| advice.iter().any(|text| step.contains(text))), "{next:?}");
        assert!(next.iter().any(|step| step.contains("make it a replica of db1")), "{next:?}");
        assert_eq!(next.last().unwrap(), "when all is well, remove /var/lib/mysql.before-ID");
    }
}

#[test]
fn what_is_in_use_is_refused_even_where_it_may_be_replaced() {
    let request = Request { replace: true, ..request() };
    let mut grounds = grounds(&request);
    grounds[1].users = vec!["mysqld (process 77)".to_owned()];
    let text = refused(&request, grounds);
    assert!(text.contains("/var/lib/mysql is in use by mysqld (process 77)"), "{text}");
}

#[test]
fn what_is_not_empty_is_refused_unless_it_may_be_replaced() {
    let request = request();
    let occupied = || {
        let mut grounds = grounds(&request);
        grounds[1].occupied = true;
        grounds
    };
    assert!(refused(&request, occupied()).contains("--replace keeps what is there aside"));
    let replacing = Request { replace: true, ..request.clone() };
    let plan = decided(files(), &replacing, occupied()).unwrap();
    assert!(
        plan.steps.contains(&"keep what is at /var/lib/mysql as /var/lib/mysql.before-ID".to_owned()),
        "{:?}",
        plan.steps
    );
}

#[test]
fn a_restore_cut_short_in_a_mount_point_goes_on() {
    let request = request();
    let mut grounds = grounds(&request);
    (grounds[1].occupied, grounds[1].is_mount_point, grounds[1].is_ready) = (true, true, true);
    let plan = decided(files(), &request, grounds).unwrap();
    assert_eq!(plan.steps.last().unwrap(), "go on moving what is in /var/lib/mysql.restored-ID up into /var/lib/mysql");
    assert!(
        !plan.steps.iter().any(|step| step.contains("copy datadir") || step.starts_with("keep")),
        "{:?}",
        plan.steps
    );
}

#[test]
fn places_in_one_another_and_too_little_room_are_refused() {
    let mut request = request();
    request.roots.insert("binlog-1".parse().unwrap(), "/var/lib/mysql/log".into());
    assert!(refused(&request, grounds(&request)).contains("lie in one another"));
    request.roots.clear();
    let mut grounds = grounds(&request);
    for ground in &mut grounds {
        // Both fit alone, but they share a file system.
        ground.room = Bytes(12_583_000);
    }
    let text = refused(&request, grounds.clone());
    assert!(text.contains("are needed at") && text.contains("are free"), "{text}");
    grounds[1].staged = Bytes(12_000_000);
    decided(files(), &request, grounds).unwrap();
}

#[test]
fn a_root_that_the_backup_lacks_is_named() {
    for name in ["redo-1", "datadir"] {
        let mut request = request();
        request.roots.insert(name.parse().unwrap(), "/srv/x".into());
        let error = places(&backup().manifest, &request).unwrap_err();
        assert_eq!(crate::fault::hints_of(&error), ["it has binlog-1"]);
    }
}

#[test]
fn what_belonged_to_the_running_process_is_dropped() {
    let mut list = files();
    let names =
        ["db1.pid", "mysqld.sock.lock", "mysqlx.sock.lock", "auto.cnf", "shop/x.pid", "undo_001", "lost%2Bfound/x.pid"];
    list.extend(names.iter().map(|name| entry(name, 1)));
    list.push(entry("lost+found", 2));
    let dropped = |clone| {
        let request = Request { clone, ..request() };
        let plan = decided(list.clone(), &request, grounds(&request)).unwrap();
        let names: Vec<String> = plan.targets[1].drop.iter().map(ToString::to_string).collect();
        names.join(" ")
    };
    assert_eq!(dropped(false), "mysqlx.sock.lock mysqld.sock.lock lost+found/x.pid lost+found db1.pid");
    assert!(dropped(true).contains("auto.cnf"));
}

#[test]
fn the_list_of_binary_logs_names_them_where_they_go() {
    let list = Relist {
        index: StoredPath::new("binlog.index").unwrap(),
        moved: vec![("/var/lib/mysql/log".into(), "/srv/log".into()), ("/var/lib/mysql".into(), "/srv/new".into())],
    };
    let rewritten = |text: &str| list.rewritten(text.as_bytes()).map(|text| String::from_utf8(text).unwrap());
    let named = "/var/lib/mysql/log/b.000001\n./b.000002\n/var/lib/mysql/b.000003\n/var/lib/mysql-2/b.000004\n";
    let expected = "/srv/log/b.000001\n./b.000002\n/srv/new/b.000003\n/var/lib/mysql-2/b.000004\n";
    assert_eq!(rewritten(named).as_deref(), Some(expected));
    assert_eq!(rewritten("./b.000001\n./b.000002\n"), None);

    let request = Request { to: "/srv/new".into(), ..request() };
    let mut list = files();
    let index =
        decided(list.clone(), &request, grounds(&request)).unwrap().backup.manifest.server.binary_log.unwrap().index;
    let name = index.file_name().unwrap().to_str().unwrap().to_owned();
    list.push(FileEntry { root: "binlog-1".parse().unwrap(), ..entry(&name, 4) });
    let plan = decided(list.clone(), &request, grounds(&request)).unwrap();
    let relist = plan.targets.iter().find_map(|target| target.relist.as_ref()).unwrap();
    assert_eq!(relist.index.to_string(), name);
    assert_eq!(relist.moved, [("/var/lib/mysql".into(), "/srv/new".into())]);
}

#[test]
fn symlinks_follow_the_roots_that_they_point_to() {
    let mut request = request();
    request.to = "/srv/new".into();
    request.roots.insert("binlog-1".parse().unwrap(), "/srv/log".into());
    let link = |path: &str, to: &str| {
        let line = format!("{{\"kind\":\"symlink\",\"target\":\"{to}\"}}");
        FileEntry { kind: serde_json::from_str(&line).unwrap(), ..entry(path, 4) }
    };
    let mut list = files();
    list.extend([
        link("log", "/var/log/mysql"),
        link("one", "/var/log/mysql/binlog.000007"),
        link("self", "/var/lib/mysql/shop"),
    ]);
    let plan = decided(list, &request, grounds(&request)).unwrap();
    let relinked: Vec<String> = plan.targets[1].relink.iter().map(|(p, to)| format!("{p}={}", to.display())).collect();
    assert_eq!(relinked, ["log=/srv/log", "one=/srv/log/binlog.000007", "self=/srv/new/shop"]);
    assert!(
        plan.warnings.iter().any(|w| w.contains("binlog-1 was at /var/log/mysql, goes to /srv/log")),
        "{:?}",
        plan.warnings
    );
    let next = next_steps(&plan, &[], false);
    assert!(next[0].contains("set datadir=/srv/new"), "{next:?}");
}

#[test]
fn the_fixture_is_what_the_manifest_vouches_for() {
    assert_eq!(FileList::of(&files()).unwrap(), backup().manifest.files);
}
