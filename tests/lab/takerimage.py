"""An operator's image with a profile that takes all that others own, by every means TuneD has."""

from __future__ import annotations

from tests.lab import operatorimage
from tests.lab.node import Node

NAME = "localhost/taker:lab"
#: The name of the profile.
PROFILE = "lab-taker"
#: What includes it by a name that only TuneD can compute.
INCLUDE = "lab-${f:exec:printf:taker}"

_CONF = """\
[main]
summary=Takes what others own
[sysctl]
net.ipv4.ip_forward=0
net.core.somaxconn=128
[scheduler]
runtime=0
isolated_cores=1
[irqbalance]
banned_cpus=0-1
[script]
script=${i:PROFILE_DIR}/script.sh
"""
# Takes it, waits until the test says so, and takes it again.
_SCRIPT = """\
#!/bin/sh
take() {
    for file in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding; do
        echo 0 > "$file"
    done
    for file in /proc/irq/default_smp_affinity /proc/irq/*/smp_affinity; do echo 2 > "$file"; done
    echo 128 > /proc/sys/net/core/somaxconn
    echo IRQBALANCE_BANNED_CPULIST=0-1 > /etc/sysconfig/irqbalance
}
take
cat /proc/sys/net/ipv4/ip_forward /etc/sysconfig/irqbalance > /run/tuned/held
read -r line < /run/tuned/go
take
"""
#: What the script sees of what it took.
TAKEN = "0\nIRQBALANCE_BANNED_CPULIST=0-1\n"
# All that TuneD's irqbalance plugin needs of it. Debian does not package the module.
_PERF = "import os\n\n\ndef cpu_map():\n    return list(range(os.cpu_count()))\n"


def make(node: Node, image: str) -> str:
    """Makes it of this TuneD image, on this node, and returns its name."""
    operator = operatorimage.make(node, image)
    folder = f"/usr/lib/tuned/{PROFILE}"
    files = {
        f"{folder}/tuned.conf": _CONF, f"{folder}/script.sh": _SCRIPT,
        "/usr/lib/python3/dist-packages/perf.py": _PERF,
    }  # fmt: skip
    lines = [f"set -e; mkdir {folder}"]
    for path, text in files.items():
        lines.append(f"cat > {path} <<'END_OF_FILE'\n{text}END_OF_FILE")
    # Debian's TuneD writes /etc/default/irqbalance.
    constants = "/usr/lib/python3/dist-packages/tuned/consts.py"
    lines.append(f"sed -i s,/etc/default/irqbalance,/etc/sysconfig/irqbalance, {constants}")
    script = "\n".join([*lines, f"chmod 755 {folder}/script.sh"])
    node.run("podman", "run", "--name", "taker", "--net=host", operator, "sh", "-c", script)
    # As the operator's image has it: without it, systemctl does nothing in a container.
    change = "ENV SYSTEMD_IGNORE_CHROOT=1"
    node.run("podman", "commit", "-q", "--change", change, "taker", NAME)
    node.run("podman", "rm", "taker")
    return NAME
