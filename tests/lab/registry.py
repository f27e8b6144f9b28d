"""A real registry (docker-registry) on a node, and TuneD's image in it and nowhere else."""

from __future__ import annotations

from tests.lab.node import Node

IMAGE = "localhost:5000/openshift/tuned:lab"
_SERVICE = "docker-registry.service"


# Debian's own configuration asks for a password, see `lock`.
_CONFIG = "/etc/docker/registry/config.yml"
_OPEN = """\
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: ":5000"}
"""
_ANSWERS = """
import socket, time
while True:
    try:
        socket.create_connection(("localhost", 5000)).close()
        break
    except OSError:
        time.sleep(0.05)
"""


def fill(node: Node, image: str) -> None:
    """Moves an image from the node's storage into the registry, which is stopped then."""
    node.run("cp", _CONFIG, f"{_CONFIG}.locked")
    node.write(_CONFIG, _OPEN)
    start(node)
    node.run("podman", "push", "-q", image, IMAGE)
    node.run("podman", "rmi", "-f", image)
    stop(node)


def start(node: Node) -> None:
    """Returns when it answers."""
    node.run("systemctl", "start", _SERVICE)
    node.run("timeout", "20", "python3", "-c", _ANSWERS)


def lock(node: Node) -> None:
    """From the next start on it asks for a password."""
    node.run("mv", f"{_CONFIG}.locked", _CONFIG)


def stop(node: Node) -> None:
    node.run("systemctl", "stop", _SERVICE)
