"""At every step: Podman goes away, a signal arrives, the program is killed."""

from __future__ import annotations

import signal

import pytest

from tests.lab.host import Host
from tests.lab.patience import AMPLE, PATIENCE
from tests.lab.proxy import Proxy, podman_that

pytestmark = pytest.mark.lab

#: The requests of a run, in order, by the step that they are made in.
REQUESTS = {
    "before": r"^GET .*/containers/openshift-tuned/json",
    "image": r"^GET .*/images/.*/json",
    "layout": r"/archive\?path=%2Fetc%2Ftuned ",
    "create": r"^POST .*/containers/create",
    "start": r"^POST .*/start",
    "running": r"^GET .*/containers/[0-9a-f]{64}/json",
    "wait": r"^POST .*/wait",
}


def use(host: Host, proxy: Proxy) -> None:
    conf = f"{AMPLE}[podman]\nsocket = {proxy.path}\n"
    host.write("etc/ocp-tuned-boot/boot.conf", conf)


@pytest.mark.parametrize("how", ["drop", "drop-answer"])
@pytest.mark.parametrize("step", REQUESTS)
def test_podman_goes_away_and_is_asked_again(host: Host, step: str, how: str) -> None:
    with podman_that(host.node, how, REQUESTS[step], f"{host.root}/podman.sock") as proxy:
        use(host, proxy)
        done = host.run("apply")
        proxy.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    status = host.status()
    assert status["result"] == "applied"
    (attempt,) = status["attempts"]
    assert attempt["kind"] == "podman"
    assert "lost the connection to Podman" in attempt["message"]


def test_podman_whose_socket_comes_later(host: Host) -> None:
    path = f"{host.root}/podman.sock"
    host.write("etc/ocp-tuned-boot/boot.conf", f"{AMPLE}[podman]\nsocket = {path}\n")
    with host.start("apply") as process:
        assert process.stdout is not None
        while "trying again in" not in (line := process.stdout.readline()):
            assert line, "it ended without trying again"
        with podman_that(host.node, "hold", "^NEVER ", path):
            assert process.wait() == 0
    assert host.status()["result"] == "applied"
    assert host.status()["attempts"][0]["kind"] == "podman"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", REQUESTS)
def test_a_signal_at_any_step(host: Host, step: str, number: signal.Signals) -> None:
    with podman_that(host.node, "hold", REQUESTS[step], f"{host.root}/podman.sock") as proxy:
        use(host, proxy)
        process = host.start("apply")
        proxy.wait()
        host.send(number.name)
        # Podman never answers: nothing but the signal ends the run before the deadline.
        assert process.wait(PATIENCE) == -number
    status = host.status()
    assert status["result"] == "failed"
    assert [finding["kind"] for finding in status["findings"]] == ["interrupted"]
    assert status["in_force"] is None


@pytest.mark.parametrize("step", REQUESTS)
def test_killed_at_any_step(host: Host, step: str) -> None:
    with podman_that(host.node, "hold", REQUESTS[step], f"{host.root}/podman.sock") as proxy:
        use(host, proxy)
        process = host.start("apply")
        proxy.wait()
        host.send("KILL")
        assert process.wait() == -signal.SIGKILL
    # The record never claims what did not happen.
    shown = host.run("status")
    assert shown.returncode == 1
    assert not shown.stdout.startswith(("Tuned", "Degraded"))
    host.write("etc/ocp-tuned-boot/boot.conf", "")
    assert host.run("cleanup").returncode == 0
    host.nothing_is_left()
    assert host.run("apply").returncode == 0
    assert host.status()["result"] == "applied"
