"""What containers.conf of the host says does not reach TuneD's container, nor its log."""

from __future__ import annotations

import json

import pytest

from tests.lab.node import Node
from tests.lab.workload import furnish, has_ended, record

pytestmark = pytest.mark.lab

SEEN = "/run/tuned/seen"
LINES = 3000
# What a script of the profile has, and many lines in TuneD's log. Its own output goes elsewhere.
SCRIPT = f"""#!/bin/sh
export LC_ALL=C
{{
    env | grep -v ^_= | sort
    umask
    ulimit -a
    date +%Z
    cat /proc/self/oom_score_adj /proc/self/attr/current
    sed 's/\\t/ /' /proc/self/status | grep -e ^Cap -e ^NoNewPrivs
    ls -d /odd* /dev/odd*
}} > {SEEN} 2>&1
i=0
while [ $i -lt {LINES} ]; do i=$((i+1)); echo "line $i of many, so that the log is long"; done \\
    > /proc/$PPID/fd/2
"""
PROFILE = "[sysctl]\nnet.ipv4.tcp_fin_timeout=37\n[script]\nscript=${i:PROFILE_DIR}/script.sh\n"
CONF = "/etc/containers/containers.conf"
ODD = """\
[containers]
annotations = ["odd.annotation=1"]
apparmor_profile = "odd"
cgroupns = "private"
default_capabilities = ["CHOWN"]
default_sysctls = ["net.ipv4.ping_group_range=0 1"]
default_ulimits = ["nofile=177:177", "nproc=999:999"]
devices = ["/dev/null:/dev/oddnull:rwm"]
env = ["ODD=1", "PATH=/odd"]
env_host = true
init = true
ipcns = "private"
log_driver = "journald"
log_size_max = 8192
mounts = ["type=tmpfs,destination=/oddtmpfs"]
netns = "private"
no_hosts = true
oom_score_adj = 500
pidns = "private"
pids_limit = 50
read_only = true
seccomp_profile = "/etc/containers/odd-seccomp.json"
tz = "Asia/Kolkata"
umask = "0077"
userns = "auto"
utsns = "private"
volumes = ["/etc/odd:/odd"]
[engine]
hooks_dir = ["/etc/containers/odd-hooks"]
"""
#: conmon does not start a container with a log of our kind and a tag.
TAG = '[containers]\nlog_tag = "odd"\n'
HOOK = {
    "version": "1.0.0", "when": {"always": True}, "stages": ["prestart"],
    "hook": {"path": "/bin/sh", "args": ["sh", "-c", "touch /run/hooked"]},
}  # fmt: skip


def prepare(node: Node) -> None:
    furnish(node, PROFILE)
    node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/script.sh", SCRIPT, 0o755)
    node.write("/etc/odd/file", "")
    node.write("/etc/containers/odd-seccomp.json", '{"defaultAction": "SCMP_ACT_ALLOW"}')
    node.write("/etc/containers/odd-hooks/odd.json", json.dumps(HOOK))


def tuned_again(node: Node) -> list[str]:
    """What TuneD's script has seen, with Podman started anew; its log was read whole."""
    node.run("systemctl", "stop", "ocp-tuned-podman@shared.service")
    node.run("rm", "-f", SEEN)
    node.run("ocp-tuned-boot", "reload", "--force")
    done = record(node)
    assert (done["result"], done["findings"]) == ("applied", [])
    log = node.read("/run/ocp-tuned-boot/tuned.log").splitlines()
    assert [line for line in log if line.startswith("line ")] == [
        f"line {number} of many, so that the log is long" for number in range(1, LINES + 1)
    ]
    return node.read(SEEN).splitlines()


def test_containers_conf_of_the_host_changes_nothing() -> None:
    with Node("trixie") as node:
        prepare(node)
        node.boot()
        has_ended(node)
        plain = tuned_again(node)
        node.write(CONF, ODD)
        node.write("/etc/containers/containers.conf.d/tag.conf", TAG)
        assert tuned_again(node) == plain
        assert node.run("ls", "/run/hooked", check=False).returncode != 0


def test_with_podman_4_3_what_matters_is_set_with_the_container() -> None:
    with Node("bookworm", image="bookworm") as node:
        prepare(node)
        node.boot()
        has_ended(node)
        plain = tuned_again(node)
        node.write(CONF, ODD.replace(', "PATH=/odd"', ""))
        odd = tuned_again(node)
        differ = [line.split()[0] for line in odd if line not in plain]
        assert differ == ["ODD=1", "process", "nofiles", "IST", "/odd"]
        # The one default that breaks the container there is named.
        node.write(CONF, TAG)
        node.run("systemctl", "stop", "ocp-tuned-podman@shared.service")
        node.run("ocp-tuned-boot", "reload", "--force", check=False)
        (finding,) = record(node)["findings"]
        assert "log: requested ('k8s-file', " in finding["message"]
