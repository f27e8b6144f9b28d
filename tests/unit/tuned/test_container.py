"""The requested container, and whether it is the one that Podman created."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Callable, cast

import pytest

from ocp_tuned_boot.errors import HostError, PodmanError
from ocp_tuned_boot.host.clock import OVERRUN, Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import ContainerState, Podman
from ocp_tuned_boot.tuned import container, ours
from ocp_tuned_boot.tuned.container import ContainerSpec, Mount
from ocp_tuned_boot.tuned.layout import Layout
from tests.unit.fake_engine import inspected
from tests.unit.fake_podman import listening, reply
from tests.unit.patience import PATIENCE

LINKED = Layout(links=("/var/lib/ocp-tuned", "/var/lib/tuned"))
#: The operator's image.
OPERATORS = Layout(links=LINKED.links, refills=True)


def mounts(spec: ContainerSpec) -> dict[str, Mount]:
    found = {mount.target: mount for mount in spec.mounts}
    assert len(found) == len(spec.mounts)
    return found


def test_each_mount_of_the_host_has_its_reason() -> None:
    """TuneD runs privileged: what it reaches of the host is a list, not a habit."""
    read_only, writable = True, False
    assert dict(container._HOST_MOUNTS) == {
        # Only because the proposal's unit has it.
        "/var/lib/kubelet": read_only,
        # plugin_modules writes tuned.conf.
        "/etc/modprobe.d": writable,
        # plugin_irqbalance changes irqbalance.
        "/etc/sysconfig": writable,
        # The host's own sysctls win over the profile's (reapply_sysctl).
        "/etc/sysctl.d": read_only,
        "/etc/sysctl.conf": read_only,
        # plugin_systemd writes system.conf.d/00-tuned.conf.
        "/etc/systemd": writable,
        # tuned.pid.
        "/run/tuned": writable,
        # A script of a profile that calls systemctl reaches the host's systemd.
        "/run/systemd": writable,
        # Most plugins write here: [sysfs], [vm], [cpu], [disk], …
        "/sys": writable,
        # modinfo, in plugin_modules and in the script of cpu-partitioning: without it, the first
        # skips every module, and the second removes the host's kvm.rt.tuned.conf.
        "/lib/modules": read_only,
        # udev's database: devices_udev_regex= matches what it says of a device (ID_VENDOR_ID=…).
        "/run/udev": read_only,
    }
    assert len(container._HOST_MOUNTS) == 11


def test_each_mount_of_the_daemonset_is_there_or_has_its_reason(tmp_path: Path) -> None:
    """assets/tuned/manifests/ds-tuned.yaml of the operator, August 2026."""
    of_the_daemonset = {
        "/etc/modprobe.d", "/etc/sysconfig", "/etc/kubernetes", "/etc/sysctl.d", "/etc/sysctl.conf",
        "/etc/systemd", "/etc/tuned", "/run", "/sys", "/tmp", "/lib/modules", "/var/lib/kubelet",
        "/host",
    }  # fmt: skip
    left_out = {
        # The kubelet's credentials on HyperShift, for the operand that follows the API.
        "/etc/kubernetes",
        # In memory, because the root of that container is read-only. Ours is not.
        "/tmp",
        # Of the host's /run, TuneD uses the three below.
        "/run",
        # Of the host's root, the image has links to these two.
        "/host",
    }
    instead = {"/run/tuned", "/run/systemd", "/run/udev",
               "/host/var/lib/ocp-tuned", "/host/var/lib/tuned"}  # fmt: skip
    for contract in ("tuned", "operand"):
        for path in (*of_the_daemonset, *instead):
            (tmp_path / path[1:]).mkdir(parents=True, exist_ok=True)
        spec = container.specify(Paths(tmp_path), contract, "id", OPERATORS)
        assert set(mounts(spec)) == of_the_daemonset - left_out | instead


def test_what_the_host_lacks_is_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    found = mounts(container.specify(Paths(tmp_path), "operand", "id", LINKED))
    assert found == {
        "/host/var/lib/ocp-tuned": Mount(
            f"{tmp_path}/var/lib/ocp-tuned", "/host/var/lib/ocp-tuned"
        ),
        "/host/var/lib/tuned": Mount(f"{tmp_path}/var/lib/tuned", "/host/var/lib/tuned"),
        "/sys": Mount(f"{tmp_path}/sys", "/sys"),
        "/etc/sysctl.d": Mount(f"{tmp_path}/etc/sysctl.d", "/etc/sysctl.d", read_only=True),
    }


def test_the_contract_tuned_has_our_etc_tuned(tmp_path: Path) -> None:
    spec = container.specify(Paths(tmp_path), "tuned", "id", LINKED)
    found = mounts(spec)
    assert found["/etc/tuned"] == Mount(
        f"{tmp_path}/run/ocp-tuned-boot/etc-tuned", "/etc/tuned", executable=True
    )
    # Nothing can be mounted over the dangling links of the operator's image.
    assert "/var/lib/tuned" not in found
    pid_file = "/run/tuned/ocp-tuned-boot.pid"
    assert spec.entrypoint == ("/usr/sbin/tuned", "--no-dbus", "--pid", pid_file)


@pytest.mark.parametrize("contract", ["tuned", "operand"])
def test_an_image_without_the_operators_links_sees_the_hosts_folders_there(
    tmp_path: Path, contract: str
) -> None:
    found = mounts(container.specify(Paths(tmp_path), contract, "id", Layout()))
    assert found["/var/lib/tuned"].source == f"{tmp_path}/var/lib/tuned"
    assert found["/var/lib/ocp-tuned"].source == f"{tmp_path}/var/lib/ocp-tuned"


def test_the_contract_operand_is_upstreams_command(tmp_path: Path) -> None:
    spec = container.specify(Paths(tmp_path), "operand", "id", LINKED)
    assert " ".join(spec.entrypoint) == (
        "/usr/bin/cluster-node-tuning-operator ocp-tuned --in-cluster=false --one-shot=true -v=1"
    )
    # The program fills it from /etc/tuned.orig of the image. Without that, the image has its own.
    assert "/etc/tuned" not in mounts(spec)
    spec = container.specify(Paths(tmp_path), "operand", "id", OPERATORS)
    assert mounts(spec)["/etc/tuned"].source == f"{tmp_path}/run/ocp-tuned-boot/etc-tuned"


@pytest.mark.parametrize("contract", ["tuned", "operand"])
def test_a_guarded_run_starts_with_what_covers_files(tmp_path: Path, contract: str) -> None:
    plain = container.specify(Paths(tmp_path), contract, "id", LINKED)
    spec = container.specify(Paths(tmp_path), contract, "id", LINKED, guarded=True)
    folder = "/run/ocp-tuned-boot/guard"
    assert spec.entrypoint == ("/bin/sh", f"{folder}/enter", *plain.entrypoint)
    # Writable: what TuneD writes to the copies is read afterwards.
    assert {*spec.mounts} - {*plain.mounts} == {Mount(f"{tmp_path}{folder}", folder)}
    # Podman 4 reports the entrypoint as one string.
    assert not any(" " in each for each in spec.entrypoint)


def test_what_tuned_can_write_of_the_host() -> None:
    for path, can in {
        "/proc/irq/7/smp_affinity": True,
        "/sys/a": True,
        "/etc/sysconfig/irqbalance": True,
        "/etc/sysctl.d/x.conf": False,
        "/etc/default/irqbalance": False,
        "/system": False,
    }.items():
        assert container.can_write(path) == can, path


SPEC = ContainerSpec(
    "id", ("tuned", "--no-dbus"), (Mount("/sys", "/sys"), Mount("/a", "/b", read_only=True)),
    {}, "/log",
)  # fmt: skip


def test_what_podman_made_as_asked_has_no_differences() -> None:
    assert container.differences(SPEC, inspected(SPEC)) == []


def test_podman_4_reports_the_entrypoint_as_one_string() -> None:
    seen = inspected(SPEC)
    seen["Config"]["Entrypoint"] = "tuned --no-dbus"
    assert container.differences(SPEC, seen) == []


def test_a_volume_of_the_image_is_no_difference() -> None:
    seen = inspected(SPEC)
    seen["Mounts"].append({"Type": "volume", "Name": "0f", "Source": "/v", "Destination": "/data",
                           "RW": True, "Propagation": "rprivate"})  # fmt: skip
    assert container.differences(SPEC, seen) == []
    # And none is made where Podman can do without.
    assert SPEC.arguments()["image_volume_mode"] == "tmpfs"


def test_systemctl_in_the_container_does_what_it_says() -> None:
    """Without this, it takes the container for a chroot and does nothing: tests/lab/corpus."""
    assert SPEC.arguments()["environment"] == {"SYSTEMD_IGNORE_CHROOT": "1"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("privileged", lambda seen: seen["HostConfig"].update(Privileged=False)),
        ("network", lambda seen: seen["HostConfig"].update(NetworkMode="bridge")),
        ("pid", lambda seen: seen["HostConfig"].update(PidMode="private")),
        ("ipc", lambda seen: seen["HostConfig"].update(IpcMode="private")),
        ("uts", lambda seen: seen["HostConfig"].update(UTSMode="private")),
        ("SELinux label", lambda seen: seen.update(ProcessLabel="system_u:…:container_t:s0")),
        ("entrypoint", lambda seen: seen["Config"].update(Entrypoint=["tuned"])),
        ("user namespace", lambda seen: seen["HostConfig"].update(UsernsMode="private")),
        ("umask", lambda seen: seen["Config"].update(Umask="0077")),
        ("log", lambda seen: seen["HostConfig"]["LogConfig"].update(Type="journald")),
        ("log", lambda seen: seen["HostConfig"]["LogConfig"].update(Path="")),
        # conmon does not start with one.
        ("log", lambda seen: seen["HostConfig"]["LogConfig"].update(Tag="x")),
        ("mounts", lambda seen: seen["Mounts"].pop()),
        ("mounts", lambda seen: seen["Mounts"][1].update(RW=True)),
        ("mounts", lambda seen: seen["Mounts"][0].update(Propagation="rprivate")),
        ("mounts", lambda seen: seen["Mounts"].append({**seen["Mounts"][0], "Destination": "/x"})),
    ],
)
def test_each_difference_is_named(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    seen = copy.deepcopy(inspected(SPEC))
    change(seen)
    (said,) = container.differences(SPEC, seen)
    assert said.startswith(f"{name}: requested ")


def test_a_difference_is_an_error_that_names_where_to_look(tmp_path: Path) -> None:
    class Refusing:
        def create(self, _: dict[str, Any]) -> ContainerState:
            seen = inspected(SPEC)
            seen["HostConfig"]["LogConfig"]["Tag"] = "x"
            return ContainerState("id", {}, "created", 0, 0, False, seen)

    with pytest.raises(PodmanError, match="log: requested ") as raised:
        container.create(cast("Podman", Refusing()), Paths(tmp_path), SPEC)
    assert "containers.conf(5)" in raised.value.hint


def test_what_podman_does_not_remove_in_time_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ours, "CLEARING", 0.05)
    asked: list[str] = []

    def answer(request: str) -> bytes | None:
        asked.append(request)
        return reply(404, "{}") if len(asked) == 1 else None

    with listening(answer) as path, Podman(path, Deadline(PATIENCE)) as podman:
        with pytest.raises(HostError, match="the first failure"):
            with ours.sole(podman, Paths(tmp_path)):
                raise HostError("the first failure")
    words = "cannot remove the container openshift-tuned: Podman did not answer in time"
    assert words in caplog.text
    assert "The next start of ocp-tuned.service removes it." in caplog.text


def test_cleaning_up_ends_soon_after_the_deadline() -> None:
    now = [100.0]
    with listening(lambda _: None) as path:
        with Podman(path, Deadline(60, lambda: now[0])) as podman:
            for passed, allowed in (
                (0, ours.CLEARING), (58, 2 + OVERRUN), (60.5, OVERRUN - 0.5), (65, 0),
            ):  # fmt: skip
                now[0] = 100 + passed
                assert ours.patient(podman).deadline.seconds == allowed
