"""Pulling from a real registry: with a password, through a proxy, and whatever can go wrong."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator

import pytest

from tests.lab import registry
from tests.lab.host import TUNED_CONF, Host, unwrapped
from tests.lab.node import Node
from tests.lab.patience import AMPLE, PATIENCE, at_the_latest

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
IMAGE_ENV = "var/lib/ocp-tuned/image.env"
CONF = "etc/ocp-tuned-boot/boot.conf"
CREDENTIALS = "var/lib/kubelet/config.json"
#: For what is tried again until the deadline: enough for an attempt to end.
SHORT = "[tuning]\ntimeout = 10\n"
PROXY = """\
User tinyproxy
Port 8888
Listen 192.0.2.10
LogFile "/run/tinyproxy.log"
LogLevel Connect
Timeout 60
"""


# Two versions of Podman where they differ: in what is asked of its API.
BOTH = pytest.mark.parametrize("node", SUITES, indirect=True, scope="module")
ONE = pytest.mark.parametrize("node", SUITES[:1], indirect=True, scope="module")


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node whose TuneD image is in its registry, and nowhere else."""
    with Node(request.param, image=request.param) as booted:
        booted.boot()
        registry.fill(booted, f"localhost/tuned:{request.param}")
        registry.start(booted)
        registry.start(booted, shut=True)
        yield booted


@pytest.fixture
def site(host: Host) -> Iterator[Host]:
    """A host without the image, with an empty list of credentials, and with time to pull."""
    host.write(CONF, AMPLE)
    host.write(CREDENTIALS, "{}")
    yield host
    host.node.run("podman", "rmi", "-af")
    host.node.run(
        "systemctl", "stop", "ocp-tuned-podman@shared.service", "lab-front.service", check=False
    )


#: The status at the deadline: in the middle of an attempt, or between two.
LATE = (str(os.EX_TEMPFAIL), str(os.EX_NOINPUT))


def asks(host: Host, image: str) -> str:
    """What comes of asking for an image: all that is said about it."""
    host.write(IMAGE_ENV, f"NTO_IMAGE={image}\n")
    done = host.run("apply")
    return f"{done.returncode} {host.messages()}\n{done.stdout}{done.stderr}"


@BOTH
def test_it_is_pulled_and_it_is_told_how_far_it_has_got(site: Host) -> None:
    site.write("dev/console", "")
    said = asks(site, registry.IMAGE)
    assert said.startswith("0 "), said
    assert f"Pulling the image {registry.IMAGE}: " in site.read("dev/console")
    done = site.status()
    assert (done["result"], done["image_source"]) == ("applied", "registry")
    assert [step["name"] for step in done["steps"]][:5] == [
        "inputs", "podman", "image", "pull", "prepare",
    ]  # fmt: skip
    assert re.search(rf"Pulling the image {registry.IMAGE}: done, .*\d s", said), said
    assert site.run("reload", "--force").returncode == 0
    assert site.status()["image_source"] == "store"


