"""Day 0: what `render` writes, the real Ignition takes, and the first boot of a node is tuned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocp_tuned_boot.commands.render import UNITS
from tests.lab import tunedimage
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.test_boot import SUITES, found_by, property_of
from tests.lab.workload import PROFILE, RESET, WANTED, has_ended, record

pytestmark = pytest.mark.lab

# Where Debian's package has it: in an initramfs it is /usr/bin/ignition.
ENGINE = "/usr/lib/dracut/modules.d/30ignition/ignition"

AGENT = "var/lib/ocp-tuned"
# One value is the script's alone: without its mode it would not be set.
FILES = {
    "site/tuned.conf": (
        PROFILE.replace("vm.stat_interval=7\n", "")
        + "[script]\nscript=${i:PROFILE_DIR}/größe.sh\n"
    ).encode(),
    "site/größe.sh": b'#!/bin/sh\n[ "$1" != start ] || echo 7 > /proc/sys/vm/stat_interval\n',
    "site/blob": bytes(range(256)),
    "site/empty": b"",
}  # fmt: skip
BOOT_CONF = b"[tuning]\ngate = closed\n"


def rendered(tmp_path: Path, form: str, suite: str = "trixie") -> Path:
    """The Ignition config in what `render` writes, as a file."""
    for name, data in FILES.items():
        path = tmp_path / "profiles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o700 if name.endswith(".sh") else 0o600)
    (tmp_path / "boot.conf").write_bytes(BOOT_CONF)
    command: list[str | Path] = [
        sys.executable, "-m", "ocp_tuned_boot", "render", form,
        "--profiles", tmp_path / "profiles", "--profile", "site",
        "--image", tunedimage.name(suite), "--boot-conf", tmp_path / "boot.conf",
    ]  # fmt: skip
    made = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    config = tmp_path / "config.ign"
    # The machine config server gives a node what is in there.
    config.write_text(json.dumps(made["spec"]["config"] if form == "machineconfig" else made))
    return config


@pytest.mark.parametrize("form", ["ignition", "machineconfig"])
def test_ignition_validate_has_nothing_to_say(tmp_path: Path, form: str) -> None:
    done = subprocess.run(
        ["ignition-validate", rendered(tmp_path, form)], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def untouched(node: Node) -> None:
    """As a machine is delivered: the package is there, nothing is enabled or asked for, and it has
    never been switched on, so that systemd follows its presets (machine-id(5), "First Boot")."""
    subprocess.run(["systemctl", f"--root={node.root}", "--quiet", "disable", *UNITS], check=True)
    # What is not asked for stays disabled, as on Fedora and RHEL.
    node.write("/etc/systemd/system-preset/90-lab.preset", "disable *\n")
    node.write("/etc/machine-id", "uninitialized\n")
    node.write("/etc/lab/watch", "".join(f"{path}\n" for path in WANTED))


def ignite(config: Path, root: Path) -> None:
    """What the initramfs does: the config is fetched, checked and cached, then its files are laid
    onto the root. The fetch stage reads the cloud's user data; `file` stands in for a cloud, and,
    at the end, a program that does nothing for `setfiles`: there is no SELinux here."""
    (root / "etc/selinux").mkdir(exist_ok=True)
    (root / "etc/selinux/config").write_text("SELINUXTYPE=targeted\n")
    setfiles = config.with_name("bin") / "setfiles"
    setfiles.parent.mkdir()
    setfiles.write_text("#!/bin/sh\nexec cat > /dev/null\n")
    setfiles.chmod(0o755)
    path = f"{setfiles.parent}:{os.environ['PATH']}"
    for stage in ("fetch", "files"):
        done = subprocess.run(
            [ENGINE, "--platform=file", f"--stage={stage}", f"--root={root}", "--log-to-stdout",
             f"--config-cache={config.with_name('cache')}", "--neednet=/nonexistent",
             f"--state-file={config.with_name('state')}"],
            env={**os.environ, "PATH": path, "IGNITION_CONFIG_FILE": str(config)},
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("suite", "form"), [*zip(SUITES, ("machineconfig", "ignition"))])
def test_the_first_boot_is_tuned_with_no_operator_around(
    tmp_path: Path, suite: str, form: str
) -> None:
    config = rendered(tmp_path, form, suite)
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        untouched(node)
        ignite(config, node.root)
        is_laid_out(node.root, suite)
        node.boot()
        for unit in ("crio", "kubelet"):
            assert found_by(node, unit) == WANTED
        has_ended(node)
        done = record(node)
        assert (done["result"], done["profile"]) == ("applied", "site")
        assert done["boot_id"] == node.boot_id
        for unit in UNITS:
            assert property_of(node, unit, "UnitFileState") == "enabled"
            assert property_of(node, unit, "ActiveState") == "active"


def is_laid_out(root: Path, suite: str) -> None:
    """Contents, modes and owners, and nothing besides."""
    wanted = {
        "etc/ocp-tuned-boot/boot.conf": BOOT_CONF,
        f"{AGENT}/image.env": f"NTO_IMAGE={tunedimage.name(suite)}\n".encode(),
        f"{AGENT}/recommend.d/50-openshift.conf": b"[site]\n",
        **{f"{AGENT}/profiles/{name}": data for name, data in FILES.items()},
    }
    for name, data in wanted.items():
        path = root / name
        assert path.read_bytes() == data
        mode = 0o755 if name.endswith(".sh") else 0o644
        assert (path.stat().st_mode & 0o7777, path.stat().st_uid, path.stat().st_gid) == (
            mode,
            0,
            0,
        )
        assert path.parent.stat().st_mode & 0o7777 == 0o755
    found = {str(path.relative_to(root)) for path in (root / AGENT).rglob("*") if path.is_file()}
    assert found == {name for name in wanted if name.startswith(AGENT)}
    preset = (root / "etc/systemd/system-preset/20-ignition.preset").read_text()
    assert sorted(preset.splitlines()) == [f"enable {unit}" for unit in sorted(UNITS)]
