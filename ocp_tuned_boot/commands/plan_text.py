"""What `apply` would do, for people."""

from __future__ import annotations

from collections.abc import Iterator

from ocp_tuned_boot.commands.status_text import findings
from ocp_tuned_boot.commands.terminal import Row, Style
from ocp_tuned_boot.preview import Preview
from ocp_tuned_boot.tuned.container import ContainerSpec


def rows(preview: Preview) -> Iterator[Row]:
    """The decision, what is requested, and the container that would be started."""
    requested = preview.requested
    guarded = ", guarded" if preview.decision.guarded else ""
    decision = f"{preview.decision.action.value}{guarded}: {preview.decision.reason}"
    yield Row(decision, style=Style.STRONG, indented=False)
    yield Row(f"{requested.profile} (custom profile files: {len(requested.files)})", "profile")
    yield Row(f"{requested.image} ({preview.image})", "image")
    yield Row(f"{requested.named_in} (profile)", "named in")
    yield Row(f"{requested.image_named_in} (image)")
    yield from (Row(words, "note", Style.WARNING) for words in preview.notes)
    yield from findings((*requested.doubts, *requested.fallback))
    for state in preview.lost:
        yield Row(f"{state.words}; apply would restore it", "held", Style.WARNING)
    yield Row(requested.fingerprint, "fingerprint")
    if preview.container:
        yield from _container(preview.container)


def _container(spec: ContainerSpec) -> Iterator[Row]:
    yield Row(f"{spec.name}: {' '.join(spec.entrypoint)}", "container")
    yield Row("privileged; host network, PID, IPC and UTS; SELinux label disabled")
    for mount in spec.mounts:
        read_only = " (read-only)" * mount.read_only
        yield Row(f"{mount.source} at {mount.target}{read_only}", "mount", verbatim=True)
