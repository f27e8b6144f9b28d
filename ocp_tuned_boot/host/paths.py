"""Every path on the host that this program uses, below one root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_SYSCTLS = "/proc/sys/"
# In a key, dots separate names and a slash means a dot (sysctl(8)): the same swap both ways.
_SWAPPED = str.maketrans("./", "/.")


def sysctl_file(key: str) -> str:
    """The file of a sysctl: `net.ipv4.ip_forward` → `/proc/sys/net/ipv4/ip_forward`."""
    return _SYSCTLS + key.translate(_SWAPPED)


def sysctl_key(path: str) -> str:
    """The key of a sysctl's file; any other path is returned unchanged."""
    return path[len(_SYSCTLS) :].translate(_SWAPPED) if path.startswith(_SYSCTLS) else path


@dataclass(frozen=True)
class Paths:
    """The host contract. `root` is `/` on a node; tests use another folder. `agent_folder`, below
    `root`, has the agent's files; `profiles_folder`, if given, has the custom profiles instead."""

    root: Path = Path("/")
    agent_folder: str = "var/lib/ocp-tuned"
    profiles_folder: str = ""

    # Written by the operator's agent, or on day 0.

    @property
    def agent(self) -> Path:
        return self.root / self.agent_folder

    @property
    def agent_next(self) -> Path:
        """All of the agent's files, as they will be: exists only while the agent replaces more than
        one of them."""
        return self.agent / "next"

    @property
    def image_env(self) -> Path:
        return self.agent / "image.env"

    @property
    def profiles(self) -> Path:
        return self.root / (self.profiles_folder or f"{self.agent_folder}/profiles")

    @property
    def recommend(self) -> Path:
        return self.agent / "recommend.d/50-openshift.conf"

    @property
    def provider(self) -> Path:
        return self.agent / "provider"

    @property
    def agent_on_change(self) -> Path:
        """When the agent wants a change to be applied: always, update or never deferred."""
        return self.agent / "on_change"

    @property
    def agent_reapply_sysctl(self) -> Path:
        return self.agent / "reapply_sysctl"

    # The host's.

    @property
    def kubelet_config(self) -> Path:
        """The kubelet's registry credentials."""
        return self.root / "var/lib/kubelet/config.json"

    @property
    def kubelet_settings(self) -> tuple[Path, ...]:
        """Where kubelets are configured: files in YAML or JSON, then those with arguments. Those of
        OpenShift, kubeadm, MicroShift, k3s, RKE2 and MicroK8s."""
        rancher = [
            path
            for folder in ("k3s", "rke2")
            for path in (
                self.root / "etc/rancher" / folder / "config.yaml",
                *sorted((self.root / "etc/rancher" / folder / "config.yaml.d").glob("*.yaml")),
            )
        ]
        names = (
            "var/lib/kubelet/kubeadm-flags.env", "etc/default/kubelet", "etc/sysconfig/kubelet",
            "var/snap/microk8s/current/args/kubelet",
        )  # fmt: skip
        return (
            self.root / "etc/kubernetes/kubelet.conf",
            self.root / "var/lib/kubelet/config.yaml",
            self.root / "etc/microshift/config.yaml",
            *rancher,
            *(self.root / name for name in names),
        )

    @property
    def boot_id(self) -> Path:
        return self.root / "proc/sys/kernel/random/boot_id"

    @property
    def machine_id(self) -> Path:
        return self.root / "etc/machine-id"

    @property
    def product_uuid(self) -> Path:
        """The UUID of this machine that its firmware has; readable by root only."""
        return self.root / "sys/class/dmi/id/product_uuid"

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
    def cpus_present(self) -> Path:
        """The list of CPUs that this machine has."""
        return self.root / "sys/devices/system/cpu/present"

    @property
    def cpuidle(self) -> Path:
        """The idle states of the first CPU; TuneD uses them for all CPUs."""
        return self.root / "sys/devices/system/cpu/cpu0/cpuidle"

    @property
    def sysctl_files(self) -> tuple[Path, ...]:
        """The files that TuneD applies again after its own sysctls: those its container has."""
        return (*sorted((self.root / "etc/sysctl.d").glob("*.conf")), self.root / "etc/sysctl.conf")

    @property
    def tuned_state(self) -> Path:
        return self.root / "var/lib/tuned"

    @property
    def tuned_run(self) -> Path:
        return self.root / "run/tuned"

    @property
    def tuned_pid(self) -> Path:
        """The process ID of a TuneD that was not told to write it elsewhere."""
        return self.tuned_run / "tuned.pid"

    @property
    def own_pid(self) -> Path:
        """The process ID of the TuneD that this program runs."""
        return self.tuned_run / "ocp-tuned-boot.pid"

    @property
    def runtime_unit(self) -> Path:
        """Replaces the unit's file until the next boot (systemd.unit(5))."""
        return self.root / "run/systemd/system/ocp-tuned.service"

    @property
    def console(self) -> Path:
        return self.root / "dev/console"

    # This program's.

    @property
    def vendor_conf(self) -> Path:
        return self.root / "usr/lib/ocp-tuned-boot/boot.conf"

    @property
    def admin_conf(self) -> Path:
        return self.root / "etc/ocp-tuned-boot/boot.conf"

    @property
    def drop_ins(self) -> Path:
        """Its *.conf are read after `admin_conf`."""
        return self.admin_conf.with_name("boot.conf.d")

    @property
    def run(self) -> Path:
        """The state of this boot; it does not survive a reboot."""
        return self.root / "run/ocp-tuned-boot"

    @property
    def etc_tuned(self) -> Path:
        return self.run / "etc-tuned"

    @property
    def status(self) -> Path:
        return self.run / "status.json"

    @property
    def reserve(self) -> Path:
        """Space for the record of a run that fills /run; exists only during the run."""
        return self.run / "reserve"

    @property
    def container_log(self) -> Path:
        """The container's log as conmon writes it (Podman's k8s-file format)."""
        return self.run / "container.log"

    @property
    def tuned_log(self) -> Path:
        """TuneD's log, for people."""
        return self.run / "tuned.log"

    @property
    def conversation(self) -> Path:
        """The folder of the socket to which the program in the container connects."""
        return self.run / "conversation"

    @property
    def daemon(self) -> Path:
        """The container in which TuneD keeps running (`mode = daemon`)."""
        return self.run / "daemon.json"

    @property
    def etc_tuned_beside(self) -> Path:
        """As `etc_tuned`, for a container in which TuneD only says something."""
        return self.run / "etc-tuned-beside"

    @property
    def beside_log(self) -> Path:
        """The log of that container."""
        return self.run / "beside.log"

    @property
    def said(self) -> Path:
        """What TuneD said about the profile that was last applied."""
        return self.run / "said.json"

    @property
    def said_beside(self) -> Path:
        """What TuneD said about a profile that another TuneD of this node may have applied."""
        return self.run / "said-beside.json"

    @property
    def go(self) -> Path:
        """Exists while ocp-tuned-go.service is active: TuneD may be run."""
        return self.root / "run/ocp-tuned-go"

    @property
    def wake_up(self) -> Path:
        """A FIFO, to which ocp-tuned-go.service writes; exists while it is waited for."""
        return self.run / "wake-up"

    @property
    def retried(self) -> Path:
        """Exists if ocp-tuned-retry.service has held the boot (packaging/gate.sh)."""
        return self.run / "retried"

    @property
    def stopped(self) -> Path:
        """The invocation ID of the run whose stop was requested (packaging/gate.sh)."""
        return self.run / "stopped"

    @property
    def kept_pid(self) -> Path:
        """What `tuned_pid` contained before a run that writes it; exists only during the run."""
        return self.run / "tuned.pid"

    @property
    def foreign(self) -> Path:
        """The names of the files of another machine that were removed in this boot."""
        return self.run / "foreign"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def deadline(self) -> Path:
        """When the time of the run that holds `lock` ends (seconds on the monotonic clock)."""
        return self.run / "deadline"

    @property
    def restarts(self) -> Path:
        """One byte for each time that user space was started again in this boot."""
        return self.run / "restarts"

    @property
    def settings(self) -> Path:
        """Each setting's value before TuneD first ran in this boot, and the value applied."""
        return self.run / "settings.json"

    @property
    def guard(self) -> Path:
        """Copies of the files on the hand-over list; exists only during a guarded run."""
        return self.run / "guard"

    @property
    def drift(self) -> Path:
        """When each setting was first found to differ."""
        return self.run / "drift.json"

    @property
    def state(self) -> Path:
        """The state that survives reboots."""
        return self.root / "var/lib/ocp-tuned-boot"

    @property
    def containers(self) -> Path:
        """A file for each container of this program that may exist, by name (tuned/ours.py)."""
        return self.state / "containers"

    @property
    def layouts(self) -> Path:
        """The layout of each image, by image ID."""
        return self.state / "layouts"

    @property
    def history(self) -> Path:
        """The records of the last boots, one file for each."""
        return self.state / "history"

    @property
    def known_images(self) -> Path:
        """The images that this program pulled or loaded."""
        return self.state / "images.json"

    @property
    def own_store(self) -> Path:
        """This program's own container storage (units/ocp-tuned-podman@own.service.d)."""
        return self.state / "storage"

    @property
    def known_images_lock(self) -> Path:
        """Held while the list of known images is rewritten."""
        return self.run / "images.lock"

    @property
    def check_lock(self) -> Path:
        """Held while an image is tried out (`image stage`)."""
        return self.run / "check.lock"

    @property
    def archives(self) -> tuple[Path, ...]:
        """The folders of image archives: the administrator's, then the operating system's."""
        return (self.state / "images", self.root / "usr/share/ocp-tuned-boot/images")

    @property
    def system_profiles(self) -> Path:
        """The custom profiles of the operating system, for a node without an agent."""
        return self.root / "usr/share/ocp-tuned-boot/profiles"

    @property
    def crio_conf(self) -> Path:
        """CRI-O's drop-ins; the folder exists where CRI-O is installed (crio.conf.d(5))."""
        return self.crio / "crio.conf.d"

    @property
    def crio(self) -> Path:
        return self.root / "etc/crio"

    @property
    def last_profile(self) -> Path:
        """The last profile that was applied, with all custom profile files."""
        return self.state / "last-profile.json"

    @property
    def last_good(self) -> Path:
        """The last image that worked."""
        return self.state / "last-good.json"
