//! mysnap: LVM snapshot backups of MySQL and MariaDB.
