"""What is said of a profile that does not exist: each mistake has a sentence of its own, and what
it says to type puts it right."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.errors import NotRequested
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import settled
from ocp_tuned_boot.requested.keys import nearest
from ocp_tuned_boot.requested.missing import Missing, Search
from ocp_tuned_boot.tuned import profiles
from ocp_tuned_boot.tuned.findings import RELOAD, START

IMAGE = "localhost/tuned:1"
STOCK = {
    "/usr/lib/tuned/balanced/tuned.conf": "[main]\nsummary=x\n",
    "/usr/lib/tuned/throughput-performance/tuned.conf": "[main]\nsummary=x\n",
    "/usr/lib/tuned/odd/tuned.conf": "[main]\ninclude=gone\n",
}
CONF = "[main]\nsummary=of this site\n"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A node that requests the profile `site`, by its recommend file."""
    found = Paths(tmp_path)
    put(found.boot_id, "b\n")
    put(found.image_env, f"NTO_IMAGE={IMAGE}\n")
    put(found.recommend, "[site]\n")
    return found


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def drop_in(paths: Paths, name: str, text: str) -> Path:
    file = paths.admin_conf.with_name("boot.conf.d") / name
    put(file, f"[tuning]\n{text}\n")
    return file


def search(paths: Paths, *, is_known: bool = True) -> Search:
    config = boot_conf.load(paths)
    requested = settled.read(paths, config)
    texts = profiles.texts(requested.files, STOCK if is_known else {})
    return Search(paths, config, requested, texts, is_known)


def missing(paths: Paths) -> Missing:
    """The only one."""
    (found,) = search(paths).all()
    return found


def put_right(found: Missing) -> None:
    """Types what is in brackets, for a shell."""
    (command,) = re.findall(r"\(((?:mv|cp|mkdir) .*)\), then: ", found.advice)
    subprocess.run(["sh", "-ec", command], check=True)


def test_where_it_was_looked_for_and_who_names_it(paths: Paths) -> None:
    found = missing(paths)
    assert found.message == f'No profile "site" in {paths.profiles} or in the image {IMAGE}'
    assert found.advice == (
        f"It is named in {paths.recommend}. To see all names, type ocp-tuned-boot profile list. "
        f"Fix the name there, {START}"
    )


def test_where_the_image_was_never_looked_into_that_is_said(paths: Paths) -> None:
    (found,) = search(paths, is_known=False).all()
    assert found.message == (
        f'Profile "site" is not in {paths.profiles}; whether it is in the image {IMAGE} is not '
        "known yet"
    )
    assert found.advice == (
        f"It is named in {paths.recommend}. To find out: ocp-tuned-boot image fetch"
    )
    # What lies in the wrong place is known all the same.
    put(paths.root / "etc/tuned/site/tuned.conf", CONF)
    (found,) = search(paths, is_known=False).all()
    assert "The profile is in " in found.advice


@pytest.mark.parametrize(
    ("written", "meant"),
    [("ballanced", "balanced"), ("Balanced", "balanced"), ("sites", "site"), ("SITE", "site"),
     ("throughput_performance", "throughput-performance")],
)  # fmt: skip
def test_a_name_with_a_typing_error(paths: Paths, written: str, meant: str) -> None:
    put(paths.profiles / "site/tuned.conf", CONF)
    put(paths.recommend, f"[{written}]\n")
    assert missing(paths).advice == (
        f'It is named in {paths.recommend}. Did you mean "{meant}"? Write {meant} there, {START}'
    )


def test_a_name_like_no_other() -> None:
    assert nearest("abc", ["xyz", "throughput"]) == ""
    assert nearest("abc", []) == ""


def test_an_include_with_a_typing_error(paths: Paths) -> None:
    file = paths.profiles / "site/tuned.conf"
    put(file, "[main]\ninclude=balanced,throughput-perfomance\n")
    found = missing(paths)
    assert found.name == "throughput-perfomance"
    assert found.advice == (
        f'It is named in include= in {file}. Did you mean "throughput-performance"? '
        f"Write throughput-performance there, {START}"
    )


def test_an_include_of_the_image_cannot_be_fixed_here(paths: Paths) -> None:
    put(paths.recommend, "[odd]\n")
    assert missing(paths).advice == (
        "It is named in include= in /usr/lib/tuned/odd/tuned.conf in the image. "
        f"Add the profile to {paths.profiles}, or request another image, {START}"
    )


