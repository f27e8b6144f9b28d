"""The node agent and a real API server: what ships is applied with kubectl, and the agent runs here
as a process, with a token of the account that ships.

The server is 1.20: it has no ValidatingAdmissionPolicy, and its tokens do not name a node.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned.findings import Finding
from tests.lab.cluster import ACCOUNT, NAMESPACE, install_agent
from tests.lab.controlplane import URL, ControlPlane
from tests.lab.patience import PATIENCE, eventually
from tests.unit.agent.made import IMAGE, host, profile, rule, tuned
from tests.unit.agent.test_agent import applies, frozen, wanted

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HERE = f"--namespace={NAMESPACE}"
AMISS = Finding("tuned-error", "", "for a test")


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as found:
        found.boot()
        install_agent(found)
        yield found


class Site:
    """A Node without a kubelet, its own Tuned, and an agent that runs here as a process."""

    def __init__(self, plane: ControlPlane, paths: Paths, name: str) -> None:
        self.plane, self.paths, self.name = plane, paths, name
        self._folder = paths.root.parent
        self.log = self._folder / "log"
        self._seen = 0
        self._process: subprocess.Popen[bytes] | None = None
        labels = {"lab": name}
        self.create(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        )
        self.request("site")
        (self._folder / "ca.crt").write_text(plane.read("/etc/kubernetes/ca.crt"))
        self.renew()

    def create(self, content: dict[str, Any]) -> None:
        self.plane.kubectl("apply", "--filename=-", input=json.dumps(content))

    def request(self, profile: str, value: int = 5, **metadata: Any) -> None:
        """The Tuned of this node alone."""
        data = {profile: f"[main]\nsummary=x\n[sysctl]\nnet.ipv4.tcp_fin_timeout={value}\n"}
        rules = rule(profile, 20, match=[{"label": "lab", "value": self.name}])
        self.create(tuned(self.name, rules, profiles=data, **metadata))

    def renew(self) -> None:
        """A new token, as the kubelet writes one."""
        token = self.plane.kubectl("create", "token", ACCOUNT, HERE)
        self.write_token(token)

    def write_token(self, token: str) -> None:
        new = self._folder / "new"
        new.write_text(token)
        new.rename(self._folder / "token")

    def command(self, *words: str) -> list[str]:
        """In the network of the control plane."""
        return ["nsenter", f"--net=/proc/{self.plane.leader}/ns/net", sys.executable, *words]

    def start(self, *more: str) -> None:
        """`more`: `--evaluate` if there is no operator."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(
                    "-m", "ocp_tuned_boot.agent", *more, f"--node={self.name}",
                    f"--server={URL}", f"--root={self.paths.root}", f"--image={IMAGE}",
                    f"--token-file={self._folder}/token", f"--ca-file={self._folder}/ca.crt",
                ),
                stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                assert self._process.wait(PATIENCE) == 0
            finally:
                self._process.kill()
                self._process = None

    def node(self) -> dict[str, Any]:
        return self.plane.get("node", self.name)

    def profile(self) -> dict[str, Any]:
        found = self.plane.kubectl("get", "profile", self.name, HERE, "--output=json", check=False)
        return json.loads(found) if found else {}

    def conditions(self) -> dict[str, tuple[str, str]]:
        found = self.profile().get("status", {}).get("conditions", [])
        return {each["type"]: (each["status"], each.get("reason", "")) for each in found}

    def is_degraded(self) -> bool:
        return self.conditions()["Degraded"][0] == "True"

    def says(self, words: str) -> None:
        """Waits until the agent has logged these words since the last time."""
        eventually(lambda: words in self.log.read_text()[self._seen :])
        self.forget()

    def forget(self) -> None:
        """What the agent has logged until now does not count for `says`."""
        self._seen = len(self.log.read_text())

    def is_applied(self, profile: str = "site") -> None:
        """It is requested, the host applies it, and that is reported."""
        eventually(lambda: wanted(self.paths) == profile)
        applies(self.paths)
        eventually(lambda: self.conditions() == APPLIED)
        eventually(lambda: self.profile()["status"].get("tunedProfile") == profile)


APPLIED = {"Applied": ("True", "AsExpected"), "Degraded": ("False", "AsExpected")}


@pytest.fixture
def site(plane: ControlPlane, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)[-60:].strip("-")
    (tmp_path / "root").mkdir()
    found = Site(plane, host(tmp_path / "root"), name)
    try:
        found.start("--evaluate")
        yield found
    finally:
        found.stop()
        # Two Tuneds with different profiles of one name are an error.
        plane.kubectl("delete", "tuned", name, HERE, check=False)
        plane.kubectl("delete", "node", name)


