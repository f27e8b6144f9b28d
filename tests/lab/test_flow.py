"""The whole flow with real Podman and real TuneD, in a running node; a root for each test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import host as hosts
from tests.lab.host import KNOB_FILE, PROFILE, SCRIPT_CONF, TUNED_CONF, Host
from tests.lab.patience import AMPLE, at_the_latest
from tests.lab.situations import first_kind

pytestmark = pytest.mark.lab

CONTAINER = "openshift-tuned"


@contextmanager
def held(host: Host, *options: str) -> Iterator[subprocess.Popen[str]]:
    """An `apply` that has got as far as the profile's script, and waits there to be let go."""
    host.profile(SCRIPT_CONF, "echo held > /run/tuned/held\nread line < /run/tuned/go\n")
    folder = f"{host.root}/run/tuned"
    host.node.run("mkdir", "-p", folder)
    host.node.run("mkfifo", f"{folder}/held", f"{folder}/go")
    process = host.start("apply", *options)
    try:
        # Blocks until the script opens its end.
        assert host.node.run("cat", f"{folder}/held").stdout == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        host.run("cleanup")


def let_go(host: Host) -> None:
    host.node.run("sh", "-c", f"echo go > {host.root}/run/tuned/go")


def test_a_custom_profile_is_applied_and_on_record(host: Host) -> None:
    done = host.run("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.knob() == "33"

    status = host.status()
    image = host.node.run("podman", "image", "inspect", "-f", "{{.Id}}", hosts.IMAGE).stdout.strip()
    assert status["result"] == "applied"
    assert status["profile"] == PROFILE
    assert status["image_id"] == image
    assert status["boot_id"] == host.node.read("/proc/sys/kernel/random/boot_id").strip()
    assert len(status["fingerprint"]) == 64
    assert status["findings"] == []
    names = [step["name"] for step in status["steps"]]
    steps = ["inputs", "podman", "image", "prepare", "create", "ask", "tuned", "collect", "hold"]
    assert names == steps
    assert all(step["seconds"] >= 0 for step in status["steps"])
    assert sum(step["seconds"] for step in status["steps"]) <= status["seconds"]
    assert status["in_force"]["fingerprint"] == status["fingerprint"]


def test_tuneds_log_is_followed_into_our_output_and_into_tuned_log(host: Host) -> None:
    done = host.run("apply")
    applied = f"static tuning from profile '{PROFILE}' applied"
    assert applied in done.stdout
    assert applied in host.read("run/ocp-tuned-boot/tuned.log")
    assert " stderr F " not in host.read("run/ocp-tuned-boot/tuned.log")


def test_a_second_apply_touches_nothing(host: Host) -> None:
    assert host.run("apply").returncode == 0
    host.node.run("sh", "-c", f"echo 44 > {KNOB_FILE}")
    before = host.status()["in_force"]
    done = host.run("apply")
    assert done.returncode == 0
    assert "Nothing was applied: " in done.stdout
    assert host.knob() == "44"
    assert host.status()["in_force"] == before
    assert host.status()["action"] == "keep"


def test_a_changed_profile_waits_for_a_reload(host: Host) -> None:
    assert host.run("apply").returncode == 0
    host.profile(TUNED_CONF.replace("33", "34"))
    assert host.run("apply").returncode == 0
    assert (host.knob(), host.status()["action"]) == ("33", "defer")
    assert host.run("reload").returncode == 0
    assert (host.knob(), host.status()["action"]) == ("34", "apply")


def test_the_next_boot_applies_again(host: Host) -> None:
    assert host.run("apply").returncode == 0
    host.node.run("sh", "-c", f"echo 44 > {KNOB_FILE}")
    host.write("proc/sys/kernel/random/boot_id", "00000000-0000-4000-8000-000000000000\n")
    assert host.run("apply").returncode == 0
    assert host.knob() == "33"


def test_plan_shows_what_would_be_done_and_touches_nothing(host: Host) -> None:
    before = host.node.run("find", host.root).stdout
    shown = json.loads(host.run("plan", "--json").stdout)
    assert shown["decision"]["action"] == "apply"
    assert shown["image"] == {"reference": hosts.IMAGE, "state": "in Podman's store"}
    command = shown["container"]["entrypoint"]
    assert command[command.index("apply") + 2 :][:2] == ["/usr/sbin/tuned", "--no-dbus"]
    targets = [mount["target"] for mount in shown["container"]["mounts"]]
    assert "/etc/tuned" in targets
    assert hosts.IMAGE in host.run("plan").stdout
    assert host.node.run("find", host.root).stdout == before
    assert CONTAINER not in host.node.run("podman", "ps", "-a").stdout


def test_the_container_is_what_the_proposals_unit_asks_for(host: Host) -> None:
    for folder in ("var/lib/kubelet", "etc/modprobe.d", "etc/sysconfig", "etc/sysctl.d",
                   "etc/systemd", "run/systemd", "sys"):  # fmt: skip
        host.node.run("mkdir", "-p", f"{host.root}/{folder}")
    host.write("etc/sysctl.conf", "")
    with held(host):
        seen = json.loads(host.node.run("podman", "inspect", CONTAINER).stdout)[0]
        let_go(host)
    assert seen["HostConfig"]["Privileged"] is True
    assert seen["HostConfig"]["NetworkMode"] == "host"
    assert seen["HostConfig"]["PidMode"] == "host"
    assert seen["HostConfig"]["IpcMode"] == "host"
    assert seen["HostConfig"]["UTSMode"] == "host"
    assert seen["HostConfig"]["AutoRemove"] is False
    assert seen["Config"]["Labels"]["PODMAN_SYSTEMD_UNIT"] == "ocp-tuned.service"
    assert seen["ProcessLabel"] == ""
    found = {
        (mount["Source"].replace(host.root, ""), mount["Destination"], mount["RW"])
        for mount in seen["Mounts"]
    }
    inside = "/usr/lib/python3/dist-packages/ocp_tuned_boot/inside"
    assert found == {
        ("/var/lib/kubelet", "/var/lib/kubelet", False),
        ("/var/lib/ocp-tuned", "/host/var/lib/ocp-tuned", True),
        ("/var/lib/tuned", "/host/var/lib/tuned", True),
        ("/etc/modprobe.d", "/etc/modprobe.d", True),
        ("/etc/sysconfig", "/etc/sysconfig", True),
        ("/etc/sysctl.d", "/etc/sysctl.d", False),
        ("/etc/sysctl.conf", "/etc/sysctl.conf", False),
        ("/etc/systemd", "/etc/systemd", True),
        ("/run/tuned", "/run/tuned", True),
        ("/run/systemd", "/run/systemd", True),
        ("/sys", "/sys", True),
        # Ours: an image without the operator's links sees the host's folders there, too.
        ("/run/ocp-tuned-boot/etc-tuned", "/etc/tuned", True),
        ("/var/lib/ocp-tuned", "/var/lib/ocp-tuned", True),
        ("/var/lib/tuned", "/var/lib/tuned", True),
        # Ours: the program that asks TuneD what the profile means, and its socket.
        (inside, f"/run/ocp-tuned-boot-inside{inside.partition('-packages')[2]}", False),
        ("/run/ocp-tuned-boot/conversation", "/run/ocp-tuned-boot-inside/conversation", False),
    }
    assert {mount["Propagation"] for mount in seen["Mounts"]} == {"rslave"}


def test_settings_of_the_ipc_namespace_are_the_hosts(host: Host) -> None:
    host.node.run("sysctl", "-w", "kernel.shmmni=4096")
    host.profile(TUNED_CONF + "kernel.shmmni=4097\n")
    assert host.run("apply").returncode == 0
    assert host.node.read("/proc/sys/kernel/shmmni") == "4097\n"


def test_an_unknown_profile_fails(host: Host) -> None:
    host.write("var/lib/ocp-tuned/recommend.d/50-openshift.conf", "[nowhere]\n")
    done = host.run("apply")
    assert done.returncode == 1
    assert host.status()["result"] == "failed"
    assert host.status()["in_force"] is None
    assert 'No profile "nowhere" in ' in host.messages()


def test_a_broken_profile_fails(host: Host) -> None:
    host.profile("[main\n")
    assert host.run("apply").returncode == 1
    assert "Cannot parse '/etc/tuned/lab/tuned.conf'." in host.messages()


def test_a_refused_setting_degrades(host: Host) -> None:
    host.profile(TUNED_CONF + "kernel.this_does_not_exist=1\n")
    done = host.run("apply")
    assert done.returncode == 0
    assert host.knob() == "33"
    assert host.status()["result"] == "degraded"
    assert "kernel.this_does_not_exist" in host.messages()
    assert host.run("status").stdout.startswith("Degraded: tuned before the kubelet: lab")


def test_tuned_that_hangs_is_stopped(host: Host) -> None:
    host.write("etc/ocp-tuned-boot/boot.conf", f"{AMPLE}tuned_timeout = 10\n")
    # The first time it hangs for ever.
    hangs = "test -e /run/tuned/hung || { touch /run/tuned/hung; exec sleep infinity; }\n"
    host.profile(SCRIPT_CONF, hangs)
    done = host.run("apply")
    (attempt,) = host.status()["attempts"]
    assert attempt["kind"] == "timeout"
    assert "did not finish within 10 s" in attempt["message"]
    assert "calling script '/etc/tuned/lab/script.sh'" in attempt["message"]
    assert host.node.run("pgrep", "-f", "sleep infinity", check=False).stdout == ""
    # There was time for another attempt.
    assert (done.returncode, host.status()["result"]) == (0, "applied")


def test_the_one_deadline_bounds_tuned_too(host: Host) -> None:
    host.write("etc/ocp-tuned-boot/boot.conf", "[tuning]\ntimeout = 7\n")
    host.profile(SCRIPT_CONF, "exec sleep infinity\n")
    done = host.run("apply")
    assert done.returncode == os.EX_TEMPFAIL
    assert 3 < host.status()["seconds"] < at_the_latest(7)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_removes_the_container_and_goes_on_record(
    host: Host, number: signal.Signals
) -> None:
    with held(host) as process:
        host.send(number.name)
        # Whoever waits for it sees that it died of the signal (nsenter passes that on).
        assert process.wait() == -number
        assert CONTAINER not in host.node.run("podman", "ps", "-a").stdout
    assert host.status()["result"] == "failed"
    assert host.status()["findings"][0]["kind"] == "interrupted"
    assert host.status()["in_force"] is None


def test_what_a_killed_run_leaves_is_not_called_applied_and_is_cleaned_up(host: Host) -> None:
    with held(host):
        host.send("KILL")
        assert host.status()["result"] == "applying"
        assert host.status()["in_force"] is None
        assert CONTAINER in host.node.run("podman", "ps").stdout
        done = host.run("cleanup")
        assert done.returncode == 0
        assert CONTAINER not in host.node.run("podman", "ps", "-a").stdout


def test_a_leftover_of_ours_is_replaced(host: Host) -> None:
    with held(host):
        host.send("KILL")
        host.profile(TUNED_CONF)
        done = host.run("apply")
        assert done.returncode == 0, done.stderr
        assert host.knob() == "33"
        # What its script has done is not known.
        assert {each["kind"] for each in host.status()["findings"]} <= {"still-set"}


def test_somebody_elses_container_is_refused_and_left_alone(host: Host) -> None:
    host.node.run("podman", "create", "--name", CONTAINER, hosts.IMAGE, "/bin/true")
    try:
        done = host.run("apply")
        assert done.returncode == os.EX_UNAVAILABLE
        assert f"the container {CONTAINER} exists" in done.stderr
        assert f"podman rm -f {CONTAINER}" in done.stderr
        assert host.run("cleanup").returncode == os.EX_UNAVAILABLE
        assert CONTAINER in host.node.run("podman", "ps", "-a").stdout
    finally:
        host.node.run("podman", "rm", CONTAINER)


def test_two_runs_at_once(host: Host) -> None:
    with held(host) as first:
        second = host.run("apply")
        assert second.returncode == os.EX_TEMPFAIL
        assert "another run holds" in second.stderr
        assert host.run("cleanup").returncode == os.EX_TEMPFAIL
        let_go(host)
        assert first.wait() == 0
    assert host.status()["result"] == "applied"


def test_an_image_that_cannot_be_pulled(host: Host) -> None:
    host.write("var/lib/ocp-tuned/image.env", "NTO_IMAGE=localhost:1/no/such:image\n")
    host.write("etc/ocp-tuned-boot/boot.conf", "[tuning]\ntimeout = 10\n")
    done = host.run("apply")
    # By the deadline, between two attempts or in the middle of one.
    assert done.returncode in (os.EX_NOINPUT, os.EX_TEMPFAIL)
    assert "cannot pull localhost:1/no/such:image: " in done.stderr
    assert first_kind(host.status()) == "image"


def test_podmans_socket_missing(host: Host) -> None:
    host.write(
        "etc/ocp-tuned-boot/boot.conf",
        "[podman]\nsocket = /run/nowhere.sock\n[tuning]\ntimeout = 10\n",
    )
    done = host.run("apply")
    assert done.returncode == os.EX_UNAVAILABLE
    assert "cannot reach Podman at /run/nowhere.sock: No such file or directory" in done.stderr
    assert "systemctl status 'ocp-tuned-podman@*.socket'" in done.stderr
    assert host.status()["findings"][0]["kind"] == "podman"


# Accepts connections and says nothing.
SILENT = """
import signal, socket, sys
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    print("listening", flush=True)
    signal.pause()
"""


def test_podman_that_accepts_and_is_silent(host: Host) -> None:
    path = f"{host.root}/silent.sock"
    conf = f"[podman]\nsocket = {path}\n[tuning]\ntimeout = 10\n"
    host.write("etc/ocp-tuned-boot/boot.conf", conf)
    with host.node.popen("python3", "-c", SILENT, path) as silent:
        assert silent.stdout is not None
        assert silent.stdout.readline() == "listening\n"
        done = host.run("apply")
        silent.kill()
    assert done.returncode == os.EX_TEMPFAIL
    assert f"Podman at {path} did not answer in time (inspect image {hosts.IMAGE})" in done.stderr
    assert re.search(r"; the step 'image' took \d+\.\d s of it", done.stderr)
    assert host.status()["findings"][0]["kind"] == "timeout"
    assert host.status()["seconds"] >= 10


def test_a_profile_folder_that_is_missing(host: Host) -> None:
    """Fine for a profile of the image's own; for another it is an unknown profile."""
    host.node.run("rm", "-r", f"{host.root}/var/lib/ocp-tuned/profiles")
    assert host.run("apply").returncode == 1
    assert f'No profile "{PROFILE}" in ' in host.messages()


def test_scripts_run_where_run_is_mounted_noexec(host: Host) -> None:
    run = f"{host.root}/run"
    host.node.run("mkdir", "-p", run)
    host.node.run("mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", run)
    try:
        host.profile(SCRIPT_CONF, "touch /run/tuned/ran\n")
        assert host.run("apply").returncode == 0
        assert host.status()["result"] == "applied", host.messages()
        host.node.run("test", "-e", f"{run}/tuned/ran")
    finally:
        host.node.run("umount", run)


@pytest.mark.parametrize(
    ("options", "words"),
    [("ro", "Read-only file system"), ("size=16k", "No space left on device")],
)
def test_a_run_folder_that_cannot_be_written(host: Host, options: str, words: str) -> None:
    run = f"{host.root}/run"
    host.node.run("mkdir", "-p", run)
    host.node.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", run)
    try:
        done = host.run("apply")
        assert done.returncode == 1
        assert words in done.stderr
        assert f"{run}/ocp-tuned-boot" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        host.node.run("umount", run)


def test_what_an_earlier_run_said_does_not_count(host: Host) -> None:
    assert host.run("apply").returncode == 0
    host.profile(TUNED_CONF + "kernel.this_does_not_exist=1\n")
    assert host.run("reload").returncode == 0
    assert host.status()["result"] == "degraded"
    host.write("var/lib/ocp-tuned/recommend.d/50-openshift.conf", "[nowhere]\n")
    assert host.run("reload").returncode == 1
    assert "applied" not in host.read("run/ocp-tuned-boot/tuned.log")
    first = host.status()["findings"][0]
    assert first["kind"] == "change-failed"
    assert "this_does_not_exist" not in first["message"]
