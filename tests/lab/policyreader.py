"""Runs on its own, with python3-setools: says what of some rules is missing in an SELinux policy.

    policyreader.py POLICY < RULES

One rule in each line, as sesearch(1) prints it, without its semicolon. Prints for each the
permissions that are missing or, of a type_transition, the type: a list of lists in JSON. Booleans
have the values that they have in the policy. The name of a type that is not in the policy is an
error.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict

import setools  # type: ignore[import-not-found]  # in the root that this runs in

_RULE = re.compile(r"(allow|type_transition) (\w+) (\w+):(\w+) (?:\{ ([\w ]+) \}|(\w+))$")


def main(path: str, lines: list[str]) -> None:
    policy = setools.SELinuxPolicy(path)
    questions = []
    for line in lines:
        found = _RULE.match(line)
        if found is None:
            raise SystemExit(f"not a rule: {line}")
        kind, source, target, tclass, several, one = found.groups()
        questions.append((kind, source, target, tclass, set((several or one).split())))
    # A rule about an attribute is one about each type that has it.
    names = {
        name: {name, *(str(each) for each in policy.lookup_type(name).attributes())}
        for _, source, target, _, _ in questions
        for name in (source, target)
    }
    granted = _granted(policy, set().union(*names.values()))
    missing = []
    for kind, source, target, tclass, wanted in questions:
        has: set[str] = set()
        for by in names[source]:
            for to in (*names[target], *(["self"] if source == target else [])):
                has |= granted[kind, by, to, tclass]
        missing.append(sorted(wanted - has))
    json.dump(missing, sys.stdout)


def _granted(
    policy: setools.SELinuxPolicy, names: set[str]
) -> dict[tuple[str, str, str, str], set[str]]:
    """What the rules about these names give. In one pass: a query of setools reads all rules."""
    booleans = {str(each): each.state for each in policy.bools()}
    found: dict[tuple[str, str, str, str], set[str]] = defaultdict(set)
    for rule in policy.terules():
        kind = str(rule.ruletype)
        if kind not in ("allow", "type_transition") or str(rule.source) not in names:
            continue
        if not rule.enabled(**booleans):
            continue
        # A transition for one file name only is none for others.
        if kind == "type_transition" and getattr(rule, "filename", None):
            continue
        given = set(rule.perms) if kind == "allow" else {str(rule.default)}
        found[kind, str(rule.source), str(rule.target), str(rule.tclass)] |= given
    return found


if __name__ == "__main__":
    main(sys.argv[1], [line.strip() for line in sys.stdin if line.strip()])
