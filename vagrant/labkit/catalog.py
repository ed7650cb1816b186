"""The servers that a guest can have. A further one is one entry here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Server:
    """A database server as Debian ships it, and the guest that fits it."""

    suite: str
    packages: tuple[str, ...]
    service: str
    memory_mb: int


SERVERS = {
    "mariadb": Server("trixie", ("mariadb-server", "mariadb-client"), "mariadb", 1024),
    "mysql": Server("sid", ("mysql-server", "mysql-client"), "mysql", 1536),
}
VOLUMES = ("thick", "thin")
FILE_SYSTEMS = ("ext4", "xfs")

SYSTEM_PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "linux-image-cloud-amd64",
    "openssh-server", "openssh-client", "iproute2", "nftables", "iputils-ping",
    "procps", "psmisc", "util-linux", "sudo", "cron", "less",
)
STORAGE_PACKAGES = (
    "lvm2", "thin-provisioning-tools", "dmsetup", "e2fsprogs", "xfsprogs", "rsync",
    "zstd", "strace",
)


def packages(server: Server) -> tuple[str, ...]:
    """Everything that an image for `server` has installed."""
    return SYSTEM_PACKAGES + STORAGE_PACKAGES + server.packages