def test_the_exact_file_of_boot_conf_is_named(paths: Paths) -> None:
    paths.recommend.unlink()
    put(paths.admin_conf, "[tuning]\ntimeout = 60\n")
    file = drop_in(paths, "20-site.conf", "profile = nowhere")
    drop_in(paths, "30-other.conf", "verify = no")
    assert missing(paths).advice.startswith(f"It is named in [tuning] of {file}. ")
    put(paths.admin_conf, "[tuning]\nprofile = nowhere\n")
    file.unlink()
    assert missing(paths).advice.startswith(f"It is named in [tuning] of {paths.admin_conf}. ")


def test_of_drop_ins_that_contradict_each_other_both_are_named(paths: Paths) -> None:
    paths.recommend.unlink()
    put(paths.profiles / "edge/tuned.conf", CONF)
    loses = drop_in(paths, "10-a.conf", "profile = edge")
    wins = drop_in(paths, "20-b.conf", "profile = nowhere")
    assert missing(paths).advice == (
        f"It is named in [tuning] of {wins}. "
        f"profile = edge in {loses} has no effect: {wins} sets profile = nowhere. "
        "To see all names, type ocp-tuned-boot profile list. Fix the name there, "
        f'or remove profile = nowhere from {wins} to use "edge", {START}'
    )
    # One that says the same does not contradict.
    put(loses, "[tuning]\nprofile = nowhere\n")
    assert "has no effect" not in missing(paths).advice


def test_a_recommend_file_that_decides_against_boot_conf(paths: Paths) -> None:
    file = drop_in(paths, "10-a.conf", "profile = balanced")
    found = missing(paths)
    assert f"profile = balanced in {file} has no effect: {paths.recommend} decides" in found.advice
    assert f'or remove {paths.recommend} to use "balanced", {START}' in found.advice


def test_an_empty_key_asks_for_no_profile(paths: Paths) -> None:
    paths.recommend.unlink()
    drop_in(paths, "10-a.conf", "profile = edge")
    drop_in(paths, "20-b.conf", "profile =")
    with pytest.raises(NotRequested):
        search(paths)


WRONG = {
    "etc/tuned/profiles/site/tuned.conf": "etc/tuned/profiles/site",
    "etc/tuned/site/tuned.conf": "etc/tuned/site",
    "usr/lib/tuned/site/tuned.conf": "usr/lib/tuned/site",
    "usr/lib/tuned/profiles/site/tuned.conf": "usr/lib/tuned/profiles/site",
    "var/lib/tuned/profiles/site/tuned.conf": "var/lib/tuned/profiles/site",
    "var/lib/ocp-tuned/site/tuned.conf": "var/lib/ocp-tuned/site",
    "var/lib/ocp-tuned-boot/profiles/site/tuned.conf": "var/lib/ocp-tuned-boot/profiles/site",
    "var/lib/ocp-tuned-boot/site/tuned.conf": "var/lib/ocp-tuned-boot/site",
    "etc/ocp-tuned-boot/profiles/site/tuned.conf": "etc/ocp-tuned-boot/profiles/site",
    "etc/ocp-tuned-boot/site/tuned.conf": "etc/ocp-tuned-boot/site",
    "var/lib/ocp-tuned/profiles/a/site/tuned.conf": "var/lib/ocp-tuned/profiles/a/site",
    "var/lib/ocp-tuned/profiles/a/b/site/tuned.conf": "var/lib/ocp-tuned/profiles/a/b/site",
    "var/lib/ocp-tuned/profiles/site/site/tuned.conf": "var/lib/ocp-tuned/profiles/site/site",
    "var/lib/ocp-tuned/profiles/a b/site/tuned.conf": "var/lib/ocp-tuned/profiles/a b/site",
    "var/lib/ocp-tuned/profiles/site.conf": "var/lib/ocp-tuned/profiles/site.conf",
    "var/lib/ocp-tuned/profiles/tuned.conf": "var/lib/ocp-tuned/profiles/tuned.conf",
    "var/lib/ocp-tuned/profiles/site": "var/lib/ocp-tuned/profiles/site",
    "var/lib/ocp-tuned/site.conf": "var/lib/ocp-tuned/site.conf",
    "etc/ocp-tuned-boot/site.conf": "etc/ocp-tuned-boot/site.conf",
    "var/lib/ocp-tuned/profiles/site/site.conf": "site.conf",
    "var/lib/ocp-tuned/profiles/site/tuned.conf.txt": "tuned.conf.txt",
    "var/lib/ocp-tuned/profiles/site/Tuned.conf": "Tuned.conf",
}