def test_the_server_takes_what_ships_and_the_account_may_do_what_it_needs_only(
    plane: ControlPlane,
) -> None:
    def may(verb: str, what: str, *more: str) -> bool:
        account = f"--as=system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
        said = plane.kubectl("auth", "can-i", verb, what, account, *more, check=False)
        return said.strip() == "yes"

    assert may("list", "tuneds", HERE)
    assert may("create", "profiles", HERE)
    assert may("update", "profiles/status", HERE)
    assert may("patch", "nodes")
    assert may("create", "events", "--namespace=default")
    for verb, what in (
        ("update", "tuneds"), ("delete", "profiles"), ("get", "secrets"), ("create", "pods"),
        ("update", "nodes/status"), ("create", "pods/exec"),
    ):  # fmt: skip
        assert not may(verb, what, HERE), (verb, what)
    assert not may("create", "profiles", "--namespace=default")
    assert plane.get("daemonset", ACCOUNT, HERE)["spec"]["template"]["spec"]["containers"]


def test_from_a_tuned_to_the_profile_and_from_the_record_to_the_status(site: Site) -> None:
    site.is_applied()
    found = site.profile()
    assert found["spec"]["config"]["tunedProfile"] == "site"
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"] == 1
    columns = site.plane.kubectl("get", "profiles", HERE, "--no-headers")
    (row,) = [line.split() for line in columns.splitlines() if line.startswith(site.name)]
    assert row[1:4] == ["site", "True", "False"]
    # The kernel arguments that the record has.
    annotations = site.node()["metadata"]["annotations"]
    assert annotations["tuned.openshift.io/bootcmdline"] == "skew_tick=1"
    events = site.plane.get("events", "--namespace=default")["items"]
    mine = [each["reason"] for each in events if each["involvedObject"]["name"] == site.name]
    assert "TunedApplied" in mine
    # A change is observed when the host has recorded it, and not before.
    site.request("site", 6)
    eventually(lambda: site.profile()["metadata"]["generation"] == 2)
    eventually(lambda: "=6" in (site.paths.profiles / "site/tuned.conf").read_text())
    assert site.profile()["status"]["observedGeneration"] == 1
    applies(site.paths)
    eventually(lambda: site.profile()["status"]["observedGeneration"] == 2)
    # What others do to the status, or to the whole object.
    site.plane.kubectl(
        "patch", "profile", site.name, HERE, "--subresource=status",
        "--type=merge", '--patch={"status": {"tunedProfile": "other", "conditions": []}}',
    )  # fmt: skip
    eventually(lambda: site.conditions() == APPLIED)
    site.plane.kubectl("delete", "profile", site.name, HERE)
    eventually(lambda: site.conditions() == APPLIED)


def test_a_restart_of_the_agent_touches_no_file_and_no_object(site: Site) -> None:
    site.is_applied()
    files, version = frozen(site.paths), site.profile()["metadata"]["resourceVersion"]
    key = "tuned.openshift.io/bootcmdline"
    for _ in range(5):
        site.stop()
        # The last thing that a pass looks at.
        site.plane.kubectl("annotate", "node", site.name, f"{key}-")
        site.start("--evaluate")
        eventually(lambda: key in site.node()["metadata"].get("annotations", {}))
    assert frozen(site.paths) == files
    assert site.profile()["metadata"]["resourceVersion"] == version


_CONFLICT = """
import sys
from pathlib import Path
from ocp_tuned_boot.agent.kube import Kube, Resource, Server
from ocp_tuned_boot.agent.tell import Teller
from ocp_tuned_boot.agent.told import Seen
url, folder, namespace, name = sys.argv[1:]
kube = Kube(Server(url, Path(folder, "token"), Path(folder, "ca.crt")))
profiles = Resource("profiles", "tuned.openshift.io", namespace=namespace)
old = kube.get(profiles, name)
kube.replace(profiles, {**old, "metadata": {**old["metadata"], "labels": {"changed": "since"}}})
new = Teller(kube, name, profiles).status(Seen(problem="for a test"), old)
print(kube.counters.errors, new["metadata"]["labels"], new["status"]["conditions"][1]["message"])
"""


def test_a_status_of_an_object_that_has_changed_since_is_written_at_the_second_try(
    site: Site,
) -> None:
    site.is_applied()
    site.stop()
    arguments = (URL, str(site.log.parent), NAMESPACE, site.name)
    done = subprocess.run(
        site.command("-c", _CONFLICT, *arguments), check=True, capture_output=True, text=True
    )
    assert done.stdout == "{409: 1} {'changed': 'since'} ocp-tuned-agent: for a test\n"