@BOTH
def test_how_far_a_pull_a_load_and_an_export_have_got(site: Host) -> None:
    registry.front(site.node, "slow")
    site.write(IMAGE_ENV, f"NTO_IMAGE={registry.FAULTY}\n")
    said = site.run("image", "fetch").stdout
    if site.node.suite == "trixie":
        lines = re.findall(r"Pulling the image \S+: ([\d.]+) of ([\d.]+) MB, (\d+) %", said)
        assert len(lines) >= 2, said
        assert all(int(percent) == int(100 * float(done) / float(total)) or
                   abs(int(percent) - 100 * float(done) / float(total)) < 2
                   for done, total, percent in lines)  # fmt: skip
        assert re.search(r"Pulling the image \S+: done, [\d.]+ MB in [\d.]+ s", said), said
    else:
        # Podman 4.3 does not count bytes.
        assert re.search(r"Pulling the image \S+: layer 1, Copying blob sha256:", said), said
    assert f"Looking into the image {registry.FAULTY}…" in said
    # Its profiles are known now, although nothing was applied.
    listed = json.loads(site.run("profile", "list", "--json").stdout)
    assert "throughput-performance" in {it["name"] for it in listed["profiles"]}
    archive = "var/lib/ocp-tuned-boot/images/tuned.tar"
    site.write(archive, "")
    exported = site.run("image", "export", f"{site.root}/{archive}")
    assert exported.stdout == f"{registry.FAULTY}\n"
    said = exported.stderr
    assert "Podman sends nothing until the archive is complete" in said
    assert re.search(r"Exporting the image .*: done, [\d.]+ MB in [\d.]+ s", said), said
    site.node.run("podman", "rmi", "-af")
    site.write(CONF, f"{AMPLE}[image]\npull = never\n")
    done = site.run("image", "fetch")
    words = rf"Loading the image {registry.FAULTY} from .*: ([\d.]+) of \1 MB, 100 %; Podman unp"
    assert re.search(words, done.stdout), done.stdout + done.stderr
    listed = site.run("cleanup", "--dry-run").stdout
    assert re.search(rf"  image +{registry.FAULTY}, [\d.]+ MB", listed) is None
    site.write(IMAGE_ENV, "NTO_IMAGE=localhost/another:1\n")
    listed = site.run("cleanup", "--dry-run").stdout
    assert re.search(rf"  image +{registry.FAULTY}, [\d.]+ MB", listed), listed
    assert site.node.run("podman", "images", "-q").stdout.split()


@BOTH
def test_a_password_of_the_kubelets_is_used_and_told_to_nobody(site: Host) -> None:
    registry.trust(site.node)
    repository = registry.LOCKED.rpartition("/")[0]
    # That of another path of the same registry is not ours.
    for path, status in (("registry.lab:5443/other", "66"), (repository, "0")):
        site.write(CREDENTIALS, registry.credentials(path), 0o600)
        said = asks(site, registry.LOCKED)
        assert said.startswith(f"{status} "), said
        assert site.status()["attempts"] == []
    site.write(CREDENTIALS, registry.credentials(repository, "wrong-secret"), 0o600)
    site.node.run("podman", "rmi", "-af")
    said += asks(site, registry.LOCKED)
    for secret in (registry.PASSWORD, "wrong-secret", registry.credentials(repository)[-40:-4]):
        assert secret not in said
        assert secret not in site.node.journal()


#: The forms of containers-auth.json(5): each is taken as `podman pull --authfile` takes it.
GOOD = base64.b64encode(f"{registry.USER}:{registry.PASSWORD}".encode()).decode()
BAD = base64.b64encode(f"{registry.USER}:wrong-secret".encode()).decode()
SERVER, TEAM = "registry.lab:5443", "registry.lab:5443/openshift"


def auths(**of: str) -> dict[str, object]:
    """The entries of the registry, the folder and the repository."""
    keys = {"server": SERVER, "team": TEAM, "repository": f"{TEAM}/small"}
    return {"auths": {keys[name]: {"auth": auth} for name, auth in of.items()}}


