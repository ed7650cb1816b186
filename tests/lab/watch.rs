//! Who opens files of the live server: the kernel tells, whatever the mount namespace (fanotify(7)).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::host::{self, run};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

const DATA: &str = "/var/lib/mysql";

/// Watches every opening on the data's file system until it is asked.
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<i32, String>>,
}

impl Watch {
    pub fn start() -> Self {
        let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_NONBLOCK | InitFlags::FAN_UNLIMITED_QUEUE;
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY).unwrap();
        let whole = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        group.mark(whole, MaskFlags::FAN_OPEN, nix::fcntl::AT_FDCWD, Some(DATA)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeMap::new();
            while !asked.load(Ordering::SeqCst) {
                for event in group.read_events().unwrap_or_default() {
                    seen.entry(event.pid()).or_insert_with(|| name_of(event.pid()));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        // So that it is seen to see.
        run(&["head", "-c", "1", &format!("{DATA}/ibdata1")]);
        Self { over, thread }
    }

    /// Others may read there, but no other server.
    pub fn assert_only_the_live_server(self) {
        self.over.store(true, Ordering::SeqCst);
        let openers = self.thread.join().unwrap();
        println!("{openers:?}");
        let live = run(&["systemctl", "show", "--value", "-p", "MainPID", host::service()]);
        let live: i32 = live.trim().parse().unwrap();
        assert!(!openers.is_empty(), "the watch saw nobody");
        let servers = openers.iter().filter(|(_, name)| ["mariadbd", "mysqld"].contains(&name.as_str()));
        let others: Vec<_> = servers.filter(|(pid, _)| **pid != live).collect();
        assert!(others.is_empty(), "a second server opened files of the live one: {others:?}");
    }
}

fn name_of(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "ended".to_owned(), |name| name.trim().to_owned())
}
