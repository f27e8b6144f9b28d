"""The command `ocp-tuned-agent`, which runs in a pod."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ocp_tuned_boot import __version__
from ocp_tuned_boot.agent.agent import Agent, Options
from ocp_tuned_boot.agent.kube import Kube, Server
from ocp_tuned_boot.agent.metrics import Metrics
from ocp_tuned_boot.errors import BootError, ConfigurationError
from ocp_tuned_boot.host import journal
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested.inputs import parse_image_reference

log = logging.getLogger("ocp_tuned_boot.agent")

#: The namespace of the operator, and of its objects.
NAMESPACE = "openshift-cluster-node-tuning-operator"
#: Where the kubelet mounts the token of the pod's service account, and the CA of the server.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit status."""
    journal.in_utf8()
    options = _parser(os.environ).parse_args(arguments)
    journal.set_up_logging(options.verbose, sys.stdout, repeats=True)
    try:
        _run(options, os.environ)
    except ConfigurationError as error:
        journal.print_error(str(error))
        return os.EX_USAGE
    except (BootError, OSError) as error:
        journal.print_error(str(error))
        return os.EX_UNAVAILABLE
    return 0


def _run(options: argparse.Namespace, environment: Mapping[str, str]) -> None:
    if not options.node:
        raise ConfigurationError("found no name of a node, expected --node or NODE_NAME")
    if options.image:
        parse_image_reference(options.image, "--image")
    kube = Kube(_server(options, environment))
    stop = threading.Event()
    chosen = Options(options.node, options.namespace, options.image, options.evaluate)
    paths, metrics = Paths(options.root), _metrics(options.metrics_port)
    agent = Agent(paths, chosen, kube, metrics, partial(_set_verbose, options.verbose))

    def end(*_: object) -> None:
        stop.set()
        agent.desk.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    log.info(
        "ocp-tuned-agent %s, node %s, %s", __version__, options.node,
        "evaluating the Tuneds" if options.evaluate else "following the operator's Profile",
    )  # fmt: skip
    agent.run(stop)


def _set_verbose(always: bool, verbose: bool) -> None:
    logging.getLogger().setLevel(logging.DEBUG if always or verbose else logging.INFO)


def _metrics(port: int) -> Metrics | None:
    """Raises `OSError` for a port that is taken."""
    if not port:
        return None
    import prometheus_client  # noqa: PLC0415  # only if they are wanted

    prometheus_client.start_http_server(port)
    return Metrics(prometheus_client.REGISTRY)


def _server(options: argparse.Namespace, environment: Mapping[str, str]) -> Server:
    """In a pod, what the kubelet says. Raises `ConfigurationError`."""
    if options.server:
        return Server(options.server, options.token_file, options.ca_file)
    host = environment.get("KUBERNETES_SERVICE_HOST")
    if not host:
        raise ConfigurationError(
            "found no KUBERNETES_SERVICE_HOST, expected to run in a pod, or --server"
        )
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Server(
        url, options.token_file or ACCOUNT / "token", options.ca_file or ACCOUNT / "ca.crt"
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ocp-tuned-agent", allow_abbrev=False,
        description="Writes what the Profile of this node says for ocp-tuned-boot, and reports "
        "what ocp-tuned-boot has done.",
    )  # fmt: skip
    add = parser.add_argument
    add("--node", default=environment.get("NODE_NAME", ""), metavar="NAME",
        help="The name of the Node; defaults to $NODE_NAME")  # fmt: skip
    add("--namespace", default=environment.get("WATCH_NAMESPACE") or NAMESPACE, metavar="NAME",
        help="The namespace of the Profiles; defaults to $WATCH_NAMESPACE")  # fmt: skip
    image = environment.get("TUNED_IMAGE") or environment.get("CLUSTER_NODE_TUNED_IMAGE", "")
    add("--image", default=image, metavar="REFERENCE",
        help="The image that contains TuneD; defaults to $TUNED_IMAGE. Without one, boot.conf "
        "decides")  # fmt: skip
    add("--evaluate", action="store_true", help="Evaluate the Tuneds: there is no operator")
    add("--metrics-port", type=int, default=0, metavar="PORT",
        help="Serve metrics for Prometheus on this port")  # fmt: skip
    add("--server", default="", metavar="URL", help="The API server; defaults to that of the pod")
    add("--token-file", type=Path, metavar="FILE", help="The file that contains the token")
    add("--ca-file", type=Path, metavar="FILE", help="The CA certificates of the server")
    add("--root", type=Path, default=Path("/"), metavar="DIR",
        help="Use this directory in place of /")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="Show each step")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