FORMS: dict[str, dict[str, object]] = {
    "registry": auths(server=GOOD),
    "namespace": auths(team=GOOD),
    "repository": auths(repository=GOOD),
    "the longest path counts": auths(server=BAD, team=BAD, repository=GOOD),
    "the longest path is wrong": auths(server=GOOD, team=GOOD, repository=BAD),
    "the longest path has none": auths(server=GOOD, repository=""),
    "without a colon": auths(server=GOOD, team="bm8tY29sb24="),
    "another port": {"auths": {"registry.lab:443": {"auth": GOOD}}},
    "no port": {"auths": {"registry.lab": {"auth": GOOD}}},
    "a part of a name": {"auths": {f"{SERVER}/open": {"auth": GOOD}}},
    "an address": {"auths": {f"https://{SERVER}/v1/": {"auth": GOOD}}},
    "an address beside the name": {
        "auths": {f"https://{SERVER}/v1/": {"auth": GOOD}, SERVER: {"auth": BAD}}
    },
    "an address with a path": {"auths": {f"https://{TEAM}": {"auth": GOOD}}},
    "in upper case": {"Auths": {SERVER: {"AUTH": GOOD}}},
    "a broken entry elsewhere": {"auths": {SERVER: {"auth": GOOD}, "other.lab": {"auth": "!"}}},
    "a broken entry for the longest path": auths(server=GOOD, team="!"),
    "a wildcard": {"auths": {"*.lab:5443": {"auth": GOOD}}},
    "line breaks": auths(server=f"{GOOD[:8]}\n{GOOD[8:]}\n"),
    "line breaks of Windows": auths(server=f"{GOOD[:8]}\r\n{GOOD[8:]}"),
    "spaces": auths(server=f"{GOOD[:8]} {GOOD[8:]}"),
    "no padding": auths(
        server=base64.b64encode(f"{registry.USER}:{registry.PASSWORD}\0".encode()).decode()[:-1]
    ),
    "NULs at the end": auths(
        server=base64.b64encode(f"{registry.USER}:{registry.PASSWORD}\0\0".encode()).decode()
    ),
    "an identity token beside": {"auths": {SERVER: {"auth": GOOD, "identitytoken": "x"}}},
    "an identity token alone": {"auths": {SERVER: {"identitytoken": "x"}}},
    "user and password in plain": {
        "auths": {SERVER: {"username": registry.USER, "password": registry.PASSWORD}}
    },
    "an empty entry": {"auths": {SERVER: {}}},
    "no entry": {"auths": {}},
    "a helper that is not there": {"auths": {SERVER: {}}, "credHelpers": {SERVER: "lab"}},
    "more than 256 KiB": {
        "auths": {**{f"{n}.lab": {"auth": GOOD, "email": "x" * 900} for n in range(600)},
                  SERVER: {"auth": GOOD}}
    },
    "nearly 1 MiB": {
        "auths": {**{f"{n}.lab": {"auth": base64.b64encode(b"u:" + b"x" * 720).decode()}
                     for n in range(1040)}, TEAM: {"auth": GOOD}}
    },
}  # fmt: skip
#: More than Podman takes. The file is the kubelet's, which takes them, or ignores only that entry.
MORE: dict[str, dict[str, object]] = {
    "a slash at the end": {"auths": {f"{TEAM}/": {"auth": GOOD}}},
    "a helper beside a password": {**auths(server=GOOD), "credHelpers": {SERVER: "lab"}},
    "a number elsewhere": {"auths": {SERVER: {"auth": GOOD}, "other.lab": {"auth": 5}}},
    "broken helpers": {**auths(server=GOOD), "credHelpers": []},
}


def pulled(site: Host, image: str) -> tuple[bool, bool]:
    """Whether Podman itself can pull the image with these credentials, and whether we can."""
    authfile = f"{site.root}/{CREDENTIALS}"
    done = site.node.run("podman", "pull", "-q", "--authfile", authfile, image, check=False)
    site.node.run("podman", "rmi", "-af")
    said = asks(site, image)
    site.node.run("podman", "rmi", "-af")
    # That there is no TuneD in it is seen when it is there.
    assert ("has no /usr/sbin/tuned" in said) != ("authentication required" in said), said
    return done.returncode == 0, "has no /usr/sbin/tuned" in said


@BOTH
def test_credentials_are_taken_as_podman_takes_them(site: Host) -> None:
    registry.trust(site.node)
    image, found = registry.small(site.node), {}
    for name, form in {**FORMS, **MORE}.items():
        site.write(CREDENTIALS, json.dumps(form), 0o600)
        found[name] = pulled(site, image)
    assert [name for name in FORMS if found[name][0] != found[name][1]] == []
    assert {found[name] for name in MORE} == {(False, True)}
    for name in ("registry", "line breaks", "nearly 1 MiB"):
        assert found[name] == (True, True)


@ONE
def test_without_a_file_of_credentials_it_is_pulled_as_nobody(site: Host) -> None:
    site.node.run("rm", f"{site.root}/{CREDENTIALS}")
    assert asks(site, registry.IMAGE).startswith("0 ")


@ONE
def test_a_certificate_that_nobody_knows_is_refused(site: Host) -> None:
    site.node.run("rm", "-rf", "/etc/containers/certs.d/registry.lab:5443")
    said = asks(site, registry.LOCKED)
    assert said.startswith("66 "), said
    assert "certificate" in site.messages()
    assert "registry.lab:5443" in site.messages()


