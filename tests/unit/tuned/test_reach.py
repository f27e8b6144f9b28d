"""Which custom profiles the profile of a node can reach."""

from __future__ import annotations

import pytest

from ocp_tuned_boot.tuned import reach
from ocp_tuned_boot.tuned.profilefile import ProfileFile

IMAGE = {
    "/usr/lib/tuned/stock/tuned.conf": "[main]\ninclude=base\n",
    "/usr/lib/tuned/base/tuned.conf": "[sysctl]\na=1\n",
    "/usr/lib/tuned/other/tuned.conf": "[sysctl]\na=2\n",
}
#: A profile of another node.
OTHER = ProfileFile("foreign/tuned.conf", b"[sysctl]\na=3\n")
PROVIDER = "${f:exec:cat:/var/lib/ocp-tuned/provider}"


def reached(*files: tuple[str, str], provider: str = "aws") -> list[str]:
    """The folders that the profile `site` reaches, of those given and one of another node."""
    given = [ProfileFile(path, text.encode()) for path, text in files]
    found = reach.reached("site", provider, [*given, OTHER], IMAGE)
    return sorted({file.path.partition("/")[0] for file in found})


def test_only_what_is_included_counts_with_everything_in_its_folder() -> None:
    site = ("site/tuned.conf", "[main]\ninclude=own, stock\n")
    own, script = ("own/tuned.conf", ""), ("own/deep/script.sh", "x")
    assert reached(site, own, script) == ["own", "site"]
    files = [ProfileFile(path, text.encode()) for path, text in (site, own, script)]
    found = reach.reached("site", "", [*files, OTHER], IMAGE)
    assert [file.path for file in found] == ["site/tuned.conf", "own/tuned.conf", script[0]]


def test_a_profile_of_the_image_may_include_a_custom_one() -> None:
    site, base = ("site/tuned.conf", "[main]\ninclude=stock\n"), ("base/tuned.conf", "")
    assert reached(site, base) == ["base", "site"]
    # The requested one may be one of the image itself.
    found = reach.reached("stock", "", [ProfileFile("base/tuned.conf", b""), OTHER], IMAGE)
    assert [file.path for file in found] == ["base/tuned.conf"]


def test_a_custom_profile_may_include_that_of_the_image_with_its_own_name() -> None:
    assert reached(("site/tuned.conf", "[main]\ninclude=site\n")) == ["site"]


@pytest.mark.parametrize(
    "text",
    [
        "[variables]\ninclude=/etc/tuned/lib/variables.conf\n",
        "[script]\nscript=${i:PROFILE_DIR}/../lib/script.sh\n",
        "[sysctl]\na=${f:exec:cat:/var/lib/ocp-tuned/profiles/lib/x}\n",
        # As scripts have it.
        "[script]\nscript=x\n# cd /etc/tuned/lib && . ./script.sh\n",
        "[variables]\nD='/var/lib/ocp-tuned/profiles/lib'\n",
    ],
)
def test_a_folder_that_is_named_in_a_path_counts(text: str) -> None:
    assert reached(("site/tuned.conf", text), ("lib/script.sh", "")) == ["lib", "site"]


def test_so_does_one_that_is_named_in_a_file_of_such_a_folder() -> None:
    files = (
        ("site/tuned.conf", "[main]\n"), ("site/script.sh", ". /etc/tuned/lib/a.sh\n"),
        ("lib/a.sh", ". /etc/tuned/more/b.sh\n"), ("more/b.sh", ""),
    )  # fmt: skip
    assert reached(*files) == ["lib", "more", "site"]


@pytest.mark.parametrize(
    "text",
    [
        "[main]\ninclude=stock${f:exec:uname:-r}\n",
        "[variables]\na=own\n[main]\ninclude=${a}\n",
        "[variables]\ninclude=/etc/tuned/${f:exec:id}/variables.conf\n",
        "[variables]\ninclude=/etc/tuned/own-${x}/variables.conf\n",
        "[script]\nscript=/etc/tuned/*/script.sh\n",
        "[script]\nscript=/etc/tuned/own*/script.sh\n",
        "[main\n",
        "[main]\ninclude=" + ",".join(f"x{n}" for n in range(200)) + "\n",
    ],
    ids=["function", "variable", "path", "part", "pattern", "part-pattern", "broken", "many"],
)
def test_what_is_computed_or_cannot_be_read_reaches_everything(text: str) -> None:
    assert reached(("site/tuned.conf", text)) == ["foreign", "site"]


@pytest.mark.parametrize(
    "script", ["cat /etc/tuned/$1/x", "cd /etc/tuned; cat */x", "cat ../*/x", 'ls "$D/.."',
               "for d in /var/lib/ocp-tuned/profiles/*; do :; done", "x=/var/lib/ocp-tuned/$1"],
)  # fmt: skip
def test_so_does_a_script_that_computes_a_path(script: str) -> None:
    assert reached(("site/tuned.conf", ""), ("site/x.sh", script)) == ["foreign", "site"]


@pytest.mark.parametrize("script", ["echo done... now", "cat /etc/tuned/site/x", "cat ../site/x"])
def test_a_script_that_does_not_does_not(script: str) -> None:
    assert reached(("site/tuned.conf", ""), ("site/x.sh", script)) == ["site"]


def test_the_provider_in_an_include_is_known() -> None:
    """The operator's own profile, which every node has, includes by it."""
    text = f"[main]\ninclude=-provider-{PROVIDER},stock\n"
    site, aws = ("site/tuned.conf", text), ("provider-aws/tuned.conf", "")
    assert reached(site, aws) == ["provider-aws", "site"]
    assert reached(site, aws, provider="azure") == ["site"]


def test_a_profile_that_does_not_exist_reaches_nothing_until_it_does() -> None:
    text = "[main]\ninclude=-later\n"
    assert reached(("site/tuned.conf", text)) == ["site"]
    assert reached(("site/tuned.conf", text), ("later/tuned.conf", "")) == ["later", "site"]
