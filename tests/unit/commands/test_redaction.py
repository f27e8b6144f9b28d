"""No secret that is planted in a text is in what is left of it, and what is none remains."""

from __future__ import annotations

import base64
import json
import time

import pytest

from ocp_tuned_boot.commands.redaction import (
    REMOVED,
    is_for_secrets,
    redacted,
    redacted_json,
    secrets_in,
)
from tests.unit.patience import no_hang

S = "hunter2-Tr0ub4dor"
B64 = base64.b64encode(f"admin:{S}".encode()).decode()
DOCUMENT = base64.b64encode(json.dumps({"auths": {"r": {"auth": B64}}}).encode()).decode()

PLANTED = {
    "key and value": f"password = {S}",
    "value of several words": f"password = one two {S}",
    "part of a name": f"REGISTRY_PASSWORD={S}",
    "in quotes": f'"db_passwd": "{S}",',
    "yaml": f"  token: {S}",
    "on the next line": f"password:\n  {S}\nnext = 1",
    "a block": f"secret: |\n  one\n  {S}\nnext = 1",
    "continued": f"password = \\\n{S}\nnext = 1",
    "continued after a part": f"password = a\\\n{S}\nnext = 1",
    "in a comment": f"# the password for the mirror is {S}",
    "an option": f"podman login --password {S} reg.example",
    "an option with =": f"podman login --password={S} reg.example",
    "user of curl": f"curl -u admin:{S} https://x.example/",
    "user of curl, together": f"curl -uadmin:{S} https://x.example/",
    "a URL": f"image = https://admin:{S}@registry.example/tuned",
    "a URL with @ in the password": f"http://admin:a@{S}@proxy.example:3128",
    "a URL with / in the password": f"http://admin:a/{S}@proxy.example:3128",
    "only a token in a URL": f"https://{S}@registry.example/v2/",
    "a proxy": f"HTTPS_PROXY=admin:{S}@proxy.example:3128",
    "a header": f"> Authorization: Basic {B64}",
    "a bearer": f"> something Bearer {S}",
    "an auth entry": f'      "auth": "{B64}"',
    "base64 alone": f"sent {B64} to the registry",
    "base64 of a document": f"X-Registry-Config {DOCUMENT}",
    "base64 of base64": f"x {base64.b64encode(DOCUMENT.encode()).decode()}",
    "an API key": f"api_key: {S}",
    "a private key": f"-----BEGIN EC PRIVATE KEY-----\n{S}\n-----END EC PRIVATE KEY-----\n",
    "a private key that is cut off": f"-----BEGIN PRIVATE KEY-----\n{S}",
    "a web token": f"got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{S}",
    "a token of OpenShift": f"oc login --server x sha256~{S}-and-more-of-it",
    "a sysctl that is a secret": f"net.ipv4.tcp_fastopen_key = {S}",
    "another one": f"net.ipv6.conf.all.stable_secret={S}",
    "a passphrase": f"luks passphrase {S}",
    "an ini of several": f"[a]\nuser=x\npass={S}\n",
    "upper case": f"PASSWORD={S}",
    "after control characters": f"pass\x1b[0mword x\npassword\x1b[1m = {S}",
}


@pytest.mark.parametrize("text", PLANTED.values(), ids=PLANTED.keys())
def test_what_is_planted_is_removed(text: str) -> None:
    left = redacted(text)
    assert S not in left
    assert B64 not in left
    assert REMOVED in left
    if "next = 1" in text:
        assert left.endswith("next = 1")


@pytest.mark.parametrize("text", PLANTED.values(), ids=PLANTED.keys())
def test_it_is_removed_from_what_is_left_of_json(text: str) -> None:
    document = json.dumps({"message": text, "deep": [{"text": text}]})
    left = redacted_json(document)
    assert S not in left
    assert json.loads(left)["deep"]


def test_a_record_loses_the_values_of_a_setting_that_is_a_secret() -> None:
    record = {
        "values": [{"key": "net.ipv6.conf.all.stable_secret", "state": "x", "found": S}],
        "saved": {"/proc/sys/net/ipv4/tcp_fastopen_key": {"first": S, "applied": S}},
        "others": [{"key": "vm.swappiness", "found": "7"}],
        "token": {"a": S},
    }
    left = redacted_json(json.dumps(record))
    assert S not in left
    assert json.loads(left)["others"] == record["others"]
    assert "stable_secret" in left