@BOTH
def test_through_a_proxy_and_only_through_it(site: Host) -> None:
    node = site.node
    node.run("useradd", "-r", "tinyproxy", check=False)
    node.write("/etc/lab/tinyproxy.conf", PROXY)
    node.run("systemd-run", "-q", "--collect", "--unit=lab-proxy", "tinyproxy", "-d",
             "-c", "/etc/lab/tinyproxy.conf")  # fmt: skip
    registry.answers(node, 8888)
    try:
        chain = "{ type filter hook output priority 0; }"
        rule = "add rule inet lab out tcp dport 5000 meta skuid 0 reject with tcp reset"
        node.run("nft", f"add table inet lab; add chain inet lab out {chain}; {rule}")
        site.write(CONF, SHORT)
        assert asks(site, registry.IMAGE).split()[0] in LATE
        assert re.search("connection (refused|reset)", site.messages())
        # As the machine config operator writes it.
        node.write("/etc/mco/proxy.env", "HTTP_PROXY=http://192.0.2.10:8888\n"
                   "HTTPS_PROXY=http://192.0.2.10:8888\nNO_PROXY=.cluster.local\n")  # fmt: skip
        node.run("systemctl", "stop", "ocp-tuned-podman@shared.service")
        site.write(CONF, AMPLE)
        said = asks(site, registry.IMAGE)
        assert said.startswith("0 "), said
    finally:
        node.run("nft", "delete", "table", "inet", "lab", check=False)
        node.run("rm", "-f", "/etc/mco/proxy.env")
        node.run("systemctl", "stop", "lab-proxy.service", check=False)


@ONE
@pytest.mark.parametrize(
    ("mode", "statuses", "words"),
    [
        ("429", ("0",), ""),
        ("500", LATE, "500"),
        ("cut", LATE, "unexpected EOF"),
        ("corrupt", LATE, "corrupt input|[Dd]igest"),
    ],
)
def test_a_registry_that_misbehaves(
    site: Host, mode: str, statuses: tuple[str, ...], words: str
) -> None:
    if statuses == LATE:
        site.write(CONF, "[tuning]\ntimeout = 20\n")
    registry.front(site.node, mode)
    said = asks(site, registry.FAULTY)
    assert said.split()[0] in statuses, said
    assert re.search(words, site.messages())
    if statuses == LATE:
        assert registry.FAULTY in site.messages()
        assert site.node.run("podman", "images", "-q").stdout == ""


@ONE
@pytest.mark.parametrize(
    ("image", "words", "mends"),
    [
        (f"{registry.IMAGE}-not", "manifest unknown", "/var/lib/ocp-tuned/image.env"),
        (registry.IMAGE.replace(":5000", ":5999"), "connection refused", "registry is up"),
        (registry.LOCKED, "authentication required", "/var/lib/kubelet/config.json"),
    ],
)
def test_a_registry_that_refuses(site: Host, image: str, words: str, mends: str) -> None:
    registry.trust(site.node)
    # A registry that is down may come up; what a registry refuses is not tried again.
    passing = words == "connection refused"
    site.write(CONF, SHORT if passing else AMPLE)
    said = asks(site, image)
    assert said.split()[0] in (LATE if passing else ("66",)), said
    assert words in site.messages()
    assert image in site.messages()
    assert mends in site.status()["findings"][0]["advice"]