@pytest.mark.parametrize("how", ["requested", "included"])
@pytest.mark.parametrize("lies", WRONG)
def test_what_lies_in_the_wrong_place_is_found_and_put_right(
    paths: Paths, lies: str, how: str
) -> None:
    put(paths.root / lies, CONF)
    if how == "included":
        put(paths.profiles / "top/tuned.conf", "[main]\ninclude=site\n")
        put(paths.recommend, "[top]\n")
    found = missing(paths)
    assert found.misplaced is not None
    assert WRONG[lies] in found.misplaced.what
    assert "Did you mean" not in found.advice
    put_right(found)
    assert search(paths).all() == ()
    assert (paths.profiles / "site/tuned.conf").read_text() == CONF
    # What belongs to the host's own TuneD remains there.
    tuned = lies.startswith(("etc/tuned", "usr/", "var/lib/tuned"))
    assert (paths.root / lies).exists() == (tuned or lies.endswith("profiles/site"))


def test_each_mistake_has_a_sentence_of_its_own(paths: Paths) -> None:
    said = {missing(paths).advice}
    for lies in ("etc/tuned/site/tuned.conf", "var/lib/ocp-tuned/profiles/a/site/tuned.conf",
                 "var/lib/ocp-tuned/profiles/site.conf"):  # fmt: skip
        put(paths.root / lies, CONF)
        said.add(missing(paths).advice)
        (paths.root / lies).unlink()
    put(paths.profiles / "sites/tuned.conf", CONF)
    said.add(missing(paths).advice)
    drop_in(paths, "1.conf", "profile = other")
    said.add(missing(paths).advice)
    assert len(said) == 6


def test_a_folder_that_has_nothing_for_tuned(paths: Paths) -> None:
    (paths.profiles / "site").mkdir(parents=True)
    found = missing(paths)
    assert f"The folder {paths.profiles}/site has no tuned.conf. Write this file, " in found.advice


def test_a_stray_file_is_not_what_a_name_with_a_typing_error_means(paths: Paths) -> None:
    put(paths.profiles / "tuned.conf", CONF)
    put(paths.profiles / "sites/tuned.conf", CONF)
    assert 'Did you mean "sites"?' in missing(paths).advice


def test_a_long_path_of_a_pod_is_not_shown(paths: Paths) -> None:
    folder = "/".join(["x" * 250] * 5)
    put(paths.profiles / folder / "site/tuned.conf", CONF)
    found = missing(paths)
    assert found.misplaced is None
    assert len(found.advice) < 1000


def test_a_profile_that_cannot_be_parsed_is_named_with_its_line(paths: Paths) -> None:
    own = paths.profiles / "site/tuned.conf"
    put(own, "[main]\ninclude=edge\n")
    assert search(paths).wrong()[0].kind == "missing-include"
    edge = paths.profiles / "edge/tuned.conf"
    put(edge, "[main]\nsummary=x\n[sysctl]\nvm.x 1\n")
    (found,) = search(paths, is_known=False).wrong()
    assert (found.kind, found.message) == ("broken-profile", f"TuneD cannot parse {edge}, line 4")
    assert found.advice.endswith(START)
    put(edge, "summary=x\n")
    assert search(paths).wrong()[0].message == f"TuneD cannot parse {edge}, line 1"
    put(edge, CONF)
    assert search(paths).wrong() == ()


def test_where_the_unit_is_active_what_is_fixed_is_applied_by_a_reload(paths: Paths) -> None:
    active = replace(search(paths), is_active=True)
    assert active.notes()[0].endswith(RELOAD)
    assert search(paths).notes()[0].endswith(START)
    put(paths.profiles / "site/tuned.conf", "[main\n")
    assert active.notes()[0].endswith(RELOAD)


def test_what_is_not_known_is_no_reason_to_say_that_it_cannot_be_applied(paths: Paths) -> None:
    unknown = search(paths, is_known=False)
    assert unknown.wrong() == ()
    assert "not known yet" in unknown.notes()[0]