@pytest.mark.parametrize(
    "text",
    [
        "image registry.example:5000/openshift/tuned@sha256:" + "ab" * 32,
        "docker://registry.example/tuned:4.20@sha256:" + "cd" * 32,
        "2026-11-27T15:30:10 n1 ocp-tuned-boot[12]: Applied: site in 1.20 s",
        "ocp-tuned-podman@shared.service loaded active running",
        "systemd-ask-password-wall.path loaded active waiting",
        "BOOT_IMAGE=/vmlinuz root=UUID=3f2a-11 isolcpus=1-3 nohz_full=1-3 quiet",
        "net.ipv4.tcp_keepalive_time = 600",
        "kernel.keys.root_maxkeys = 1000000",
        "author: somebody",
        "/var/lib/ocp-tuned-boot/layouts/" + "0123456789abcdef" * 4,
        "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag",
        "-rw-r--r-- 1 root root 512 /usr/lib/systemd/system/kubelet.service",
    ],
)
def test_what_is_no_secret_remains(text: str) -> None:
    assert redacted(text) == text


def test_the_rest_of_the_text_remains() -> None:
    text = f"first\npassword = {S}\nlast\n"
    assert redacted(text) == f"first\npassword = {REMOVED}\nlast\n"


def test_what_is_known_is_removed_wherever_it_is() -> None:
    """A registry may have logged it, without any word that tells."""
    known = secrets_in(f'"auth": "{B64}"') | secrets_in("http://u:Xk9-plain@proxy:3128")
    assert known == {S, B64, "Xk9-plain"}
    left = redacted(f"denied for {S}, Xk9-plain", known)
    assert left == f"denied for {REMOVED}, {REMOVED}"
    assert S not in redacted_json(json.dumps({S: [S]}), known)


def test_a_short_one_is_not_looked_for_elsewhere() -> None:
    assert secrets_in("http://u:abc@proxy:3128") == set()
    assert redacted("abc", ["abc"]) == "abc"


@pytest.mark.parametrize(
    "name",
    ["auth.json", "config.json", "tls.key", "ca.pem", "id_rsa", ".dockercfg", "pull-secret.txt",
     "htpasswd", "node.kubeconfig", "registry-credentials", ".netrc"],
)  # fmt: skip
def test_files_that_are_for_secrets(name: str) -> None:
    assert is_for_secrets(name)


@pytest.mark.parametrize(
    "name",
    ["tuned.conf", "script.sh", "functions", "50-openshift.conf", "author.txt", "keyboard.conf",
     "variables.conf", "image.env"],
)  # fmt: skip
def test_files_that_are_not(name: str) -> None:
    assert not is_for_secrets(name)


def test_broken_json_is_redacted_as_text() -> None:
    assert S not in redacted_json('{"password": "' + S)
    assert redacted_json("[" * 100_000)
    deep = "[" * 900 + f'"password {S}"' + "]" * 900
    assert S not in redacted_json(deep)


def test_json_that_was_cut_off_is_redacted_as_text() -> None:
    saved = {"a.stable_secret": {"first": S, "applied": S}, "vm.swappiness": {"first": "7"}}
    left = redacted_json(json.dumps(saved, indent=1)[:-1])
    assert S not in left
    assert '"first": "7"' in left


