"""What is said of a reload that has failed, and of an image that is used instead."""

from __future__ import annotations

import pytest

from ocp_tuned_boot.record.amend import with_fallback_image
from ocp_tuned_boot.record.change import failed_change
from ocp_tuned_boot.record.model import InForce, Record
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Outcome, Result

BEFORE = InForce("boot", Result.APPLIED, "old", "localhost/a", "id", "f", "12:00")
RUN = Record(Result.FAILED, "13:00", "boot", profile="site", in_force=BEFORE)
LINE = "boot.conf: line 3: [tuning]: found the key 'gaet' (did you mean gate?)"
QUOTED = 'TuneD logged: "Cannot parse"'


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (Finding("unknown-profile", "site-bb", "No profile", 'It is named in F. Did you mean "b"?'),
         ("Degraded: change-failed unknown-profile: No profile; the requested change was not "
          'applied. It is named in F. Did you mean "b"? Profile old. Unchanged since 12:00')),
        # Whether a change was requested is not known.
        (Finding("configuration", "", LINE),
         (f"Degraded: change-failed configuration: {LINE}; nothing was changed. "
          "Fix the cause, then: systemctl reload ocp-tuned. Profile old. Unchanged since 12:00")),
        (make("broken-profile", "F", QUOTED, "F"),
         ("Degraded: change-failed broken-profile: TuneD cannot load the profile. Fix F, "
          f"then: systemctl reload ocp-tuned. {QUOTED}; the requested change was not applied. "
          "Profile old. Unchanged since 12:00")),
    ],
)  # fmt: skip
def test_a_reload_that_failed_says_first_what_failed(cause: Finding, status: str) -> None:
    assert failed_change(RUN, BEFORE, cause).summary() == status


def test_an_image_that_is_not_available_has_the_advice_of_its_failure() -> None:
    fine = Outcome(Result.APPLIED, ())
    hint = "Use the image's full name, with the registry."
    (found,) = with_fallback_image(fine, "tuned:2.25", "cannot pull it", hint).findings
    assert found.advice == f"{hint[:-1]}, then: systemctl reload ocp-tuned"
    (found,) = with_fallback_image(fine, "tuned:2.25", "cannot pull it", "").findings
    assert found.advice.startswith("Build, load or push the requested image, or request another ")
    assert with_fallback_image(fine, "tuned:2.25", "", hint) == fine
