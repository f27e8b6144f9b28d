"""A profile that does not exist: what is said of each mistake on a real node, with real TuneD, and
that it is right."""

from __future__ import annotations

import json
import re

import pytest

from tests.lab.host import IMAGE, PROFILE, TUNED_CONF, Host
from tests.lab.node import Node

pytestmark = pytest.mark.lab

PROFILES = "var/lib/ocp-tuned/profiles"
RECOMMEND = "var/lib/ocp-tuned/recommend.d/50-openshift.conf"
UNIT = "ocp-tuned.service"


def said(host: Host) -> str:
    """What `apply` says of the profile, which is what `plan` says before it and after it."""
    assert host.run("apply").returncode == 1
    (found,) = host.status()["findings"]
    assert found["kind"] in ("unknown-profile", "missing-include")
    words = f"{found['message']}. {found['advice']}"
    assert words in json.loads(host.run("plan", "--json").stdout)["notes"]
    assert f"or in the image {IMAGE}. It is named in " in words
    return words


def put_right(host: Host, words: str) -> None:
    """Types what is said."""
    (command,) = re.findall(r"\(((?:mv|cp|mkdir) .*)\), then: ", words)
    host.node.run("sh", "-ec", command)
    assert host.run("apply").returncode == 0, host.messages()
    assert host.status()["result"] == "applied", host.messages()


@pytest.mark.parametrize(
    ("written", "meant"), [("lba", PROFILE), ("throughput-perfomance", "throughput-performance")]
)
def test_a_name_with_a_typing_error(host: Host, written: str, meant: str) -> None:
    host.write(RECOMMEND, f"[{written}]\n")
    assert f'{RECOMMEND}. Did you mean "{meant}"? Write {meant} there, then: ' in said(host)


def test_an_include_with_a_typing_error(host: Host) -> None:
    host.profile("[main]\ninclude=balancde\n")
    words = said(host)
    assert f"It is named in include= in {host.root}/{PROFILES}/{PROFILE}/tuned.conf. " in words
    assert 'Did you mean "balanced"? Write balanced there, then: ' in words


@pytest.mark.parametrize(
    ("lies", "sentence"),
    [
        ("etc/tuned/profiles/other/tuned.conf", "is in {root}/etc/tuned/profiles/other, where "),
        ("etc/tuned/other/tuned.conf", "is in {root}/etc/tuned/other, where "),
        ("usr/lib/tuned/other/tuned.conf", "is in {root}/usr/lib/tuned/other, where "),
        ("var/lib/ocp-tuned/other/tuned.conf", "is in {root}/var/lib/ocp-tuned/other, where "),
        (f"{PROFILES}/a/other/tuned.conf", "/profiles/a/other, which is one folder too deep"),
        (f"{PROFILES}/other.conf", "/profiles/other.conf is a file, and a profile is a folder"),
        (f"{PROFILES}/other", "/profiles/other is a file, and a profile is a folder"),
        (f"{PROFILES}/tuned.conf", "/profiles/tuned.conf is a file, and a profile is a folder"),
        (f"{PROFILES}/other/other.conf", "has other.conf, but no tuned.conf"),
    ],
    # The root is named after them, and is in each command: a place with a long name is not shown.
    ids=map(str, range(9)),
)
def test_a_profile_in_the_wrong_place(host: Host, lies: str, sentence: str) -> None:
    host.write(lies, TUNED_CONF)
    host.write(RECOMMEND, "[other]\n")
    words = said(host)
    assert sentence.format(root=host.root) in words
    put_right(host, words)
    assert host.knob() == "33"


def test_drop_ins_that_contradict_each_other_in_the_status_line_and_the_journal(
    node: Node,
) -> None:
    folder = "/etc/ocp-tuned-boot/boot.conf.d"
    node.write(f"{folder}/10-a.conf", f"[tuning]\nimage = {IMAGE}\nprofile = balanced\n")
    node.write(f"{folder}/20-b.conf", "[tuning]\nprofile = nowhere\n")
    try:
        node.run("systemctl", "start", UNIT, check=False)
        status = node.run("systemctl", "show", "--value", "--property=StatusText", UNIT).stdout
        words = (
            f"It is named in [tuning] of {folder}/20-b.conf. "
            f"profile = balanced in {folder}/10-a.conf has no effect: "
            f"{folder}/20-b.conf sets profile = nowhere. "
        )
        does = f'remove profile = nowhere from {folder}/20-b.conf to use "balanced"'
        for text in (
            status,
            node.run("journalctl", "-b", "-o", "cat", "-u", UNIT).stdout,
            " ".join(node.run("ocp-tuned-boot", "status", check=False).stdout.split()),
            " ".join(node.run("ocp-tuned-boot", "profile", "list").stdout.split()),
        ):
            assert 'No profile "nowhere" in /var/lib/ocp-tuned/profiles or in the image ' in text
            assert words in text
            assert does in text
    finally:
        node.run("rm", "-r", folder)
        node.run("systemctl", "stop", UNIT)
        node.run("systemctl", "reset-failed", UNIT, check=False)


def test_profiles_are_listed_for_somebody_who_is_not_root_and_without_podman(host: Host) -> None:
    host.profile(TUNED_CONF.replace("[sysctl]", "include=balanced\n[sysctl]"))
    host.write(f"{PROFILES}/powersave/tuned.conf", "[main]\nsummary=of this site\n")
    assert host.run("apply").returncode == 0, host.messages()
    host.node.run("chmod", "-R", "a+rX", host.root)
    host.node.run("systemctl", "stop", "ocp-tuned-podman@shared.socket")
    try:
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        command = host.command("profile", "list", "--json")
        found = json.loads(host.node.run(*nobody, *command).stdout)
        shown = host.node.run(*nobody, *host.command("profile", "list")).stdout
    finally:
        host.node.run("systemctl", "start", "ocp-tuned-podman@shared.socket")
    assert (found["requested"], found["applied"], found["image"]) == (PROFILE, PROFILE, IMAGE)
    assert found["named_in"] == f"{host.root}/{RECOMMEND}"
    assert (found["is_known"], found["notes"]) == (True, [])
    rows = {(it["name"], it["where"]): it for it in found["profiles"]}
    assert rows[PROFILE, "node"]["summary"] == "for tests"
    assert rows[PROFILE, "node"]["includes"] == ["balanced"]
    assert rows["powersave", "node"]["shadows"].startswith("/usr/lib/tuned/")
    assert not rows["powersave", "image"]["used"]
    assert rows["balanced", "image"]["summary"]
    assert f"  {PROFILE} (requested, applied)\n" in shown
