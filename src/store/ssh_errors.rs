//! Why ssh did not get through, and what to do about it.

use std::path::Path;
use std::time::Duration;

use crate::fault::{Fault, Kind};
use crate::sys::cancel::Cancel;
use crate::sys::cmd::Call;

/// The node as ssh sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    pub(super) known_hosts: Option<&'a Path>,
}

/// The error for what ssh `said` when it ended by itself.
pub(super) fn explain(said: &str, node: Node<'_>, cancel: &Cancel) -> anyhow::Error {
    let host = node.host;
    if said.contains("HAS CHANGED") {
        let message = format!("the host key of {host} is another one than before");
        return with_fingerprints(Fault::new(Kind::Refused, message), node, cancel);
    }
    if said.contains("Host key verification failed") || said.contains("host key is known") {
        return with_fingerprints(
            Fault::new(Kind::Refused, format!("the host key of {host} is not known")),
            node,
            cancel,
        );
    }
    if said.trim().is_empty() {
        let message = format!("a command on {host} was killed, or the connection to it was cut");
        return Fault::new(Kind::Copy, message).hint("check the network and the node").into();
    }
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    if said.contains("Permission denied") {
        let fault = Fault::new(Kind::Config, format!("{host} refuses our key: {said}"));
        let hint = "add our public key to the account's authorized_keys there; no password is ever asked for";
        return fault.hint(hint).into();
    }
    Fault::new(Kind::Copy, format!("cannot reach {host}: {said}")).hint("check the network and the node").into()
}

/// Both keys, so that a person can compare them with what the node's own console shows.
fn with_fingerprints(fault: Fault, node: Node<'_>, cancel: &Cancel) -> anyhow::Error {
    let name = match node.port {
        Some(port) if port != 22 => format!("[{}]:{port}", node.host),
        _ => node.host.to_owned(),
    };
    let known = fingerprints(Call::new("ssh-keygen").args(["-l", "-F", &name]), node.known_hosts, cancel);
    let port = node.port.unwrap_or(22).to_string();
    let scan = Call::new("ssh-keyscan").args(["-T", "5", "-p", &port, node.host]).deadline(Duration::from_secs(20));
    let offered = scan.cancel(cancel).stdout_bytes().unwrap_or_default();
    let offered = fingerprints(Call::new("ssh-keygen").args(["-l", "-f", "-"]).stdin(offered), None, cancel);
    let hint = format!(
        "known: {known}; offered now: {offered}; compare with `ssh-keygen -lf` on the node itself, then remove the old \
         key (`ssh-keygen -R {name}`) and add the right one to the known hosts"
    );
    fault.hint(hint).into()
}

/// The `SHA256:…` words of what ssh-keygen lists.
fn fingerprints(call: Call<'_>, file: Option<&Path>, cancel: &Cancel) -> String {
    let call = match file {
        Some(file) => call.arg("-f").arg(file),
        None => call,
    };
    let listed = call.cancel(cancel).stdout().unwrap_or_default();
    let words: Vec<&str> = listed.split_whitespace().filter(|word| word.starts_with("SHA256:")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;

    #[test]
    fn what_ssh_says_has_a_class() {
        let node = Node { host: "localhost", port: Some(1), known_hosts: Some(Path::new("/dev/null")) };
        let kind = |said| kind_of(&explain(said, node, &Cancel::new()));
        assert_eq!(kind("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @"), Some(Kind::Refused));
        let unknown = "No ED25519 host key is known for x and you have requested strict checking.\r\nHost key verification failed.";
        assert_eq!(kind(unknown), Some(Kind::Refused));
        assert_eq!(kind("root@x: Permission denied (publickey,password)."), Some(Kind::Config));
        assert_eq!(kind("ssh: connect to host x port 22: Connection refused"), Some(Kind::Copy));
    }
}