def test_an_account_whose_role_or_token_is_taken_away_gets_on_when_it_is_back(site: Site) -> None:
    site.is_applied()
    site.plane.kubectl("delete", "rolebinding", ACCOUNT, f"{ACCOUNT}-evaluate", HERE)
    applies(site.paths, AMISS)
    site.says(" 403 ")
    install_agent(site.plane)
    eventually(site.is_degraded)
    site.write_token("none")
    applies(site.paths)
    site.says(" 401 ")
    site.renew()
    eventually(lambda: not site.is_degraded())
    # The server remembers a token for some seconds, and does not look at it in an open watch.
    site.plane.kubectl("delete", "serviceaccount", ACCOUNT, HERE)
    site.plane.run("systemctl", "restart", "kube-apiserver.service")
    site.says(" 401 ")
    install_agent(site.plane)
    site.renew()
    site.request("site")
    site.is_applied()


def as_operator(site: Site, name: str, value: int, **config: Any) -> None:
    """Its Profile, as the operator writes it: with all profiles, and one that it selects."""
    text = f"[main]\nsummary=x\n[sysctl]\nnet.ipv4.tcp_fin_timeout={value}\n"
    content = profile(name, {"site": text, "other": text}, **config)
    content["metadata"] = {"name": site.name, "namespace": NAMESPACE}
    site.create(content)


def test_the_profile_of_an_operator_is_followed_and_only_its_status_is_written(site: Site) -> None:
    site.is_applied()
    site.stop()
    as_operator(site, "other", 6)
    site.start()
    site.is_applied("other")
    before = site.profile()
    assert sorted(path.name for path in site.paths.profiles.iterdir()) == ["other", "site"]
    # Tuneds are the operator's. What upstream's operand leaves beside them is not the agent's.
    site.request("site", 7)
    left = site.paths.agent / "recommend.d.bak"
    left.write_text("x\n")
    as_operator(site, "other", 8)
    eventually(lambda: "=8" in (site.paths.profiles / "other/tuned.conf").read_text())
    site.is_applied("other")
    assert left.read_text() == "x\n"
    generation = site.profile()["metadata"]["generation"]
    eventually(lambda: site.profile()["status"]["observedGeneration"] == generation)
    # The generation counts the changes of the spec: that was the operator's.
    after = site.profile()
    assert generation == before["metadata"]["generation"] + 1
    for each in ("labels", "ownerReferences", "finalizers"):
        assert after["metadata"].get(each) == before["metadata"].get(each)
    assert after["spec"]["config"] == before["spec"]["config"]
    # Neither the end of the object nor of the agent takes anything away.
    files = frozen(site.paths)
    site.plane.kubectl("delete", "profile", site.name, HERE)
    site.says("the Profile of this node has gone")
    site.stop()
    assert frozen(site.paths) == files
    as_operator(site, "site", 9)
    site.start()
    site.is_applied("site")


def test_nothing_is_removed_with_the_definitions_of_the_objects(site: Site) -> None:
    # As its objects are deleted one by one, each one that is left is evaluated.
    site.plane.kubectl("delete", "tuned", "default", HERE)
    eventually(lambda: not (site.paths.profiles / "node").exists())
    site.is_applied()
    files = frozen(site.paths)
    site.plane.kubectl("delete", "crd", "profiles.tuned.openshift.io", "tuneds.tuned.openshift.io")
    site.says(" 404 ")
    assert frozen(site.paths) == files
    install_agent(site.plane)
    site.request("site", 7)
    site.is_applied()
    assert "=7" in (site.paths.profiles / "site/tuned.conf").read_text()


@pytest.mark.parametrize("how", ["killed", "stopped", "etcd"])
def test_a_server_that_goes_away_is_followed_again(site: Site, how: str) -> None:
    site.is_applied()
    files = frozen(site.paths)
    unit = "etcd.service" if how == "etcd" else "kube-apiserver.service"
    if how == "killed":
        site.plane.run("systemctl", "kill", "--signal=KILL", unit)
    else:
        site.plane.run("systemctl", "stop", unit)
    site.forget()
    # A status that cannot be written now.
    applies(site.paths, AMISS)
    site.says("cannot update the status ")
    assert frozen(site.paths) == files
    site.plane.run("systemctl", "start", "etcd.service", "kube-apiserver.service")
    site.plane.ready()
    eventually(site.is_degraded)
    site.request("other")
    site.is_applied("other")
