"""What is too large, broken or full, and a kill at the worst moment: with the real parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.host import IMAGE, SCRIPT_CONF, Host, unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import CommandFailed, Node
from tests.lab.workload import PROFILE, RESET, furnish, record
from tests.unit import tars

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
UNIT = "ocp-tuned.service"
RUN = "/run/ocp-tuned-boot"
RECORD = f"{RUN}/status.json"
FOLDER = "/var/lib/ocp-tuned/profiles/openshift-node-lab"


def shown(node: Node, name: str) -> str:
    return node.run("systemctl", "show", "--value", "-p", name, UNIT).stdout.strip()


def until(node: Node, state: str) -> None:
    node.run(
        "sh", "-c", f'until [ "$(systemctl is-active {UNIT})" = {state} ]; do sleep 0.05; done'
    )


#: The program, which is killed when it begins to compare the values: the unit is ready by then.
KILLED = """\
#!/usr/bin/python3 -IXutf8
import os, signal
from ocp_tuned_boot import cli
from ocp_tuned_boot.settings import values
values.read_back = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
cli.main()
"""
DROP_IN = f"/etc/systemd/system/{UNIT}.d/killed.conf"


@pytest.mark.parametrize("suite", SUITES)
def test_killed_before_the_values_were_compared_the_next_start_compares_them(suite: str) -> None:
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node)
        node.write("/etc/lab/bin/killed", KILLED, 0o755)
        node.write(DROP_IN, "[Service]\nExecStart=\nExecStart=/etc/lab/bin/killed apply\n")
        node.boot()
        until(node, "failed")
        assert shown(node, "Result") == "signal"
        # It was ready, so the kubelet has started. The profile is applied, nothing is compared.
        assert node.witness("kubelet")
        done = record(node)
        assert (done["result"], done["values"]) == ("applied", None)
        assert done["in_force"]["compared"] is False
        node.run("sysctl", "-qw", "net.ipv4.tcp_fin_timeout=50")
        with pytest.raises(CommandFailed, match="have not been compared with the host yet"):
            node.run("ocp-tuned-boot", "drift")
        node.run("rm", DROP_IN)
        node.run("systemctl", "daemon-reload")
        node.run("systemctl", "restart", UNIT)
        done = record(node)
        assert (done["action"], done["result"]) == ("keep", "degraded"), done
        assert [each["subject"] for each in done["findings"]] == ["net.ipv4.tcp_fin_timeout"]
        assert done["in_force"]["compared"] is True
        states = {each["key"]: each["state"] for each in done["values"]}
        assert states["vm.stat_interval"] == "verified"
        drift = unwrapped(node.run("ocp-tuned-boot", "drift").stdout)
        assert "differ from the applied values" in drift


# What fills /run/ocp-tuned-boot from inside the container: a script of the profile.
FILLS = "#!/bin/sh\ncat /dev/zero > /etc/tuned/full\n"
HOLDS = "#!/bin/sh\necho held > /run/tuned/held\nread line < /run/tuned/go\n"
FULL = f"cat /dev/zero > {RUN}/full"


@contextmanager
def small(suite: str, script: str) -> Iterator[Node]:
    """A node whose /run/ocp-tuned-boot has room for little, as in a boot before the first run."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node, PROFILE + "[script]\nscript=${i:PROFILE_DIR}/s.sh\n")
        node.write(f"{FOLDER}/s.sh", "#!/bin/sh\n", 0o755)
        node.boot()
        # The unit starts Podman's sockets again, which are in this folder.
        node.run("systemctl", "stop", UNIT, "ocp-tuned-podman@*")
        node.write(f"{FOLDER}/s.sh", script, 0o755)
        node.run("mount", "-t", "tmpfs", "-o", "size=1M,mode=755", "tmpfs", RUN)
        yield node


@pytest.mark.parametrize("suite", SUITES)
def test_a_run_that_fills_run_is_recorded_with_its_result(suite: str) -> None:
    with small(suite, FILLS) as node:
        node.run("systemctl", "start", UNIT, check=False)
        assert "No space left on device" in node.journal(UNIT)
        done, state = record(node), shown(node, "ActiveState")
        assert (done["result"], state) in (("failed", "failed"), ("degraded", "active")), done
        if state == "failed":
            assert done["findings"]
        # The next run removes what the script has written.
        node.write(f"{FOLDER}/s.sh", "#!/bin/sh\n", 0o755)
        node.run("systemctl", "restart", UNIT)
        assert shown(node, "ActiveState") == "active"


@pytest.mark.parametrize("suite", SUITES)
def test_where_run_is_full_before_nothing_says_that_tuned_is_running(suite: str) -> None:
    with small(suite, HOLDS) as node:
        node.run("sh", "-c", FULL, check=False)
        node.run("systemctl", "start", UNIT, check=False)
        assert shown(node, "ActiveState") == "failed"
        assert "No space left on device" in shown(node, "StatusText") + node.journal(UNIT)
        assert node.run("cat", RECORD, check=False).stdout == ""
        # A run that is killed while TuneD runs, and one after it for which there is no space.
        node.run("rm", f"{RUN}/full")
        node.run("mkfifo", "/run/tuned/held", "/run/tuned/go")
        node.run("systemctl", "start", "--no-block", UNIT)
        assert node.run("cat", "/run/tuned/held").stdout == "held\n"
        node.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
        until(node, "failed")
        assert record(node)["result"] == "applying"
        node.run("rm", "-f", f"{RUN}/reserve")
        node.run("sh", "-c", FULL, check=False)
        node.run("systemctl", "start", UNIT, check=False)
        assert shown(node, "ActiveState") == "failed"
        left = node.run("cat", RECORD, check=False).stdout
        assert left == "" or json.loads(left)["result"] == "failed", left


def test_a_good_archive_beside_bad_ones_is_used(host: Host) -> None:
    folder = "var/lib/ocp-tuned-boot/images"
    host.write(f"{folder}/README", "no archive\n")
    good = f"{host.root}/{folder}/z.tar"
    host.node.run("podman", "save", "-q", "--format", "oci-archive", "-o", good, IMAGE)
    outside = Path(f"{host.node.root}{host.root}/{folder}")
    for number, bomb in enumerate(tars.BOMBS.values()):
        (outside / f"{number}.tar").write_bytes(bomb())
    host.node.run("podman", "rmi", "-f", IMAGE)
    try:
        listed = host.run("image", "list")
        assert listed.returncode == 0, listed.stderr
        assert f"archive {IMAGE}" in unwrapped(listed.stdout)
        done = host.run("apply")
        assert done.returncode == 0, done.stdout + done.stderr
        assert host.status()["image_source"] == "archive"
    finally:
        host.node.run("podman", "load", "-q", "-i", good)


def test_files_of_a_profile_keep_their_modes(host: Host) -> None:
    script = "stat -c %a /etc/tuned/lab/script.sh /etc/tuned/lab/password > /run/tuned/modes\n"
    host.profile(SCRIPT_CONF, script)
    folder = "var/lib/ocp-tuned/profiles/lab"
    host.node.run("chmod", "700", f"{host.root}/{folder}/script.sh")
    host.write(f"{folder}/password", "secret\n", 0o600)
    assert host.run("apply").returncode == 0
    assert host.read("run/tuned/modes") == "700\n600\n"