#: What Podman is asked for, what its configuration says, and what is reported: the cause and what
#: to do. The same another time would fail in the same way.
DROP_IN = "/etc/containers/registries.conf.d/zz-fault.conf"
PERMANENT = {
    "a short name": ("tuned:1", "", "short-name", "full name, with the registry"),
    "an image of the node": ("localhost/gone:1", "", "no registry has images below", "podman load"),
    "a registry that is blocked": (
        "blocked.lab/x/tuned:1", '[[registry]]\nlocation = "blocked.lab"\nblocked = true\n',
        "registry blocked.lab is blocked", "unblock this one",
    ),
    "registries.conf is broken": (
        registry.IMAGE, "[[registry\n", f'"{DROP_IN}": toml', "Fix the named file"
    ),
    "an IPv6 host": ("[2001:db8::1]:5000/tuned:1", "", "invalid reference", "use its host name"),
    "a registry without TLS": (
        registry.IMAGE, '[[registry]]\nlocation = "registry.lab:5000"\ninsecure = false\n',
        "HTTP response to HTTPS client", "insecure = true",
    ),
    "no such image": (f"{registry.IMAGE}-not", "", "manifest unknown", "fix its name"),
    "no credentials": (registry.LOCKED, "", "authentication required", "config.json"),
}  # fmt: skip


@BOTH
def test_what_will_fail_again_is_tried_once(site: Host) -> None:
    node, podman = site.node, "ocp-tuned-podman@shared.service"
    registry.trust(node)
    # Until the deadline there would be time for many attempts.
    site.write(CONF, AMPLE)
    node.run("systemctl", "stop", podman)
    for fault, (image, conf, words, advice) in PERMANENT.items():
        if conf:
            node.write(DROP_IN, conf)
            node.run("systemctl", "stop", podman)
        said = asks(site, image)
        if conf:
            node.run("rm", DROP_IN)
            node.run("systemctl", "stop", podman)
        assert said.startswith("66 "), f"{fault}: {said}"
        (finding,) = site.status()["findings"]
        assert words in finding["message"], f"{fault}: {finding}"
        assert advice in finding["advice"], f"{fault}: {finding}"
        assert site.status()["attempts"] == [], fault


@BOTH
def test_a_podman_that_cannot_start_is_reported_with_its_journal(site: Host) -> None:
    """Its socket accepts requests all the same, and nobody answers them."""
    node, podman = site.node, "ocp-tuned-podman@shared.service"
    site.write(CONF, AMPLE)
    for file in ("/etc/containers/containers.conf.d/fault.conf", "/etc/containers/storage.conf"):
        node.run("systemctl", "stop", podman)
        node.write(file, "[broken\n")
        try:
            said = asks(site, registry.IMAGE)
        finally:
            node.run("rm", file)
        assert said.startswith("69 "), said
        (finding,) = site.status()["findings"]
        assert f"{podman} exits each time" in finding["message"]
        assert f"journalctl -b -u {podman}" in finding["advice"]
        assert "toml" in node.journal(podman)
        assert site.status()["attempts"] == []
    assert asks(site, registry.IMAGE).startswith("0 ")


@ONE
def test_a_network_that_loses_packets_is_given_up_at_the_deadline(site: Host) -> None:
    node = site.node
    site.write(CONF, SHORT)
    chain = "{ type filter hook input priority 0; }"
    rule = "add rule inet lab in tcp dport 5000 drop"
    node.run("nft", f"add table inet lab; add chain inet lab in {chain}; {rule}")
    try:
        said = asks(site, registry.IMAGE)
        assert said.startswith("75 "), said
        # The kernel would try for two minutes.
        assert 4 < site.status()["seconds"] < at_the_latest(10)
        assert "pull" in site.messages()
        passwords_are_left_nowhere(site)
    finally:
        node.run("nft", "delete", "table", "inet", "lab")


def passwords_are_left_nowhere(site: Host) -> None:
    """Not by a Podman that is killed while it pulls, when it has come up again."""
    node, folder = site.node, "/var/lib/ocp-tuned-boot/tmp/shared"
    site.write(CONF, AMPLE)
    site.write(CREDENTIALS, registry.credentials("registry.lab:5000"), 0o600)
    run = site.start("apply")
    script = f"until ls {folder}/auth.json.*; do sleep 0.05; done"
    (left,) = node.run("sh", "-c", script).stdout.split()
    assert node.run("stat", "-c", "%a", folder).stdout == "700\n"
    node.run("systemctl", "kill", "--signal=KILL", "ocp-tuned-podman@shared.service")
    # The run asks again, so it is started again.
    node.run("sh", "-c", f"while test -e {left}; do sleep 0.05; done")
    site.send("TERM")
    run.communicate(timeout=PATIENCE)
    node.run("systemctl", "stop", "ocp-tuned-podman@shared.service")
    assert node.run("find", "/tmp", "/var/tmp", "-name", "auth.json*").stdout == ""


