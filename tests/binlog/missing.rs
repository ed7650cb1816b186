//! An archive that was there and is not any more.

use mysnap::dump::Compression;
use mysnap::sys::cmd::Call;
use mysnap::sys::durable;

use crate::bench::{Bench, Tmpfs};
use crate::elsewhere::Node;
use crate::server::Server;

#[test]
fn an_archive_whose_file_system_is_not_mounted_is_missed_and_none_begins_in_its_place() {
    let server = Server::start();
    let bench = Bench::new(&server, Compression::Zstd);
    let disk = Tmpfs::mount("64M");
    // What is remembered is this host's, by the name of the archive.
    let name = format!("missed-{}", std::process::id());
    bench.configure(&format!("[binlog.{name}]\nto = {:?}\n", disk.path()));
    let archive = disk.path().join(&name);
    let says = |arguments: &[&str], code: i32| {
        let (status, said) = bench.command(arguments);
        assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
        said
    };
    says(&["binlog", "ship", &name], 0);
    server.sql("CREATE DATABASE shop");
    says(&["binlog", "ship", &name], 0);
    // A lost index is made anew.
    std::fs::remove_file(archive.join("index.json")).unwrap();
    says(&["binlog", "ship", &name], 0);

    Call::new("umount").arg("-l").arg(disk.path()).run().unwrap();
    for arguments in [["binlog", "ship", &name], ["binlog", "stream", &name]] {
        let said = says(&arguments, 3);
        assert!(said.contains("there is no archive in") && said.contains("is its file system mounted?"), "{said}");
        assert!(!archive.exists(), "{said}");
    }
    assert!(says(&["check", &name], 3).contains("there is no archive in"));
    says(&["binlog", "ship", &name, "--new-archive"], 0);
    assert!(archive.join("index.json").exists());
    says(&["binlog", "ship", &name], 0);
    // Another place is another archive.
    std::fs::remove_dir_all(&archive).unwrap();
    let elsewhere = disk.path().join("elsewhere");
    bench.reconfigure(&format!("to = {:?}", disk.path()), &format!("to = {elsewhere:?}"));
    says(&["binlog", "ship", &name], 0);
    durable::remove_file(std::path::Path::new(&format!("/var/lib/mysnap/archives/{name}.json"))).unwrap();
}

#[test]
fn an_archive_that_is_gone_from_another_node_is_missed_by_whoever_asks() {
    let (server, node) = (Server::start(), Node::start());
    let bench = node.bench(&server, &node.directory("archives"), Compression::Zstd);
    let name = format!("missed-there-{}", std::process::id());
    bench.reconfigure("[binlog.shop]", &format!("[binlog.{name}]"));
    let says = |arguments: &[&str], code: i32| {
        let (status, said) = bench.command(arguments);
        assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
        said
    };
    says(&["binlog", "ship", &name], 0);
    assert!(!bench.command(&["check", &name]).1.contains("there is no archive"));
    std::fs::remove_dir_all(node.directory("archives").join(&name)).unwrap();
    for arguments in [&["check", &name][..], &["binlog", "ship", &name]] {
        let said = says(arguments, 3);
        assert!(said.contains("there is no archive in") && said.contains("is its file system mounted?"), "{said}");
    }
    assert!(!node.directory("archives").join(&name).exists());
    says(&["binlog", "ship", &name, "--new-archive"], 0);
    durable::remove_file(std::path::Path::new(&format!("/var/lib/mysnap/archives/{name}.json"))).unwrap();
}
