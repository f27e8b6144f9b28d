"""Plans and records as text for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ocp_tuned_boot.record import Record

if TYPE_CHECKING:
    from ocp_tuned_boot.boot import Preview


def plan_json(preview: Preview) -> str:
    """What `apply` would do, for programs."""
    asked = preview.asked
    content: dict[str, Any] = {
        "decision": asdict(preview.decision),
        "profile": asked.profile,
        "image": {"reference": asked.image, "state": preview.image},
        "contract": asked.contract,
        "boot_id": asked.boot_id,
        "provider": asked.provider,
        "fingerprint": asked.fingerprint,
        "files": [file.path for file in asked.files],
        "container": asdict(preview.container) if preview.container else None,
    }
    return json.dumps(content, indent=2)


def plan_text(preview: Preview) -> str:
    """What `apply` would do, for people."""
    asked = preview.asked
    lines = [
        f"{preview.decision.action.value}: {preview.decision.reason}",
        f"  profile      {asked.profile} ({len(asked.files)} custom profile files)",
        f"  image        {asked.image} ({preview.image})",
        f"  fingerprint  {asked.fingerprint}",
    ]
    if preview.container:
        lines += [
            f"  container    {preview.container.name}: {' '.join(preview.container.entrypoint)}",
            "               privileged; the host's network, PIDs, IPC and UTS; SELinux label off",
        ]
        lines += [
            f"  mount        {mount.source} at {mount.target}{' (read-only)' * mount.read_only}"
            for mount in preview.container.mounts
        ]
    return "\n".join(lines)


def status_text(done: Record | None, units: Mapping[str, str]) -> str:
    """What was done in this boot, for people."""
    if done is None:
        lines = ["nothing was done in this boot yet (see: systemctl status ocp-tuned)"]
    else:
        said = {
            "started": done.started,
            "decision": f"{done.action}: {done.reason}" if done.action else "",
            "profile": done.profile,
            "image": done.image,
            "image ID": done.image_id,
            "fingerprint": done.fingerprint,
            "boot ID": done.boot_id,
        }
        lines = [done.summary()]
        lines += [f"  {name:<12} {text}" for name, text in said.items() if text]
        lines += [f"  step         {step.name}: {step.seconds:.3f} s" for step in done.steps]
        lines += [
            f"  attempt      failed after {each.at:.1f} s, {each.kind}: {each.message}"
            for each in done.attempts
        ]
        if done.values is not None:
            states = Counter(value.state for value in done.values)
            counted = ", ".join(f"{states[state]} {state}" for state in sorted(states)) or "none"
            lines.append(f"  values       {counted}")
        for finding in done.findings:
            accepted = "(accepted) " if finding.accepted else ""
            about = f"{finding.kind} {finding.subject}".strip()
            lines.append(f"  finding      {accepted}{about}: {finding.message}")
            if finding.advice and not finding.accepted:
                lines.append(f"               {finding.advice}")
    lines += [f"  unit         {name}: {state}" for name, state in units.items()]
    return "\n".join(lines)