@ONE
def test_a_store_that_is_full(site: Host) -> None:
    store = "/var/lib/ocp-tuned-boot/storage"
    site.node.run("mkdir", "-p", store)
    site.node.run("mount", "-t", "tmpfs", "-o", "size=20m", "lab", store)
    try:
        site.write(CONF, f"{AMPLE}[image]\nstore = own\n")
        said = asks(site, registry.IMAGE)
        assert said.startswith("66 "), said
        assert "no space left on device" in site.messages()
        # More of the same does not help.
        assert site.status()["attempts"] == []
    finally:
        site.node.run("systemctl", "stop", "ocp-tuned-podman@own.service")
        site.node.run("umount", "-R", store)


@ONE
def test_what_is_not_named_by_its_digest_may_be_refused(site: Host) -> None:
    site.write(CONF, f"{AMPLE}[image]\nrequire_digest = yes\n")
    assert asks(site, registry.IMAGE).startswith("78 ")
    assert "is requested by its tag" in site.messages()
    site.node.run("podman", "pull", "-q", registry.IMAGE)
    digest = site.node.run("podman", "inspect", "-f", "{{.Digest}}", registry.IMAGE).stdout.strip()
    site.node.run("podman", "rmi", "-af")
    exact = f"{registry.IMAGE.rpartition(':')[0]}@{digest}"
    assert asks(site, exact).startswith("0 ")
    assert site.status()["image_source"] == "registry"
    wrong = exact[:-4] + "0000"
    site.profile(TUNED_CONF.replace("33", "34"))
    site.write(IMAGE_ENV, f"NTO_IMAGE={wrong}\n")
    site.write(CONF, f"{AMPLE}[image]\nrequire_digest = yes\nfallback = none\n")
    assert site.run("reload").returncode == os.EX_NOINPUT


@ONE
def test_pull_never_and_pull_newer(site: Host) -> None:
    site.write(CONF, f"{AMPLE}[image]\npull = never\n")
    assert asks(site, registry.IMAGE).startswith("66 ")
    assert "pull = never" in site.messages()
    site.write(CONF, f"{AMPLE}[image]\npull = newer\n")
    assert asks(site, registry.IMAGE).startswith("0 ")
    site.node.run("podman", "push", "-q", registry.IMAGE, f"{registry.IMAGE}-old")
    # The tag means another image now.
    site.node.write("/etc/lab/Other", f"FROM {registry.IMAGE}\nLABEL lab=other\n")
    site.node.run("podman", "build", "-q", "-t", f"{registry.IMAGE}-new", "/etc/lab", "-f",
                  "/etc/lab/Other")  # fmt: skip
    site.node.run("podman", "push", "-q", f"{registry.IMAGE}-new", registry.IMAGE)
    before = site.status()["image_id"]
    assert site.run("reload", "--force").returncode == 0
    assert site.status()["image_id"] != before
    # Without a registry the one on the node is good enough.
    registry.stop(site.node)
    assert site.run("reload", "--force").returncode == 0
    assert site.status()["image_source"] == "store"
    registry.start(site.node)
    registry.start(site.node, shut=True)


@ONE
def test_policy_json_decides_which_images_are_trusted(site: Host) -> None:
    policy = "/etc/containers/policy.json"
    before = site.node.run("cat", policy, check=False)
    site.node.write(policy, '{"default": [{"type": "reject"}]}')
    try:
        assert asks(site, registry.IMAGE).startswith("66 ")
        assert "rejected by policy" in site.messages()
        assert "containers-policy.json(5)" in site.status()["findings"][0]["advice"]
        assert site.status()["attempts"] == []
    finally:
        if before.returncode == 0:
            site.node.write(policy, before.stdout)
        else:
            site.node.run("rm", policy)


