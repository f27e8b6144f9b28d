"""Day 0: what `render` writes, the real Ignition takes, and the first boot of a node is tuned."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ocp_tuned_boot.commands.render.content import UNITS
from tests.lab.dayzero import agent_files, disable, is_tuned, lies, watched
from tests.lab.dayzero import rendered as document
from tests.lab.node import Node
from tests.lab.rootfs import SUITES

pytestmark = pytest.mark.lab

# Where Debian's package has it: in an initramfs it is /usr/bin/ignition.
ENGINE = "/usr/lib/dracut/modules.d/30ignition/ignition"


def rendered(tmp_path: Path, form: str, suite: str = "trixie") -> Path:
    """The Ignition config in what `render` writes, as a file."""
    made = json.loads(document(tmp_path, form, suite))
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
    disable(node)
    # What is not asked for stays disabled, as on Fedora and RHEL.
    node.write("/etc/systemd/system-preset/90-lab.preset", "disable *\n")
    node.write("/etc/machine-id", "uninitialized\n")
    watched(node)


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
    with Node(suite, image=suite) as node:
        untouched(node)
        ignite(config, node.root)
        is_laid_out(node.root, suite)
        node.boot()
        is_tuned(node)


def is_laid_out(root: Path, suite: str) -> None:
    """Contents, modes and owners, and nothing besides."""
    wanted = agent_files(suite)
    lies(root, wanted)
    agent = root / "var/lib/ocp-tuned"
    found = {str(path.relative_to(root)) for path in agent.rglob("*") if path.is_file()}
    assert found == {name for name in wanted if name.startswith("var/lib/ocp-tuned/")}
    preset = (root / "etc/systemd/system-preset/20-ignition.preset").read_text()
    assert sorted(preset.splitlines()) == [f"enable {unit}" for unit in sorted(UNITS)]
