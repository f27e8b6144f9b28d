"""Secrets in texts that leave the node: what looks like one is replaced. Pure.

Nothing can recognise every secret. This errs on the safe side: after a word such as "password" the
rest of the line is replaced, and it does not matter whether something in it was useful.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ocp_tuned_boot.errors import escaped
from ocp_tuned_boot.host.typedjson import from_json

#: What stands in the place of a secret.
REMOVED = "[REMOVED]"

# A pod may have written the text: no pattern takes a time that grows faster than the text, and none
# has a limit that a secret may exceed. What a pattern could do only with one of both is a function.

# Words after which the rest of the line is a secret, whatever is in between.
_STRONG = re.compile(
    r"(?i)(?:pass(?:word|wd|phrase|code)|secret|token|credential|(?<![a-z])passw?(?![a-z]))"
)
# Words after which it is one only behind "=" or ":". What is longer comes first.
_WEAK = re.compile(
    r"(?i)(?<![a-z])(?:"
    r"(?:api|access|private|secret|encryption|signing|ssh|client|luks|shared|auth|fastopen)"
    r"[-_. ]?keys?|(?:proxy-?)?auth(?:orization|entication)?s?|bearer|cookie|pwd|psk)(?![a-z])"
)
# Each with the rest of the name that it is a part of (`registry_password`, `"auth"`), and what is
# between the name and the value.
_NAMED = (
    (_STRONG, re.compile(r"[\w\])\"'-]*"), re.compile(r"\s*[:=]\s*|\s+")),
    (_WEAK, re.compile(r"[\w\"'-]*"), re.compile(r"\s*[:=]\s*")),
)
# A value that follows on the next lines.
_CONTINUED = re.compile(r"[\"']*(?:[|>][+-]?\d*|\\|[\[{(])?\Z")
# `scheme://user:password@host` is looked for in words, see `_login`. A digest of an image is none.
_WORD = re.compile(r"[^\s\"'<>]{3,}")
_DIGEST = re.compile(r"@sha\d+:")
# The same in the variable of a proxy, where the scheme may be left out.
_PROXY = re.compile(r"(?i)(_proxy[\"']?[^\S\n]*[:=][^\S\n]*[\"']?(?:\w+://)?)([^\s\"']+)")
# `user:password@host` without a scheme elsewhere is looked for in words, see `_bare_logins`.
_BARE = re.compile(r"[^\s\"']{5,}")
_USER = re.compile(r"(?<![\w/:.%+-])[\w.%+-]+:")
_HOST = re.compile(r"(?!sha\d+:)[\w\[]")
# curl(1) and its like.
_OPTION = re.compile(r"(?<!\S)(-u|--user|--proxy-user|-U)([= ]?\s*)([\"']?[^\s:]+:\S+)")
_SCHEME = re.compile(r"(?i)\b(basic|bearer|digest|negotiate)(\s+)(?=\S{6})\S+")
# JSON Web Tokens are looked for in words with dots, see `_without_web_token`.
_DOTTED = re.compile(r"[\w.-]{20,}")
_WEB_TOKEN = re.compile(r"\beyJ")
# Tokens that can be recognised by themselves: those of OpenShift, GitHub, GitLab, AWS, Vault and
# Slack.
_TOKENS = re.compile(
    r"\bsha256~[\w-]{16,}|\bgh[opsur]_\w{16,}"
    r"|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bhvs\.[\w-]{16,}"
    r"|\bxox[abposr]-[\w-]{10,}"
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [^-\n]*PRIVATE KEY-----.*?(?:-----END [^-\n]*-----|\Z)", re.S
)
_COLOUR = re.compile("\x1b\\[[0-9;]*[A-Za-z]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
# What is in base64 and is a secret: `user:password`.
_PAIR = re.compile(r"[\w.@+|-]+:[\x21-\x7e]+\Z")
# How often something in base64 may be in base64 again, and the most characters that are decoded.
_DEPTH, _MOST = 3, 1024 * 1024
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
    """The passwords in logins and in base64 of a text, to be looked for elsewhere. The text must be
    one of the administrator: a pod could have any word removed."""
    found = {login.partition(":")[2] for login in _logins(text)}
    for match in _BASE64.finditer(text):
        plain = _decoded(match[0])
        if _PAIR.match(plain):
            found |= {match[0], plain.partition(":")[2]}
    return {each for each in found if len(each) >= SHORTEST}


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
    text = _PROXY.sub(_without_proxy_login, text)
    text = _BARE.sub(_without_bare_logins, text)
    text = _OPTION.sub(rf"\1\2{REMOVED}", text)
    text = _SCHEME.sub(rf"\1\2{REMOVED}", text)
    text = _TOKENS.sub(REMOVED, _DOTTED.sub(_without_web_token, text))
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
        value = _value_at(line)
        if value is None:
            yield line
            continue
        yield line[:value] + REMOVED
        if _CONTINUED.match(line[value:].strip()):
            waits, indent = True, here
        elif line.endswith("\\"):
            waits = True


def _value_at(line: str) -> int | None:
    """Where the value of something begins whose name says that it is a secret; None if there is
    none."""
    found = (_value_behind(line, *each) for each in _NAMED)
    return min((it for it in found if it is not None), default=None)


def _value_behind(
    line: str, word: re.Pattern[str], rest: re.Pattern[str], between: re.Pattern[str]
) -> int | None:
    end = -1
    match = word.search(line)
    while match:
        # Several words may be in one name, and have the same rest: it is looked at once.
        if match.end() > end:
            name = rest.match(line, match.end())
            end = name.end() if name else match.end()
            if value := between.match(line, end):
                return value.end()
        match = word.search(line, match.start() + 1)
    return None


def _logins(text: str) -> Iterator[str]:
    """Each `user:password` of a URL, of the variable of a proxy, and before the name of a host."""
    for word in _WORD.findall(text):
        if login := _login(word):
            yield login[1]
    for _, value in _PROXY.findall(text):
        if (at := _end_of_login(value)) > 0:
            yield value[:at]
    for word in _BARE.findall(_PROXY.sub("", text)):
        if not _login(word):
            yield from (word[start:end] for start, end in _bare_logins(word))


def _end_of_login(text: str) -> int:
    """Where the last "@" is, as a password may contain one; -1 if there is none. That of a digest
    ends no login."""
    at = text.rfind("@")
    while at > 0 and _DIGEST.match(text, at):
        at = text.rfind("@", 0, at)
    return at


def _login(word: str) -> tuple[str, str, str] | None:
    """What is before, in and after the login of a URL. None for a word that is no such URL."""
    scheme, separator, rest = word.partition("://")
    at = _end_of_login(rest)
    return (scheme + separator, rest[:at], rest[at:]) if at > 0 else None


def _bare_logins(word: str) -> Iterator[tuple[int, int]]:
    """Where each `user:password` before the "@" of a host begins and ends. It has no "/" and no
    "@": the name of an image is none."""
    begin, end = 0, word.find("@")
    while end >= 0:
        user = _USER.search(word, max(begin, word.rfind("/", begin, end) + 1), end)
        if user and user.end() < end and _HOST.match(word, end + 1):
            yield user.start(), end
        begin, end = end + 1, word.find("@", end + 1)


def _without_proxy_login(match: re.Match[str]) -> str:
    at = _end_of_login(match[2])
    return f"{match[1]}{REMOVED}{match[2][at:]}" if at > 0 else match[0]


def _without_bare_logins(match: re.Match[str]) -> str:
    word, parts, after = match[0], [], 0
    for start, end in _bare_logins(word):
        parts += [word[after:start], REMOVED]
        after = end
    return "".join([*parts, word[after:]])


def _without_web_token(match: re.Match[str]) -> str:
    """A JSON Web Token is three parts with dots between them; the first one begins with "eyJ",
    which is `{"` in base64."""
    begin, parts = 0, match[0].split(".")
    for part, following in zip(parts, parts[1:]):
        found = _WEB_TOKEN.search(part)
        if found and len(part) >= found.end() + 8 and len(following) >= 8:
            return match[0][: begin + found.start()] + REMOVED
        begin += len(part) + 1
    return match[0]


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
    return _value_at(f"{name.replace('/', ' /')}=") is not None