@BOTH
def test_a_tag_that_moves_leaves_two_images_and_the_current_one_is_there(site: Host) -> None:
    node = site.node
    tags = registry.variants(node, 3)
    site.write(CONF, f"{AMPLE}[image]\npull = newer\n")
    seen = []
    for tag in tags:
        site.write(IMAGE_ENV, f"NTO_IMAGE={registry.retag(node, tag, 'moving')}\n")
        done = site.run("reload", "--force")
        assert done.returncode == 0, done.stdout + done.stderr
        seen.append(f"sha256:{site.status()['image_id']}")
    assert len(set(seen)) == 3
    left = node.run("podman", "images", "-q", "--no-trunc").stdout.split()
    assert sorted(set(left)) == sorted(seen[1:])
    current = node.run("podman", "image", "inspect", "-f", "{{.Id}}",
                       f"{registry.HOST}/{registry.REPOSITORY}:moving").stdout  # fmt: skip
    assert current.strip() == seen[-1].partition(":")[2]


MIRROR = """\
[[registry]]
location = "quay.example/openshift"
[[registry.mirror]]
location = "registry.lab:5443/openshift"
"""


@BOTH
def test_a_mirror_gets_the_credentials_that_are_its_own(site: Host) -> None:
    # As an ImageDigestMirrorSet of OpenShift's ends up on the node.
    mirror = "/etc/containers/registries.conf.d/mirror.conf"
    registry.trust(site.node)
    site.node.write(mirror, MIRROR)
    site.node.run("systemctl", "stop", "ocp-tuned-podman@shared.service")
    site.write(CONF, "[tuning]\ntimeout = 20\n[image]\nfallback = none\n")
    try:
        said = asks(site, "quay.example/openshift/tuned:lab")
        assert said.split()[0] in LATE, said
        # Not only that the one it mirrors is not there.
        assert "registry.lab:5443" in said
        assert "authentication required" in said
        assert "/var/lib/kubelet/config.json" in said
        site.write(CREDENTIALS, registry.credentials("registry.lab:5443"), 0o600)
        site.write(CONF, f"{AMPLE}[image]\nfallback = none\n")
        said = asks(site, "quay.example/openshift/tuned:lab")
        assert said.startswith("0 "), said
    finally:
        site.node.run("rm", mirror)
        site.node.run("systemctl", "stop", "ocp-tuned-podman@shared.service")


@BOTH
def test_an_archive_of_an_image_by_digest_is_found_by_that_digest(site: Host) -> None:
    """Whose manifest is Docker's, as that of OpenShift's payload: in an archive it is another."""
    node, archive = site.node, f"{site.root}/var/lib/ocp-tuned-boot/images/day-0.tar"
    node.run("podman", "pull", "-q", registry.IMAGE)
    node.run("podman", "push", "-q", "--format=v2s2", registry.IMAGE, f"{registry.IMAGE}-docker")
    node.run("podman", "rmi", "-af")
    node.run("podman", "pull", "-q", f"{registry.IMAGE}-docker")
    digest = node.run("podman", "inspect", "-f", "{{.Digest}}", f"{registry.IMAGE}-docker").stdout
    node.run("podman", "rmi", "-af")
    exact = f"{registry.IMAGE.rpartition(':')[0]}@{digest.strip()}"
    site.write(CONF, f"{AMPLE}[image]\nrequire_digest = yes\n")
    assert asks(site, exact).startswith("0 ")
    node.run("mkdir", "-p", archive.rpartition("/")[0])
    assert site.run("image", "export", archive).stdout.strip() == exact
    # What it took for that is gone again.
    names = node.run("podman", "image", "inspect", "-f", "{{.RepoTags}}", exact).stdout
    assert names.strip() == "[]"
    node.run("podman", "rmi", "-af")
    registry.stop(node)
    try:
        done = site.run("reload", "--force")
        assert done.returncode == 0, done.stdout + done.stderr
        assert site.status()["image_source"] == "archive"
        assert site.status()["image"] == exact
        assert site.run("reload", "--force").returncode == 0
        assert site.status()["image_source"] == "store"
        assert f"requested {exact}" in unwrapped(site.run("image", "list").stdout)
    finally:
        registry.start(node)
        registry.start(node, shut=True)