#: What a pod may repeat, so that it takes long.
PIECES = [
    "a", "a.", "x:", "://a", "@sha1:", "a://", "password", "password ", "auth", "-eyJ", "eyJa-.",
    "a@", "u:p@", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "-----END ", "-u ", "-u a:", "-u",
    "basic ", '"', "' ", "sha256~", "=", "A+", "\x1b[", " ", ",a:", "a:", "://", "x@", "YTpi",
    "eyJ.", 'token"', "token-", "pass)", "secret]", "auth-", "auth ", "api key", "proxy-auth",
    "auth key", "_proxy=", "_proxy=@", "_proxy ", "_proxy", "HTTP_PROXY=a://", "a/", "@", ":@",
    "u:p@h,", "u:/@", "u:p", "%", "://@", "<", ".eyJ", "eyJaaaaaaaa.", "eyJaaaaaaaa", "-glpat-",
    "\n", "password:\n", "\\", "|",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_the_time_grows_with_the_text_and_not_faster(piece: str) -> None:
    """Four times as much text; what grows with the square takes sixteen times as long. The least of
    several runs, in time of this process alone: what else the machine does makes them longer."""

    def took(number: int) -> float:
        text = piece * (number // len(piece))
        began = time.process_time()
        redacted(text)
        secrets_in(text)
        redacted(f"password: {text}\nx")
        redacted(f"HTTP_PROXY=a,{text}@h")
        redacted(f"a,{text}@h")
        return time.process_time() - began

    with no_hang():
        runs = [(took(8_000), took(32_000)) for _ in range(3)]
    few, many = (min(each) for each in zip(*runs))
    # So short a time is not measured well, and is no harm.
    assert many <= max(8 * few, 0.02)


NAME, LONG = "n" * 70, "Ab1." * 500
BEHIND = "end"


@pytest.mark.parametrize(
    "text",
    [
        f"{NAME}:{S}@proxy.example:3128",
        f"user:{LONG}{S}@proxy.example:3128",
        f"HTTP_PROXY={NAME}:{S}@proxy.example:3128",
        f"HTTP_PROXY=user:{LONG}{S}@proxy.example:3128",
        f"https_proxy=user:{LONG}/{S}@{S}/{S}@[::1]:3128",
        f'Environment="HTTPS_PROXY=u:a/{S}@b/{S}@proxy.example:3128"',
        f"export ALL_PROXY='u:a/{S}@b/c@proxy.example:3128'",
        f'env = ["https_proxy=socks5://u:a/{S}@b/{S}@proxy.example"]',
        f'"HTTPS_PROXY": "u:a/{S}@proxy.example:3128"',
        f"HTTPS_PROXY: u:a/{S}@proxy.example:3128",
        f"a=b,c=u:{S}@h",
        f"me@example,u:x,{S}@h",
        f"/etc/x=u:{S}@h",
        f"got eyJ{LONG.replace('.', '_')}.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{S}",
        f"x-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{S}",
        f"a.b.eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{S}",
        f"password{'_' * 120}={S}",
        f"auth{'_' * 30}={S}",
        f"auth key = {S}",
        f"proxy-auth key = {S}",
        f"auth-api key = {S}",
        f"authorization: {S}",
        "sent " + base64.b64encode(f"{'n' * 300}:{S}".encode()).decode(),
    ],
)
def test_a_long_secret_is_removed(text: str) -> None:
    left = redacted(f"first {BEHIND}\n{text}\nlast {BEHIND}")
    lines = left.split("\n")
    assert (lines[0], lines[-1]) == (f"first {BEHIND}", f"last {BEHIND}")
    assert len(lines) == 3
    assert S not in left
    assert "Ab1" not in left
    assert base64.b64encode(b"nnn").decode() not in left


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("HTTP_PROXY=u:pa/ss@wo/rd@proxy:3128", "pa/ss@wo/rd"),
        ("HTTP_PROXY=http://u:pa/ss@wo/rd@proxy:3128", "pa/ss@wo/rd"),
        (f"{NAME}:{LONG}x@proxy:3128", f"{LONG}x"),
        ("x u:pass:word@proxy:3128", "pass:word"),
    ],
)
def test_the_password_is_known_from_then_on(text: str, password: str) -> None:
    assert secrets_in(text) == {password}


def test_where_a_proxy_is_remains() -> None:
    text = "HTTP_PROXY=http://u:a/b@proxy:3128 NO_PROXY=.svc,10.0.0.0/8 https_proxy=u:p@h:1 x"
    wanted = text.replace("u:a/b", REMOVED).replace("u:p", REMOVED)
    assert redacted(text) == wanted


def test_each_password_of_the_administrator_is_known() -> None:
    text = " ".join(f"http://u:secret{number}@h" for number in range(5000))
    assert len(secrets_in(text)) == 5000
