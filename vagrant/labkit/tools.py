"""What the host needs: installed when that is allowed, else named."""

import os
import shutil
import tempfile
from pathlib import Path

from .errors import LabError
from .paths import locked
from .run import check, say

# program (or file) -> the Debian package that has it
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "busybox": "busybox-static",
    "mke2fs": "e2fsprogs",
    "ssh": "openssh-client",
    "xz": "xz-utils",
    "zstd": "zstd",
    "tar": "tar",
    "setpriv": "util-linux",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
NEEDED_UNPRIVILEGED = {"newuidmap": "uidmap", "unshare": "util-linux"}
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def ensure() -> None:
    """Have every tool, or say which packages are missing."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:{SYSTEM_PATH}"
    if not missing():
        return
    with locked("tools"):
        packages = missing()
        if packages:
            install(packages)


def missing() -> list[str]:
    """The packages whose programs this host lacks."""
    needed = dict(NEEDED)
    if os.geteuid() != 0:
        needed.update(NEEDED_UNPRIVILEGED)
    return sorted({package for tool, package in needed.items() if not present(tool)})


def present(tool: str) -> bool:
    """A path must exist; anything else must be a command."""
    return os.path.exists(tool) if tool.startswith("/") else shutil.which(tool) is not None


def install(packages: list[str]) -> None:
    """Install `packages` with apt, or name the command that would."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LabError(
            f"missing on this host: {' '.join(packages)}",
            f"install them: sudo {' '.join(command)}",
        )
    say(f"installing {' '.join(packages)}")
    apt(["update"])
    try:
        # Or apt solves a conflict by removing another tool that is needed.
        apt([*command[1:], "--no-remove"])
    except LabError as plain:
        install_from_backports(packages, plain)
    still = missing()
    if still:
        raise LabError(f"installed, yet not found: {' '.join(still)}")


def apt(arguments: list[str], options: tuple[str, ...] = ()) -> None:
    """Run apt-get, waiting for whoever else uses dpkg."""
    check(["apt-get", "-q", "-o", "DPkg::Lock::Timeout=240", *options, *arguments],
          env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=900)


def install_from_backports(packages: list[str], plain: LabError) -> None:
    """Install from the release's backports, leaving the host's apt sources alone.

    A host whose qemu-utils came from backports can't take the release's QEMU.
    """
    codename = os_release().get("VERSION_CODENAME")
    if os_release().get("ID") != "debian" or not codename:
        raise plain
    say(f"the release's own packages don't fit here, trying {codename}-backports")
    with tempfile.TemporaryDirectory(prefix="mysnap-lab-apt-") as scratch:
        sources = Path(scratch, "sources.list")
        sources.write_text("".join(
            f"deb {mirror()} {suite} main\n" for suite in (codename, f"{codename}-backports")
        ))
        os.chmod(scratch, 0o755)
        # apt makes it below its own directory only.
        Path(scratch, "lists", "partial").mkdir(parents=True)
        options = (
            "-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=-",
            "-o", f"Dir::State::Lists={scratch}/lists",
        )
        apt(["update"], options)
        apt(["install", "-y", "--no-install-recommends", "-t", f"{codename}-backports",
             *with_qemu_family(packages)], options)


def with_qemu_family(packages: list[str]) -> list[str]:
    """QEMU's packages come from one version or not at all."""
    family = {"qemu-system-x86", "qemu-utils"}
    return sorted({*packages, *family}) if family & {*packages} else packages


def os_release() -> dict[str, str]:
    """The fields of /etc/os-release."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip('"') for key, _, value in pairs}


def mirror() -> str:
    """The Debian mirror: chosen, else the host's own, else the usual one."""
    chosen = os.environ.get("MYSNAP_LAB_MIRROR")
    if chosen:
        return chosen.rstrip("/")
    return host_mirror() or "http://deb.debian.org/debian"


def host_mirror() -> str | None:
    """What this host's apt uses, if the host is a Debian."""
    if os_release().get("ID") != "debian" or shutil.which("apt-get") is None:
        return None
    listing = check(["apt-get", "indextargets", "--format", "$(SITE) $(REPO_URI)",
                     "Created-By: Packages", "Component: main", "Origin: Debian", "Label: Debian"])
    for line in listing.splitlines():
        uri = line.split()[-1].rstrip("/")
        if uri.startswith("http"):
            return uri
    return None
