//! Restores to a place that is wrong for the server (R4): its owner, its mode, what is above it, and owners that do not
//! exist here.

use std::path::Path;

use crate::disk::Disk;
use crate::host::{self, mysnap, mysnap_ok, run, try_run};
use crate::live::{LOCAL, Undo, expect, forget_stored, local};
use crate::restore::{backed_up, start_and_count};

/// Owner, group and mode.
fn looks(path: &Path) -> String {
    run(&["stat", "-c", "%U:%G %a", &path.display().to_string()]).trim().to_owned()
}

/// Makes `path` a former data directory that no server should have.
fn spoil(path: &Path) {
    let at = path.display();
    run(&[
        "sh",
        "-c",
        &format!("mkdir -p {at} && touch {at}/former && chown -R nobody:daemon {at} && chmod 0777 {at}"),
    ]);
}

#[test]
fn a_wrong_owner_and_mode_of_the_former_directory_are_not_handed_down() {
    let (config, id) = backed_up();
    let live = looks(Path::new("/var/lib/mysql"));
    let home = host::scratch("/var/tmp");
    let disk = Disk::formatted();
    let plain = home.path().join("data");
    for (to, aside) in [
        (plain.as_path(), home.path().join(format!("data.before-{id}"))),
        // A mount point stays, and gets what it needs.
        (disk.mount(), disk.mount().join(format!(".before-{id}"))),
    ] {
        spoil(to);
        let told = ["--config", &config, "restore", "latest", "--to", to.to_str().unwrap(), "--replace", "--yes"];
        mysnap_ok(&told);
        assert_eq!(looks(to), live, "{}", to.display());
        assert_eq!(looks(&aside.join("former")).split(' ').next(), Some("nobody:daemon"));
        assert_eq!(start_and_count(to), 3);
    }
}

#[test]
fn a_place_that_the_data_s_owner_can_not_reach_is_told_before_anything_is_written() {
    let (config, _) = backed_up();
    let home = host::scratch("/var/tmp");
    run(&["chmod", "0700", home.path().to_str().unwrap()]);
    let to = home.path().join("data").display().to_string();
    let planned = || mysnap(&["--config", &config, "restore", "latest", "--to", &to, "--dry-run"]);
    let words = format!("can't pass through {}: a server would not reach {to}", home.path().display());
    expect(&planned(), 0, &[&words]);
    assert_eq!(home.path().read_dir().unwrap().count(), 0);
    run(&["chmod", "0755", home.path().to_str().unwrap()]);
    let passable = planned();
    assert!(!format!("{}{}", passable.stdout, passable.stderr).contains("can't pass through"), "{}", passable.stdout);
}

#[test]
fn a_user_that_does_not_exist_here_is_named_and_its_number_kept() {
    forget_stored();
    let config = local("ghost", "");
    let number = {
        let _gone = Undo::with("rm -f /var/lib/mysql/ghost.txt; userdel ghost");
        run(&["useradd", "--system", "ghost"]);
        run(&["install", "-o", "ghost", "-g", "ghost", "-m", "0640", "/dev/null", "/var/lib/mysql/ghost.txt"]);
        mysnap_ok(&["--config", &config, "backup", "local"]);
        run(&["id", "-u", "ghost"]).trim().to_owned()
    };
    assert!(!try_run(&["id", "ghost"]).status.success());
    let home = host::scratch("/var/tmp");
    let to = home.path().join("data").display().to_string();
    let restored = mysnap(&["restore", "latest", "--from", LOCAL, "--to", &to, "--yes"]);
    let words = format!("user ghost does not exist here: its files get the number {number}");
    expect(&restored, 0, &[&words]);
    assert_eq!(run(&["stat", "-c", "%u %a", &format!("{to}/ghost.txt")]).trim(), format!("{number} 640"));
    assert_eq!(looks(Path::new(&to)), looks(Path::new("/var/lib/mysql")));
}
