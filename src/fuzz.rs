//! Everything that reads what others wrote, as functions of bytes that nobody chose.
//!
//! Not part of a normal build. The unit test below feeds them a bounded number of damaged inputs;
//! `tests/fuzz/run` lets libFuzzer look for worse ones.

use std::path::Path;

use crate::config::Config;
use crate::drill::Drills;
use crate::id::{CloneName, JobName, RunId};
use crate::kept::Kept;
use crate::run::Record;
use crate::server::Version;
use crate::store::{Destination, Manifest, Slot, StoredPath};
use crate::sys::{mount, talk, units};
use crate::{binlog, check, dump, instance, load, lvm, node, rollback, server, store};

/// A reader, and what it reads on a good day.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name for `tests/fuzz/run`.
    pub name: &'static str,
    /// Reads; must not panic, whatever it is given.
    pub read: fn(&[u8]),
    /// Where a search begins.
    pub seeds: &'static [&'static [u8]],
    /// How many damaged inputs the unit test tries.
    pub rounds: usize,
}

/// For a reader of what is little and seldom.
const FEW: usize = 1_500;
/// For each of the three readers of binary logs, which may be anything: a million together.
const MANY: usize = 340_000;

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "configuration",
        read: configuration,
        seeds: &[include_bytes!("../packaging/mysnap.toml.example")],
        rounds: FEW,
    },
    Target {
        name: "option_file",
        read: |bytes| server::fuzz::option_file(&text(bytes)),
        seeds: &[b"[client]\nuser = mysnap\npassword = 'a \"b\" \\s#c'\n!includedir /etc/mysql/conf.d\n[mysnap]\nport=3306"],
        rounds: FEW,
    },
    Target {
        name: "lvm_report",
        read: |bytes| lvm::fuzz(&text(bytes)),
        seeds: &[
            include_bytes!("../tests/data/lvm/trixie/thick-store.lvs.json"),
            include_bytes!("../tests/data/lvm/trixie/partial.pvs.json"),
            include_bytes!("../tests/data/lvm/sid/thin-full.vgs.json"),
        ],
        rounds: FEW,
    },
    Target { name: "manifest", read: manifest, seeds: &[include_bytes!("../tests/data/manifest-1.json")], rounds: FEW },
    Target { name: "file_list", read: file_list, seeds: &[include_bytes!("../tests/data/files-1.jsonl")], rounds: FEW },
    Target {
        name: "names",
        read: names,
        seeds: &[b"20261121T092233Z-4f2a", b"root@[fe80::1]:/srv/a%20b/c", b"12.5GiB", b"1h30m", b"nightly/.unfinished-x"],
        rounds: FEW,
    },
    Target {
        name: "remote_answer",
        read: store::fuzz::answer,
        seeds: &[
            b"d\0nightly/20261121T092233Z-4f2a\0f\0nightly/20261121T092233Z-4f2a/manifest.json\x005\0{...}",
            b"f\x0012\0shop/t%1.ibd\0\0l\x000\0link\0/srv/else\0d\x000\0shop\0\0",
            b"\\e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  ./a\\nb\n",
            b"Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 100 50 50 50% /srv\n",
            b"  1,234,567  12%   10.00MB/s    0:00:10 (xfr#5, to-chk=7/19)",
        ],
        rounds: FEW,
    },
    Target {
        name: "server_answer",
        read: |bytes| server::fuzz::answer(&text(bytes)),
        seeds: &[
            b"version=11.8.3-MariaDB-log\nversion_comment=Debian 13\ndatadir=/var/lib/mysql/\nlog_bin=ON\n\
              log_bin_basename=/var/lib/mysql/binlog\ninnodb_data_file_path=ibdata1:12M;/d/ibdata2:50M:autoextend\n\
              server_uuid=2f0f2d0a-c6b5-11f1-9c0e-525400123456\nport=3306\nhostname=db1",
            b"Source_Host=db0\nSource_Port=3306\nRelay_Source_Log_File=binlog.000003\nExec_Source_Log_Pos=4711\n\
              Auto_Position=1\nChannel_Name=a'b\nFile=binlog.000007\nPosition=1024",
            b"Id=7\nUser=app\nCommand=Query\nTime=99\nInfo=/* c */ UPDATE t SET a='it''s', b=\"\\\"\" -- x\nState=updating",
        ],
        rounds: FEW,
    },
    Target {
        name: "system_table",
        read: system_table,
        seeds: &[
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
            b"UUID=0a3407de-014b-458b-b5c1-848e92a327a3 /var/lib/mysql ext4 defaults 0 2\n",
            b"mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)",
            b" 252       3 dm-3 1 0 8 2 5 0 4711 9 0 12 11 0 0 0 0 0 0",
            b"252,3,vg0-data-real,LVM-abcdefghijklmnopqrstuvwxyzABCDEFabcdefghijklmnopqrstuvwxyzABCDEF-real",
            b"000000003ecb81d8: 00000002 00000000 00010000 0001 01   568 ../my sql/mysqld.sock",
            b"0::/system.slice/system-mysql.slice/mysql@a.service\n",
            b"2026-11-26 12:00:00 0 [ERROR] InnoDB: Page 5 is damaged\n2026-11-26 12:00:00 0 [ERROR] Aborting\n",
            br#"{"path": "/var/lib/mysql-keyring/keys", "read_only": false}"#,
        ],
        rounds: FEW,
    },
    Target {
        name: "own_record",
        read: own_record,
        seeds: &[
            include_bytes!("../tests/data/kept-1.json"),
            include_bytes!("../tests/data/drill-earlier-1.json"),
            include_bytes!("../tests/data/archive-1.json"),
            br#"{"format":1,"timelines":{"20261126T110000Z":"binlog.000003","20261125T110000Z":null}}"#,
            br#"{"at":"2026-11-26T12:00:00Z","streams":true,"end":{"file":"binlog.000005","offset":900}}"#,
        ],
        rounds: FEW,
    },
    Target { name: "dump_index", read: dump::fuzz::index, seeds: &[include_bytes!("../tests/data/fuzz/index.json")], rounds: FEW },
    Target {
        name: "dump_statement",
        read: |bytes| load::fuzz::statement(&text(bytes)),
        seeds: &[
            b"CREATE TABLE `or``ders` (\n  `id` int(11) DEFAULT nextval(`shop`.`s`),\n  `c` varchar(9) COLLATE utf8mb4_bin COMMENT \
              'a \\' b',\n  CONSTRAINT `f` FOREIGN KEY (`c`) REFERENCES `shop`.`t` (`id`) ON DELETE CASCADE,\n  \
              CONSTRAINT `k` CHECK (`c` <> 'x')\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 DATA DIRECTORY='/srv/'",
            b"CREATE SEQUENCE `s` start with 1 minvalue 1 maxvalue 9 increment by 1 cache 1000 nocycle ENGINE=InnoDB",
            b"CREATE DEFINER=`a`@`%` TRIGGER t BEFORE INSERT ON `shop` .`orders` FOR EACH ROW SET @a = 'shop.x'",
        ],
        rounds: FEW,
    },
    Target {
        name: "dump_contents",
        read: dump::fuzz::contents,
        seeds: &[b"orders\0Orders\0../etc/passwd\0-rf\0CREATE PROCEDURE a() SELECT '$$', '$0$'\0$$$$$$$$$$$$$$$$"],
        rounds: FEW,
    },
    Target {
        name: "dump_rows",
        read: dump::fuzz::packed,
        seeds: &[include_bytes!("../tests/data/fuzz/rows.zst"), include_bytes!("../tests/data/fuzz/rows.gz")],
        rounds: FEW,
    },
    Target {
        name: "node_request",
        read: |bytes| node_request(&text(bytes)),
        seeds: &[
            include_bytes!("../tests/data/fuzz/prove.json"),
            include_bytes!("../tests/data/fuzz/archive.json"),
            include_bytes!("../tests/data/fuzz/expire.json"),
            br#"{"files":[{"name":"binlog.000001","path":"/var/lib/mysql/binlog.000001"}]}"#,
            br#"{"failed":{"kind":"Gap","error":"it was purged","hint":"take a full backup"}}"#,
        ],
        rounds: FEW,
    },
    Target {
        name: "node_answer",
        read: node_answer,
        seeds: &[
            br#"{"event":"phase_done","name":"start","ms":1500,"detail":"it answers"}"#,
            br#"{"event":"error","error":"page 5","left":null,"hints":["look"]}"#,
            include_bytes!("../tests/data/fuzz/found.json"),
            include_bytes!("../tests/data/fuzz/dumped.json"),
            br#"{"ask":"digest","log":3,"length":4711,"in_use":true}"#,
            br#"{"ask":"done","passed":{"copied":5,"closed":["b.000001"],"alarms":[],"notes":[]},"end":null,"has_ended":false,"is_damaged":false}"#,
        ],
        rounds: FEW,
    },
    Target { name: "node_talk", read: talk::fuzz, seeds: &[b"\n{\"pass\":null}\n=5\nabcde\n\n=18446744073709551615\nx"], rounds: FEW },
    Target {
        name: "binlog_told",
        read: |bytes| binlog::fuzz::told(&text(bytes)),
        seeds: &[
            b"071a4ecc-1bf9-11f1-a838-e6dd1807d029:1-9:11:tag:5-7,\n171a4ecc-1bf9-11f1-a838-e6dd1807d029:3",
            b"0-1-300,0-2-9,7-1-18446744073709551615",
            b"./b.000009\n/var/lib/mysql/b.000010\n",
            b"binlog.000005.zst",
            b"ERROR: Got error reading packet from server: bogus data in log event; the first event 'b.000001' at 4",
        ],
        rounds: FEW,
    },
    Target { name: "run_record", read: run_record, seeds: &[include_bytes!("../tests/data/record-1.json")], rounds: FEW },
    Target {
        name: "binary_log",
        read: binlog::fuzz::log,
        seeds: &[
            include_bytes!("../tests/data/binlog/mariadb-10.11.000001"),
            include_bytes!("../tests/data/binlog/mariadb-10.11-no-checksums.000001"),
            include_bytes!("../tests/data/binlog/mysql-9.7-by-hand.000007"),
        ],
        rounds: MANY,
    },
    Target {
        name: "binlog_event",
        read: binlog::fuzz::event_body,
        seeds: binlog::fuzz::BODIES,
        rounds: MANY,
    },
    Target {
        name: "binlog_index",
        read: binlog::fuzz::index,
        seeds: &[include_bytes!("../tests/data/binlog/index-1.json")],
        rounds: MANY,
    },
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn configuration(bytes: &[u8]) {
    if let Ok(config) = Config::parse(Path::new("/etc/mysnap/mysnap.toml"), &text(bytes)) {
        let shown = config.written();
        assert!(Config::parse(Path::new("shown"), &shown).is_ok(), "what is shown is not a configuration:\n{shown}");
    }
}

fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::decode(bytes) else { return };
    let again = manifest.encode().and_then(|encoded| Manifest::decode(&encoded));
    assert!(again.is_ok_and(|again| again == manifest), "a manifest changes when it is written again");
}

fn file_list(bytes: &[u8]) {
    for entry in store::fuzz::file_list(bytes) {
        stays_inside(&entry.path);
    }
}

fn stays_inside(path: &StoredPath) {
    let normal = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    assert!(path.as_path().components().all(normal), "{path} leads out of its root");
}

fn names(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(path) = StoredPath::new(bytes) {
        stays_inside(&path);
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    if let Ok(to) = text.parse::<Destination>() {
        assert_eq!(to.to_string().parse::<Destination>().map_err(drop), Ok(to));
    }
    let (job, name) = text.split_once('/').unwrap_or(("nightly", &text));
    if let Some(slot) = Slot::parse(job, name) {
        assert_eq!(slot.relative(), format!("{job}/{name}"));
    }
    if let Ok(id) = text.parse::<RunId>() {
        let path = StoredPath::new(id.to_string());
        assert!(path.is_ok(), "{id} is no name of a file");
        path.iter().for_each(stays_inside);
    }
    drop((text.parse::<JobName>(), text.parse::<CloneName>(), units::parse_age(&text)));
    drop(text.parse::<units::Bytes>());
    drop(text.parse::<units::Percent>());
    drop(units::parse_duration(&text));
    Version::parse(&text);
}

fn system_table(bytes: &[u8]) {
    let text = text(bytes);
    mount::parse_mountinfo(&text);
    check::fuzz::system(&text);
    instance::installed::parse(&text);
    instance::fuzz(&text);
    lvm::fuzz(&text);
    rollback::fuzz(&text);
    server::fuzz::system(&text);
}

/// What lies on disk between runs.
fn own_record(bytes: &[u8]) {
    if let Ok(kept) = serde_json::from_slice::<Kept>(bytes) {
        let again = serde_json::to_vec(&kept).and_then(|written| serde_json::from_slice::<Kept>(&written));
        assert!(again.is_ok_and(|again| again == kept), "a record changes when it is written again");
    }
    if let Ok(drills) = Drills::decode(bytes) {
        let again = drills.clone().encode().map(|written| Drills::decode(&written));
        assert!(again.is_ok_and(|again| again.is_ok_and(|again| again == drills)), "a record changes");
    }
    binlog::fuzz::records(bytes);
}

fn node_request(line: &str) {
    node::fuzz::request(line);
    binlog::fuzz::order(line);
}

fn node_answer(line: &[u8]) {
    node::fuzz::answer(line);
    binlog::fuzz::said(line);
}

fn run_record(bytes: &[u8]) {
    drop(serde_json::from_slice::<Record>(bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::Rng as _;
    use proptest::test_runner::{RngAlgorithm, TestRng};

    use super::*;

    /// What numbers, quotes and lengths go wrong at.
    const WORDS: [&[u8]; 12] = [
        b"",
        b"\0",
        b"-1",
        b"18446744073709551615",
        b"99999999999999999999",
        b"../",
        b"/",
        b"%",
        b"\"",
        b"'",
        b"\xff",
        b"\n",
    ];

    fn damaged(target: &Target, random: &mut TestRng) -> Vec<u8> {
        let pick = |random: &mut TestRng, from: usize| random.random_range(0..from.max(1));
        let mut bytes = target.seeds[pick(random, target.seeds.len())].to_vec();
        for _ in 0..=pick(random, 4) {
            let at = pick(random, bytes.len() + 1).min(bytes.len());
            let end = (at + pick(random, 24)).min(bytes.len());
            match pick(random, 5) {
                0 if at < bytes.len() => bytes[at] = random.random(),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.truncate(at),
                3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                _ => drop(bytes.splice(at..end, WORDS[pick(random, WORDS.len())].iter().copied())),
            }
        }
        bytes
    }

    #[test]
    fn no_reader_panics_over_what_others_wrote() {
        let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        for target in TARGETS {
            for seed in target.seeds {
                (target.read)(seed);
            }
            for _ in 0..target.rounds {
                let bytes = damaged(target, &mut random);
                let read = std::panic::catch_unwind(|| (target.read)(&bytes));
                assert!(read.is_ok(), "{} panics over {:?}", target.name, String::from_utf8_lossy(&bytes));
            }
        }
    }
}
