"""What to do on this host because of a finding: which file to change, and of a profile that does
not exist, where it lies."""

from __future__ import annotations

import re
from dataclasses import replace

from ocp_tuned_boot.requested import missing
from ocp_tuned_boot.requested.missing import Search, on_host
from ocp_tuned_boot.settings import handover
from ocp_tuned_boot.tuned import profiles
from ocp_tuned_boot.tuned.findings import Finding, make


def explained(found: Finding, search: Search) -> Finding:
    """The finding with the advice for this host. TuneD's own words about a profile that does not
    exist name folders of its container: they are replaced, unless it exists."""
    if found.kind in missing.KINDS and not search.has(found.subject):
        about = search.missing(found.subject)
        return replace(found, message=about.message, advice=about.advice)
    if not (file := file_for(found, search)):
        return found
    return replace(found, advice=make(found.kind, found.subject, "", file).advice)


def file_for(found: Finding, search: Search) -> str:
    """The file to change, with the line if TuneD names one; empty if it is not known."""
    paths = search.paths
    if found.kind in ("unknown-profile", "wrong-profile"):
        return search.requested.named_in
    if found.kind == "broken-profile":
        line = re.search(r"\bline:? +(\d+)", found.message)
        file = on_host(paths, found.subject)
        return f"{file}, line {line[1]}" if file and line else file
    if found.kind == "script-failed":
        return on_host(paths, found.subject)
    if found.kind in ("no-such-setting", "setting-refused", "bad-value"):
        return _set_in(found.subject, search)
    if found.kind == "overridden":
        return handover.sysctl_d_file(paths, found.subject)
    return ""


def _set_in(key: str, search: Search) -> str:
    """The file of the profile, and the line, that sets this key; empty if none has it by that
    name."""
    pattern = re.compile(rf"(?m)^[ \t]*{re.escape(key)}[ \t]*=")
    for path in profiles.loaded(search.requested.profile, search.texts):
        text = search.texts[path]
        if set_there := pattern.search(text):
            line = text.count("\n", 0, set_there.start()) + 1
            return f"{on_host(search.paths, path)}, line {line}"
    return ""
