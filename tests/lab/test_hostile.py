"""Program, Podman and TuneD on a node whose manager gives every service an odd environment."""

from __future__ import annotations

import json

import pytest

from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.rootfs import SUITES
from tests.lab.test_gate import CONF
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, reloaded

pytestmark = pytest.mark.lab

LIBRARIES = "/etc/lab/lib"
ENVIRONMENT = {
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/etc/lab/python",
    "PYTHONSTARTUP": "/nowhere",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "latin-1",
    "PYTHONMALLOC": "nonsense",
    "LD_LIBRARY_PATH": LIBRARIES,
    "LD_PRELOAD": "/nowhere/preload.so",
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "LC_ALL": "tr_TR.ISO-8859-9",
    "LANG": "xx",
    "TMPDIR": "/nowhere",
    "HOME": "/nowhere",
    "CONTAINER_HOST": "tcp://127.0.0.1:9",
}
#: What is in the way where LD_LIBRARY_PATH counts: of Python's modules, of Podman, of its runtime.
#: Not of systemd, which has to start the node.
IN_THE_WAY = ("libffi.so.8", "libssl.so.3", "libgpgme.so.11", "libyajl.so.2")
LIMITS = "[Service]\nUMask=0077\nLimitNOFILE=64\nLimitSTACK=512K\n"


@pytest.mark.parametrize("suite", SUITES)
def test_a_boot_and_a_reload_end_tuned_whatever_the_environment_is(suite: str) -> None:
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node)
        node.write(CONF, "[tuning]\ngate = closed\n")
        words = " ".join(f'"{name}={value}"' for name, value in ENVIRONMENT.items())
        node.write(
            "/etc/systemd/system.conf.d/hostile.conf", f"[Manager]\nDefaultEnvironment={words}\n"
        )
        node.write("/etc/lab/python/ocp_tuned_boot/__init__.py", "raise SystemExit(1)\n")
        node.write("/etc/lab/python/json.py", "raise SystemExit(1)\n")
        for name in IN_THE_WAY:
            node.write(f"{LIBRARIES}/{name}", "not a library\n", 0o755)
        node.write("/etc/systemd/system/ocp-tuned.service.d/limits.conf", LIMITS)
        node.boot()
        has_ended(node)
        # It is as odd as it is meant to be: what is not protected does not start.
        shown = node.run("systemd-run", "--wait", "--pipe", "-q", "env").stdout.splitlines()
        assert {f"{name}={value}" for name, value in ENVIRONMENT.items()} <= set(shown)
        plain = ("systemd-run", "--wait", "--pipe", "-q")
        assert node.run(*plain, "python3", "-c", "import json", check=False).returncode != 0
        assert node.run(*plain, "podman", "--version", check=False).returncode != 0

        retry = node.run("systemctl", "is-failed", "ocp-tuned-retry.service", check=False)
        assert retry.stdout == "inactive\n"
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] == WANTED
        status = "/run/ocp-tuned-boot/status.json"
        done = json.loads(node.read(status))
        assert (done["result"], done["findings"], done["attempts"]) == ("applied", [], [])
        # Others can read it.
        assert node.run("stat", "-c", "%a", status, "/run/ocp-tuned-boot").stdout == "644\n755\n"
        reloaded(node, PROFILE.replace("tcp_fin_timeout=37", "tcp_fin_timeout=38"))
        assert json.loads(node.read(status))["result"] == "applied"
        assert node.read("/proc/sys/net/ipv4/tcp_fin_timeout") == "38\n"
