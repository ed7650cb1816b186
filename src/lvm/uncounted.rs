//! Thin snapshots that their pool holds and has not counted.
//!
//! LVM has the kernel's pool make a snapshot (`create_snap`), and then raise the pool's transaction id. A command that is
//! killed in between leaves a pool that LVM changes no more: the next command, a removal too, asks for the snapshot
//! again, and gives up because it is there ("File exists", "Manual intervention may be required to remove device
//! dev_id=…"; LVM 2.03.31, `tests/lab/snapshot/inside.rs`). With the device deleted LVM goes on by itself. After a power
//! cut the pool is as it was before the snapshot, and nothing has to be done.

use anyhow::Context as _;
use serde::Deserialize;

use super::devices::{alone, letters, of_pool};
use super::report::Document;
use super::{DEADLINE, Volume, reading};
use crate::sys::cmd::Call;

const FIELDS: &str = "lv_uuid,thin_id,transaction_id";

#[derive(Deserialize)]
struct Report {
    lv: Vec<Row>,
}

/// Numbers are empty where a volume has none.
#[derive(Deserialize)]
struct Row {
    lv_uuid: String,
    thin_id: String,
    transaction_id: String,
}

/// Has the pool of `snapshot` forget it, where the command that made it was killed before the pool counted it; does
/// nothing to any other snapshot.
///
/// # Errors
/// Where another LVM command holds the group, or LVM or device-mapper do not answer.
pub fn forget_uncounted(snapshot: &Volume) -> anyhow::Result<()> {
    let Some(pool) = &snapshot.pool else { return Ok(()) };
    // While another command makes one, its pool has not counted it either.
    let _alone = alone(&snapshot.name.vg)?;
    let known = super::volumes()?;
    let Some(pool) = known.iter().find(|volume| volume.name.vg == snapshot.name.vg && volume.name.lv == *pool) else {
        return Ok(());
    };
    let is_active = known.iter().any(|volume| volume.uuid == snapshot.uuid && volume.is_active());
    let Some(device) = of_pool(pool)?.filter(|_| !is_active) else { return Ok(()) };
    let report = reading("lvs").args(["-a", "-o", FIELDS]).stdout()?;
    let status = Call::new("dmsetup").args(["status", "--target", "thin-pool", &device]).deadline(DEADLINE).stdout()?;
    let Some(id) = uncounted(&report, [&snapshot.uuid, &pool.uuid], &status)? else { return Ok(()) };
    let delete = ["message", &device, "0", &format!("delete {id}")];
    // The kernel may have none: LVM then failed of something else, which it says itself.
    drop(Call::new("dmsetup").args(delete).deadline(DEADLINE).spared().run());
    Ok(())
}

/// The snapshot's number in its pool, if it is what LVM wants next and the kernel has not counted: the pool's transaction
/// id was raised by one in LVM's metadata, and the kernel is still at the one that the snapshot was made in.
fn uncounted(report: &str, [snapshot, pool]: [&str; 2], status: &str) -> anyhow::Result<Option<u32>> {
    let document: Document<Report> = serde_json::from_str(report).context("lvs did not answer with its JSON report")?;
    let rows: Vec<Row> = document.report.into_iter().flat_map(|report| report.lv).collect();
    let row = |uuid: &str| rows.iter().find(|row| letters(&row.lv_uuid) == letters(uuid));
    let number = |text: &str| text.trim().parse::<u64>().ok();
    // Start, length, target, transaction id (the kernel's thin-provisioning.rst).
    let kernel = status.split_whitespace().nth(3).and_then(number);
    let made_in = row(snapshot).and_then(|row| number(&row.transaction_id));
    let wanted = row(pool).and_then(|row| number(&row.transaction_id));
    let is_next = kernel.is_some() && kernel == made_in && kernel.and_then(|id| id.checked_add(1)) == wanted;
    Ok(row(snapshot).filter(|_| is_next).and_then(|row| row.thin_id.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "0 409600 thin-pool 3 112/1024 0/3200 - rw discard_passdown queue_if_no_space - 256 \n";

    /// What LVM reports of an origin, its pool and a snapshot.
    fn report(pool: u64, snapshot: u64) -> String {
        format!(
            r#"{{"report": [{{"lv": [
                {{"lv_uuid":"aa-1", "thin_id":"", "transaction_id":""}},
                {{"lv_uuid":"bb-2", "thin_id":"1", "transaction_id":"0"}},
                {{"lv_uuid":"cc-3", "thin_id":"", "transaction_id":"{pool}"}},
                {{"lv_uuid":"dd-4", "thin_id":"2", "transaction_id":"{snapshot}"}}]}}]}}"#
        )
    }

    fn found(report: &str, snapshot: &str, status: &str) -> Option<u32> {
        uncounted(report, [snapshot, "cc-3"], status).unwrap()
    }

    #[test]
    fn only_what_lvm_wants_next_and_the_kernel_has_not_counted_is_deleted() {
        assert_eq!(found(&report(4, 3), "dd-4", STATUS), Some(2));
        let counted = STATUS.replace("thin-pool 3", "thin-pool 4");
        for (report, snapshot, status) in [
            (report(4, 3), "dd-4", counted.as_str()),
            (report(5, 3), "dd-4", STATUS),
            (report(4, 2), "dd-4", STATUS),
            (report(4, 3), "bb-2", STATUS),
            (report(4, 3), "aa-1", STATUS),
            (report(4, 3), "gone", STATUS),
            (report(4, 3), "dd-4", "0 409600 thin-pool Fail"),
            (report(4, 3), "dd-4", ""),
        ] {
            assert_eq!(found(&report, snapshot, status), None, "{snapshot} {status}");
        }
        uncounted("", ["dd-4", "cc-3"], STATUS).unwrap_err();
    }
}
