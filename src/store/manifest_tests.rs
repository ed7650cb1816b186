use super::*;
use crate::store::files;

const GOLDEN: &[u8] = include_bytes!("../../tests/data/manifest-1.json");
const GOLDEN_FILES: &[u8] = include_bytes!("../../tests/data/files-1.jsonl");

fn golden() -> Manifest {
    Manifest::decode(GOLDEN).unwrap()
}

/// The manifest with a change in it and a digest that fits.
fn altered(from: &str, to: &str) -> anyhow::Error {
    let text = serde_json::to_string(&golden()).unwrap();
    assert!(text.contains(from), "{text}");
    let text = text.replacen(from, to, 1);
    let envelope = format!("{{\"format\":1,\"sha256\":\"{}\",\"manifest\":{text}}}", Sha256::of(text.as_bytes()));
    Manifest::decode(envelope.as_bytes()).unwrap_err()
}

#[test]
fn a_manifest_of_the_first_format_is_read_for_ever() {
    let manifest = golden();
    assert_eq!(manifest.id.as_str(), "20261121T092233Z-4f2a");
    assert_eq!(manifest.position.binlog.as_ref().unwrap().offset, 1024);
    let entries = files::decode(GOLDEN_FILES).unwrap();
    assert_eq!(FileList::of(&entries).unwrap(), manifest.files, "the list is written as it was read");
    assert_eq!(entries[3].path.as_bytes(), "shop/café\n.ibd".as_bytes());
    assert_eq!(entries[2].mode.bits(), 0o2750);
}

const GOLDEN_INCREMENT: &[u8] = include_bytes!("../../tests/data/manifest-increment-1.json");

#[test]
fn a_manifest_of_an_increment_is_read_for_ever() {
    let manifest = Manifest::decode(GOLDEN_INCREMENT).unwrap();
    assert_eq!((manifest.method, manifest.hold.lock), (Method::Increment, None));
    assert_eq!(manifest.needs().unwrap().as_str(), "20261121T092233Z-4f2a");
    assert_eq!((manifest.bytes(), manifest.taken().to_string().as_str()), (48_104, "2026-11-21T10:22:35Z"));
    assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
}

#[test]
fn a_method_of_a_later_release_is_named() {
    let error = altered("\"method\":\"copy\"", "\"method\":\"repository\"");
    assert!(error.to_string().contains("by the method \"repository\", which this mysnap does not know"), "{error}");
    altered("\"method\":\"copy\"", "\"method\":\"increment\"");
}

#[test]
fn a_manifest_is_read_back() {
    let manifest = golden();
    assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let whole = golden();
    for n in 0..GOLDEN.len() {
        let mut bytes = GOLDEN.to_vec();
        bytes[n] ^= 1 << (n % 8);
        // Outside the inner text a flip may change white space alone.
        if let Ok(read) = Manifest::decode(&bytes) {
            assert_eq!(read, whole, "byte {n}");
        }
    }
    for length in 0..GOLDEN.len() - 2 {
        assert!(Manifest::decode(&GOLDEN[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn a_newer_format_is_named() {
    let error = Manifest::decode(b"{\"format\": 2, \"whatever\": []}").unwrap_err();
    assert!(error.to_string().contains("format 2; this mysnap reads format 1"), "{error}");
}

#[test]
fn fields_of_later_releases_are_passed_over() {
    let text = serde_json::to_string(&golden()).unwrap().replacen('{', "{\"colour\":\"blue\",", 1);
    let envelope = format!("{{\"format\":1,\"sha256\":\"{}\",\"manifest\":{text}}}", Sha256::of(text.as_bytes()));
    assert_eq!(Manifest::decode(envelope.as_bytes()).unwrap(), golden());
}

#[test]
fn a_hostile_manifest_is_refused() {
    for (from, to) in [
        ("\"live_path\":\"/var/log/mysql\"", "\"live_path\":\"/var/../etc\""),
        ("\"live_path\":\"/var/log/mysql\"", "\"live_path\":\"etc\""),
        ("\"name\":\"binlog-1\"", "\"name\":\"../x\""),
        ("\"name\":\"binlog-1\"", "\"name\":\"datadir\""),
        ("\"data-directory\",", ""),
        ("\"job\":\"nightly\"", "\"job\":\"../nightly\""),
        ("\"id\":\"20261121T092233Z-4f2a\"", "\"id\":\"x\""),
    ] {
        altered(from, to);
    }
}

#[test]
fn a_hostile_list_of_files_is_refused() {
    let line = |path: &str, kind: &str| {
        format!(
            "{{\"root\":\"datadir\",\"path\":\"{path}\",{kind},\"mode\":\"4755\",\"uid\":0,\"gid\":0,\"mtime\":\"2026-01-01T00:00:00Z\"}}\n"
        )
    };
    let file = format!("\"kind\":\"file\",\"size\":1,\"sha256\":\"{}\"", Sha256::of(b"x"));
    let directory = "\"kind\":\"directory\"";
    let link = "\"kind\":\"symlink\",\"target\":\"/etc\"";
    let good = files::decode((line("a", directory) + &line("a/x", &file)).as_bytes()).unwrap();
    assert_eq!(good[1].mode.bits(), 0o755, "the set-user-id bit is dropped");
    for list in [
        line("../x", &file),
        line("/etc/x", &file),
        line("a", link) + &line("a/x", &file),
        line("a", &file) + &line("a/x", &file),
        line("a", directory) + &line("a", link) + &line("a/x", &file),
        line("a/x", &file),
        line(".", link),
        line("x", "\"kind\":\"device\""),
        line("%2e%2e/x", &file),
        "{".to_owned(),
    ] {
        assert!(files::decode(list.as_bytes()).is_err(), "{list}");
    }
}

#[test]
fn a_proof_is_of_the_moment_when_the_last_of_it_was_done() {
    let [read_back, answered]: [Timestamp; 2] =
        ["2026-11-21T09:31:07Z", "2026-11-21T11:02:00Z"].map(|at| at.parse().unwrap());
    let mut proof = Proof::of(ProofLevel::Tables, read_back);
    proof.judge(Err("a table is damaged".to_owned()), answered);
    assert_eq!((proof.at, proof.failure.as_deref()), (answered, Some("a table is damaged")));
}
