"""Secrets in texts that leave the node: what looks like one is replaced. Pure.

Nothing can recognise every secret. This errs on the safe side: after a word such as "password" the
rest of the line is replaced, and it does not matter whether something in it was useful.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from typing import Any

from ocp_tuned_boot.errors import escaped
from ocp_tuned_boot.host.typedjson import from_json

#: What stands in the place of a secret.
REMOVED = "[REMOVED]"

# Words after which the rest of the line is a secret, whatever is in between.
_STRONG = r"(?:pass(?:word|wd|phrase|code)|secret|token|credential|(?<![a-z])passw?(?![a-z]))s?"
# Words after which it is one only behind "=" or ":".
_WEAK = (
    r"(?:(?:proxy-?)?auth(?:orization|entication)?s?|bearer|cookie|pwd|psk|"
    r"(?:api|access|private|secret|encryption|signing|ssh|client|luks|shared|auth|fastopen)"
    r"[-_. ]?keys?)(?![a-z])"
)
# Numbers of repetitions are limited where a text could otherwise take a time that grows with its
# square: a pod may have written it.
# As a part of a longer name (`registry_password`, `"auth"`), up to the value.
_NAMED = re.compile(
    rf"(?i)((?:{_STRONG}[\w\])\"'-]{{0,99}}(?:\s*[:=]\s*|\s+)|(?<![a-z]){_WEAK}[\w\"'-]{{0,20}}\s*[:=]\s*))(\S.*)?"
)
# A value that follows on the next lines.
_CONTINUED = re.compile(r"[\"']*(?:[|>][+-]?\d*|\\|[\[{(])?\Z")
# `scheme://user:password@host` is looked for in words, see `_login`. A digest of an image is none.
_WORD = re.compile(r"[^\s\"'<>]{3,}")
_DIGEST = re.compile(r"@sha\d+:")
# The same without a scheme, as in proxy variables.
_USERINFO = re.compile(r"(?<![\w/:.%+-])([\w.%+-]{1,64}):([^\s\"'/@]{1,128})@(?!sha\d+:)(?=[\w\[])")
# curl(1) and its like.
_OPTION = re.compile(r"(?<!\S)(-u|--user|--proxy-user|-U)([= ]?\s*)([\"']?[^\s:]+:\S+)")
_SCHEME = re.compile(r"(?i)\b(basic|bearer|digest|negotiate)(\s+)(?=\S{6})\S+")
# Tokens that can be recognised by themselves: JSON Web Tokens, those of OpenShift, GitHub, GitLab,
# AWS, Vault and Slack.
_TOKENS = re.compile(
    r"\beyJ[\w-]{8,1000}\.[\w-]{8,}(?:\.[\w-]*)*|\bsha256~[\w-]{16,}|\bgh[opsur]_\w{16,}"
    r"|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bhvs\.[\w-]{16,}"
    r"|\bxox[abposr]-[\w-]{10,}"
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [^-\n]*PRIVATE KEY-----.*?(?:-----END [^-\n]*-----|\Z)", re.S
)
_COLOUR = re.compile("\x1b\\[[0-9;]*[A-Za-z]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
# What is in base64 and is a secret: `user:password`.
_PAIR = re.compile(r"[\w.@+|-]{1,255}:[\x21-\x7e]+\Z")
# How often something in base64 may be in base64 again, and the most characters that are decoded.
_DEPTH, _MOST = 3, 1024 * 1024
# The most secrets that one text makes known. Each is looked for by itself.
_KNOWN = 200
#: Shorter ones are not looked for in other texts: they might be anything.
SHORTEST = 6

# Files that are for secrets alone.
_FILES = re.compile(
    r"(?i)(^|[._-])(auth|credentials?|passwd|shadow|secrets?|htpasswd|pull-?secret|dockercfg|netrc|pgpass)"
    r"([._-]|$)|^config\.json$|^\.docker|kubeconfig|^id_(rsa|dsa|ecdsa|ed25519)|\.(key|pem|p12|pfx|jks|keytab|gpg)$"
)
# The fields of a record that have the value of the setting that another field names.
_NAMES = ("key", "path", "option", "name", "subject")


def is_for_secrets(name: str) -> bool:
    """Whether a file of this name is left out as a whole."""
    return bool(_FILES.search(name))


def redacted(text: str, known: Iterable[str] = ()) -> str:
    """The text without what looks like a secret, and without those that are `known`."""
    return _redacted(_plain(text), _sorted(known), _DEPTH)


def redacted_json(text: str, known: Iterable[str] = ()) -> str:
    """The same for JSON, which remains JSON. A text that is none is redacted as a text."""
    try:
        content = _value(from_json(text), _sorted(known))
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    except (ValueError, RecursionError):
        return redacted(text, known)


def secrets_in(text: str) -> set[str]:
    """The passwords in URLs and in base64 of a text, to be looked for elsewhere."""
    logins = (login for word in _WORD.findall(text) if (login := _login(word)))
    found = {word[1].partition(":")[2] for word in logins}
    found |= {it[2] for it in _USERINFO.finditer(text)}
    for match in _BASE64.finditer(text):
        plain = _decoded(match[0])
        if _PAIR.match(plain):
            found |= {match[0], plain.partition(":")[2]}
    long = sorted((each for each in found if len(each) >= SHORTEST), key=len, reverse=True)
    return set(long[:_KNOWN])


def _plain(text: str) -> str:
    """Without colours, which may be in the middle of a name, and what a terminal would obey."""
    return escaped(_COLOUR.sub("", text))


def _sorted(known: Iterable[str]) -> tuple[str, ...]:
    """The longest first: another may be a part of it."""
    return tuple(sorted({it for it in known if len(it) >= SHORTEST}, key=len, reverse=True))


def _redacted(text: str, known: tuple[str, ...], depth: int) -> str:
    for each in known:
        text = text.replace(each, REMOVED)
    text = _PRIVATE_KEY.sub(REMOVED, text)
    text = "\n".join(_lines(text.split("\n")))
    text = _WORD.sub(_without_login, text)
    text = _USERINFO.sub(f"{REMOVED}@", text)
    text = _OPTION.sub(rf"\1\2{REMOVED}", text)
    text = _SCHEME.sub(rf"\1\2{REMOVED}", text)
    text = _TOKENS.sub(REMOVED, text)
    return _BASE64.sub(lambda match: _unless_secret(match[0], depth), text) if depth else text


def _lines(lines: Iterable[str]) -> Iterable[str]:
    """Without the values that are named as secrets. A value may begin on the next line, and then
    ends before the next line that is not indented more."""
    indent = -1
    waits = False
    for line in lines:
        here = len(line) - len(line.lstrip())
        if waits or (indent >= 0 and line.strip() and here > indent):
            yield " " * here + REMOVED
            indent, waits = (here - 1 if waits else indent), False
            continue
        indent = -1
        match = _NAMED.search(line)
        if match is None:
            yield line
            continue
        yield line[: match.end(1)] + REMOVED
        if _CONTINUED.match((match[2] or "").strip()):
            waits, indent = True, here
        elif line.endswith("\\"):
            waits = True


def _login(word: str) -> tuple[str, str, str] | None:
    """What is before, in and after the login of a URL, which is up to the last "@": a password may
    contain one. None for a word that is no such URL."""
    scheme, separator, rest = word.partition("://")
    at = rest.rfind("@")
    while at > 0 and _DIGEST.match(rest, at):
        at = rest.rfind("@", 0, at)
    return (scheme + separator, rest[:at], rest[at:]) if at > 0 else None


def _without_login(match: re.Match[str]) -> str:
    login = _login(match[0])
    return f"{login[0]}{REMOVED}{login[2]}" if login else match[0]


def _unless_secret(word: str, depth: int) -> str:
    plain = _decoded(word)
    if not plain:
        return word
    secret = _PAIR.match(plain) or _redacted(plain, (), depth - 1) != plain
    return REMOVED if secret else word


def _decoded(word: str) -> str:
    """What a word in base64 means; empty if it is not text in base64."""
    if len(word) > _MOST:
        return ""
    bare = word.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        plain = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return plain if plain.replace("\n", "").replace("\t", "").isprintable() else ""


def _value(content: Any, known: tuple[str, ...]) -> Any:
    if isinstance(content, str):
        return _redacted(_plain(content), known, _DEPTH)
    if isinstance(content, list):
        return [_value(each, known) for each in content]
    if not isinstance(content, dict):
        return content
    secret = any(_is_name(str(content.get(name, ""))) for name in _NAMES)
    return {
        _value(name, known): REMOVED
        if (_is_name(name) and it) or (secret and isinstance(it, str) and name not in _NAMES)
        else _value(it, known)
        for name, it in content.items()
    }


def _is_name(name: str) -> bool:
    """Whether something of this name is a secret, such as a sysctl."""
    return bool(_NAMED.search(f"{name.replace('/', ' /')}="))
