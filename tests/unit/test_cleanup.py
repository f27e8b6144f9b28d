"""How long `cleanup` waits for Podman. What it removes is tested in the lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_tuned_boot import cleanup
from ocp_tuned_boot.errors import DeadlineExceeded
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman import client


@pytest.mark.parametrize(
    ("service", "seconds"),
    [
        # By hand, and at a stop of a unit that is well.
        ({}, cleanup.PATIENCE),
        ({"SERVICE_RESULT": "success", "EXIT_CODE": "exited"}, cleanup.PATIENCE),
        # The program was killed: nothing has been removed yet.
        ({"SERVICE_RESULT": "signal", "EXIT_CODE": "killed"}, cleanup.PATIENCE),
        ({"SERVICE_RESULT": "timeout", "EXIT_CODE": "killed"}, cleanup.PATIENCE),
        # The run has failed, after its own clean-up, and the kubelet waits.
        ({"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited"}, cleanup.BRIEF),
    ],
)
def test_a_clean_up_that_the_kubelet_waits_for_is_brief(
    tmp_path: Path, service: dict[str, str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot_id = tmp_path / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("11111111-2222-4333-8444-555555555555\n")
    given: list[float] = []

    def podman(_: Path, deadline: Deadline) -> None:
        given.append(deadline.seconds)
        raise DeadlineExceeded("Podman did not answer in time")

    for name in ("SERVICE_RESULT", "EXIT_CODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in service.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client, "Podman", podman)
    with pytest.raises(DeadlineExceeded, match="cannot look for containers") as caught:
        cleanup.cleanup(Paths(tmp_path), None)
    assert caught.value.hint.startswith("The next start of ocp-tuned.service removes it.")
    assert given == [seconds]
