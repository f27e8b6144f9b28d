"""Every host path this program knows, all under one root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_SYSCTLS = "/proc/sys/"
# Dots are slashes, and a slash in a name is a dot (sysctl(8)): the same swap both ways.
_SWAPPED = str.maketrans("./", "/.")


def sysctl_file(key: str) -> str:
    """The file of a sysctl: `net.ipv4.ip_forward` → `/proc/sys/net/ipv4/ip_forward`."""
    return _SYSCTLS + key.translate(_SWAPPED)


def sysctl_key(path: str) -> str:
    """The other way; a path that is no sysctl's stays as it is."""
    return path[len(_SYSCTLS) :].translate(_SWAPPED) if path.startswith(_SYSCTLS) else path


@dataclass(frozen=True)
class Paths:
    """The host contract. `root` is `/` on a node; tests use a folder of their own."""

    root: Path = Path("/")

    # Written by the operator's agent, or on day 0.

    @property
    def agent(self) -> Path:
        return self.root / "var/lib/ocp-tuned"

    @property
    def image_env(self) -> Path:
        return self.agent / "image.env"

    @property
    def profiles(self) -> Path:
        return self.agent / "profiles"

    @property
    def recommend(self) -> Path:
        return self.agent / "recommend.d/50-openshift.conf"

    @property
    def provider(self) -> Path:
        return self.agent / "provider"

    # The host's own.

    @property
    def kubelet_config(self) -> Path:
        """Credentials for registries."""
        return self.root / "var/lib/kubelet/config.json"

    @property
    def boot_id(self) -> Path:
        return self.root / "proc/sys/kernel/random/boot_id"

    @property
    def kernel_cmdline(self) -> Path:
        return self.root / "proc/cmdline"

    @property
    def own_cgroup(self) -> Path:
        return self.root / "proc/self/cgroup"

    @property
    def cgroups(self) -> Path:
        return self.root / "sys/fs/cgroup"

    @property
    def cpu_dma_latency(self) -> Path:
        return self.root / "dev/cpu_dma_latency"

    @property
    def cpuidle(self) -> Path:
        """The idle states of the first CPU, as TuneD takes them for all."""
        return self.root / "sys/devices/system/cpu/cpu0/cpuidle"

    @property
    def sysctl_files(self) -> tuple[Path, ...]:
        """What TuneD re-applies after its own sysctls: those that its container sees."""
        return (*sorted((self.root / "etc/sysctl.d").glob("*.conf")), self.root / "etc/sysctl.conf")

    @property
    def tuned_state(self) -> Path:
        return self.root / "var/lib/tuned"

    @property
    def tuned_run(self) -> Path:
        return self.root / "run/tuned"

    @property
    def runtime_unit(self) -> Path:
        """In the place of our unit's file, until the next boot (systemd.unit(5))."""
        return self.root / "run/systemd/system/ocp-tuned.service"

    @property
    def console(self) -> Path:
        return self.root / "dev/console"

    # Ours.

    @property
    def vendor_conf(self) -> Path:
        return self.root / "usr/lib/ocp-tuned-boot/boot.conf"

    @property
    def admin_conf(self) -> Path:
        return self.root / "etc/ocp-tuned-boot/boot.conf"

    @property
    def run(self) -> Path:
        """This boot's own state; gone with the next."""
        return self.root / "run/ocp-tuned-boot"

    @property
    def etc_tuned(self) -> Path:
        return self.run / "etc-tuned"

    @property
    def status(self) -> Path:
        return self.run / "status.json"

    @property
    def container_log(self) -> Path:
        """What conmon writes (podman's k8s-file format)."""
        return self.run / "container.log"

    @property
    def tuned_log(self) -> Path:
        """What TuneD said, line by line, for people."""
        return self.run / "tuned.log"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def settings(self) -> Path:
        """What each setting was before TuneD first ran in this boot, and what we made of it."""
        return self.run / "settings.json"

    @property
    def handover(self) -> Path:
        """What has to be put back, while a guarded run is under way."""
        return self.run / "handover.json"

    @property
    def drift(self) -> Path:
        """When each setting was first seen to differ."""
        return self.run / "drift.json"

    @property
    def state(self) -> Path:
        """What survives reboots."""
        return self.root / "var/lib/ocp-tuned-boot"

    @property
    def layouts(self) -> Path:
        """What was found inside each image, by image ID."""
        return self.state / "layouts"

    @property
    def history(self) -> Path:
        """What was done in the last boots, a file for each."""
        return self.state / "history"

    @property
    def known_images(self) -> Path:
        """The images that this program pulled or loaded."""
        return self.state / "images.json"

    @property
    def own_store(self) -> Path:
        """Container storage of our own (units/ocp-tuned-podman-own.service)."""
        return self.state / "storage"

    @property
    def known_images_lock(self) -> Path:
        """Held while that list is read and written anew."""
        return self.run / "images.lock"

    @property
    def check_lock(self) -> Path:
        """Held while an image is tried."""
        return self.run / "check.lock"

    @property
    def archives(self) -> tuple[Path, ...]:
        """Folders of image archives: the admin's, and what came with the operating system."""
        return (self.state / "images", self.root / "usr/share/ocp-tuned-boot/images")

    @property
    def crio_conf(self) -> Path:
        """CRI-O's drop-ins; the folder is there where CRI-O is (crio.conf.d(5))."""
        return self.root / "etc/crio/crio.conf.d"

    @property
    def last_good(self) -> Path:
        """The last image that worked."""
        return self.state / "last-good.json"
