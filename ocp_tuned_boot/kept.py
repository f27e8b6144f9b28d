"""What a run does for the profile that is applied already: it compares the values if that was not
done, and restores what should be in effect and is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record.amend import with_holds
from ocp_tuned_boot.record.model import Why
from ocp_tuned_boot.record.recorder import Recorder
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.tuned.judge import Outcome


def catch_up(paths: Paths, config: Config, recorder: Recorder) -> None:
    """Compares the values first if the run that applied the profile was killed before it did."""
    applied = recorder.in_force
    if applied is not None and not applied.compared:
        from ocp_tuned_boot.settings import compare  # noqa: PLC0415  # hardly any run needs it

        compare.catch_up(paths, config, recorder, applied)


def restore(paths: Paths, config: Config, recorder: Recorder, notifier: Notifier, why: Why) -> None:
    """Gives systemd the file descriptors that it should hold. A reload also tries again to restore
    settings of the previous profile. Raises `HostError`."""
    _restore_holds(paths, config, recorder, notifier)
    if why is Why.RELOAD:
        _restore_settings(paths, config, recorder)


@contextmanager
def running(paths: Paths) -> Iterator[None]:
    """Around a run: at its end TuneD runs where it is to keep running (`mode = daemon`) for what is
    applied then. Not at the end of one that is stopped."""
    try:
        yield
    except BootError:
        _follow(paths)
        raise
    _follow(paths)


def _follow(paths: Paths) -> None:
    if paths.daemon.exists():
        from ocp_tuned_boot import daemon  # noqa: PLC0415  # only with mode = daemon

        daemon.follow(paths)


def _restore_holds(paths: Paths, config: Config, recorder: Recorder, notifier: Notifier) -> None:
    """Gives systemd again what it should hold for the applied profile and does not."""
    in_force = recorder.in_force
    if in_force is None:
        return

    from ocp_tuned_boot.settings import holds  # noqa: PLC0415

    states = holds.restore(paths, notifier, in_force)
    # The unit itself has just released what is no longer requested.
    found = [it for it in in_force.findings if not (notifier.in_unit and it.kind == "still-held")]
    outcome = with_holds(Outcome(in_force.result, tuple(found)), states, config.accept)
    recorder.held(outcome, tuple(state.hold for state in states))


def _restore_settings(paths: Paths, config: Config, recorder: Recorder) -> None:
    """Tries again to restore the settings of the previous profile that the kernel has refused to
    restore."""
    applied = recorder.in_force
    if applied is not None and any(each.kind == "not-restored" for each in applied.findings):
        from ocp_tuned_boot.settings import compare  # noqa: PLC0415  # hardly any run needs it

        compare.put_back_again(paths, config, recorder, applied)
