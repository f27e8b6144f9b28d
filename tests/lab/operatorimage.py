"""A stand-in for the operator's image, which is not to be had here, made on a node from TuneD's."""

from __future__ import annotations

from tests.lab.node import Node

NAME = "localhost/operator:lab"
# What the operator's image does to TuneD's files, and a wrapper that logs in the form of the real
# one and, as that does, exits 0 after every failure.
_FILES = r"""
set -e
rm -rf /etc/tuned/recommend.d /var/lib/tuned
echo auto > /etc/tuned/profile_mode
printf '%s\n' 'rollback = not_on_exit' \
    'profile_dirs = /usr/lib/tuned/profiles,/usr/lib/tuned,/var/lib/ocp-tuned/profiles' \
    >> /etc/tuned/tuned-main.conf
if [ "$0" = new ]; then
    mv /etc/tuned /etc/tuned.orig
    ln -s /host/var/lib/ocp-tuned /var/lib/ocp-tuned
    ln -s /host/var/lib/tuned /var/lib/tuned
fi
cat > /usr/bin/cluster-node-tuning-operator <<'WRAPPER'
#!/bin/sh
[ "$*" = "ocp-tuned --in-cluster=false --one-shot=true -v=1" ] || exit 64
echo "I1123 22:30:36.610691   16156 controller.go:1774] starting out-of-cluster" >&2
if [ -d /etc/tuned.orig ]; then  # rsync --delete -av /etc/tuned.orig/ /etc/tuned
    mkdir -p /etc/tuned
    find /etc/tuned -mindepth 1 -delete
    cp -a /etc/tuned.orig/. /etc/tuned
fi
ln -s /var/lib/ocp-tuned/recommend.d /etc/tuned/recommend.d
sed -i 's/^daemon *=.*/daemon = 0/' /etc/tuned/tuned-main.conf
/usr/sbin/tuned --no-dbus
case $? in
    0) exit ;;
    137) how="signal: killed" ;;
    *) how="exit status $?" ;;
esac
head="E1123 22:30:37.171888   16156 controller.go:1784]"
echo "$head failed to run TuneD in one-shot mode: error waiting for tuned: $how" >&2
WRAPPER
chmod 755 /usr/bin/cluster-node-tuning-operator
"""


def make(node: Node, image: str, age: str = "new") -> str:
    """Makes it of this TuneD image, on this node, and returns its name. An "old" one, of before
    November 2024, has its files in /etc/tuned and no links."""
    name = f"{NAME}-{age}"
    node.run("podman", "run", "--name", "make", "--net=host", image, "sh", "-c", _FILES, age)
    node.run("podman", "commit", "-q", "make", name)
    node.run("podman", "rm", "make")
    return name
