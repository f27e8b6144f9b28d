"""The cells of docs/versions.md, as tests. Only `make matrix` runs them: no name that pytest finds.

The cells of a system are tests of the lab, which runs them on the supported systems; here they run
on the next one as well. What is only here is run on every combination.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests import on_every_python
from tests.lab import (
    matrix,
    previous,
    rootfs,
    test_agent,
    test_boot,
    test_fallback,
    test_gate,
    test_gate_holds,
    test_holds,
    test_inside,
    test_once,
    test_package,
    test_sandbox,
    test_skew,
    test_starting_line,
    test_timeline,
    test_userspace,
    test_versions,
)
from tests.lab.knobs import KernelKnobs
from tests.lab.tunedroot import TunedRoot

#: What is run on each system, by what the document says of it.
CHECKS: dict[str, Callable[[str], None]] = {
    "the profile is in force before the kubelet starts":
        test_boot.test_every_value_is_in_force_before_the_kubelet_starts,
    "TuneD waits for `ocp-tuned-go.service`":
        test_starting_line.test_tuned_waits_and_applies_nothing_before_its_time,
    "`gate = closed` holds the kubelet until the profile is mended":
        partial(test_gate.test_a_closed_gate_holds_the_kubelet_until_the_profile_is_mended,
                how="requires"),
    "and whatever ends the program":
        test_gate_holds.test_whatever_ends_the_program_the_boot_is_held_and_continues,
    "a reload applies what has changed":
        test_once.test_a_reload_applies_what_has_changed_and_says_so_when_nothing_has,
    "what others own is kept from TuneD":
        partial(test_once.test_what_tuned_takes_it_takes_from_copies, how="go"),
    "systemd holds `/dev/cpu_dma_latency` open":
        partial(test_holds.test_each_is_in_force_before_the_kubelet_starts, name="force_latency"),
    "and a reload replaces it without a gap":
        test_holds.test_while_it_is_replaced_no_reader_sees_a_moment_without_a_request,
    "emergency mode starts user space anew":
        test_userspace.test_rescue_keeps_the_settings_and_emergency_starts_user_space_anew,
    "soft-reboot (systemd 254)":
        test_userspace.test_after_a_soft_reboot_the_node_is_tuned_before_the_kubelet_starts_again,
    "an image that is damaged in the store is replaced":
        test_fallback.test_a_damaged_image_is_removed_and_pulled_or_loaded_again,
    "`timeline` agrees with systemd":
        test_timeline.test_it_agrees_with_systemd_in_this_boot_and_after_a_reboot,
    "systemd-analyze finds nothing in the units":
        test_sandbox.test_systemd_has_nothing_to_say_about_the_units,
    "the package is removed and installed again":
        test_package.test_removal_takes_what_is_ours_and_leaves_the_tuning_and_what_is_others,
    "the files of the node agent":
        test_agent.test_what_the_objects_say_is_tuned_and_told,
}  # fmt: skip
#: Not everywhere, with the reason.
NOT_THERE = {("soft-reboot (systemd 254)", "bookworm")}

STOCK = ("throughput-performance", "openshift-node", "cpu-partitioning")


@pytest.fixture
def cell(record_property: Callable[[str, object], None]) -> matrix.Cell:
    return lambda *where: record_property("cell", "|".join(where))


@pytest.mark.parametrize("suite", matrix.SYSTEMS)
@pytest.mark.parametrize("check", CHECKS)
def test_system(check: str, suite: str, cell: matrix.Cell) -> None:
    cell("system", check, suite)
    if (check, suite) in NOT_THERE:
        pytest.skip("it does not have this")
    CHECKS[check](suite)


@pytest.mark.parametrize("suite", matrix.SYSTEMS)
@pytest.mark.parametrize("image", matrix.SYSTEMS)
def test_tuned_in_the_image(image: str, suite: str, cell: matrix.Cell) -> None:
    cell("tuned", image, suite)
    test_versions.boots_and_reloads(suite, image)


@pytest.mark.parametrize("image", matrix.SYSTEMS)
def test_the_next_podman(image: str, cell: matrix.Cell) -> None:
    cell("tuned", image, matrix.NEXT_PODMAN)
    test_versions.boots_and_reloads(rootfs.NEXT, image, kind=test_versions.WithNextPodman)


@pytest.mark.parametrize("image", matrix.SYSTEMS)
def test_what_tuned_says(image: str, tmp_path: Path, cell: matrix.Cell) -> None:
    """Profiles mean and do the same with our program in the container as with TuneD alone."""
    cell("said", "", image)
    stock = test_inside.test_a_stock_profile_means_and_does_the_same
    tests: list[Callable[[TunedRoot], None]] = [partial(stock, profile=each) for each in STOCK]
    tests += (
        test_inside.test_a_custom_profile_means_and_does_the_same,
        test_inside.test_each_option_has_a_state,
        test_inside.test_a_profile_that_cannot_be_loaded,
        test_inside.test_verify_writes_nothing,
    )
    with KernelKnobs({}):
        for number, test in enumerate(tests):
            test(TunedRoot(image, tmp_path / str(number)))


@pytest.mark.parametrize("suite", matrix.SYSTEMS)
@pytest.mark.parametrize("release", previous.COMMITS)
def test_an_earlier_program(release: str, suite: str, cell: matrix.Cell) -> None:
    cell("earlier", release, suite)
    test_skew.continues_where_the_other_was(suite, release)


@pytest.mark.parametrize("version", on_every_python.VERSIONS)
def test_python(version: str, cell: matrix.Cell) -> None:
    cell("python", version, "unit tests")
    passed = on_every_python.passes(version)
    if passed is None:
        pytest.skip("it cannot be had")
    assert passed
