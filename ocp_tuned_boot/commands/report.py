"""What the commands show, for programs: JSON; and lists, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ocp_tuned_boot.commands.terminal import Row
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Record

if TYPE_CHECKING:
    from ocp_tuned_boot.commands.staging import Listed
    from ocp_tuned_boot.commands.status import Now
    from ocp_tuned_boot.commands.verify import Checked
    from ocp_tuned_boot.preview import Preview
    from ocp_tuned_boot.record.history import Boot
    from ocp_tuned_boot.settings.drift import Drift

#: The version of the JSON of `status`, described by docs/status.schema.json. It is incremented when
#: a field is removed or gets another meaning.
STATUS_VERSION = 1


def status_json(done: Record | None, now: Now) -> str:
    """`record` is the content of status.json, with the current findings; beside it what has changed
    since then."""
    record = store.content(done) if done else None
    return json.dumps({"version": STATUS_VERSION, "record": record, **now.content()}, indent=2)


def plan_json(preview: Preview) -> str:
    """What `apply` would do."""
    requested = preview.requested
    content: dict[str, Any] = {
        "decision": asdict(preview.decision),
        "profile": requested.profile,
        "image": {"reference": requested.image, "state": preview.image},
        "named_in": {"image": requested.image_named_in, "profile": requested.named_in},
        "notes": preview.notes,
        "contract": requested.contract,
        "boot_id": requested.boot_id,
        "provider": requested.provider,
        "fingerprint": requested.fingerprint,
        "files": [file.path for file in requested.files],
        "findings": [asdict(each) for each in (*requested.doubts, *requested.fallback)],
        "container": asdict(preview.container) if preview.container else None,
    }
    return json.dumps(content, indent=2)


def settings_json(found: Drift | Checked) -> str:
    """Which settings have changed, or what is in effect."""
    return json.dumps(asdict(found), indent=2)


def rows_json(rows: Sequence[Boot | Listed]) -> str:
    """Images or boots."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def images(listed: Sequence[Listed]) -> Iterator[Row]:
    """The images that are known to this program."""
    for row in listed:
        where = row.archive or (f"ID {row.id[:12]}" if row.id else "not on the node")
        yield Row(f"{row.reference}  {where}", row.role, verbatim=True)


def history(boots: Sequence[Boot]) -> Iterator[Row]:
    """The runs of the last boots."""
    if not boots:
        yield Row("No run has been recorded.", indented=False)
    for boot in boots:
        yield Row(f"boot {boot.boot_id}", indented=False)
        for run in boot.runs:
            yield Row(f"{run.started}  {run.summary}", run.action or "-")
