"""User-data of cloud-init: a cloud-config (cloud-init's documentation, "User data formats").

cloud-init writes the files in its network stage, for which ocp-tuned-go.service waits, and runs
`runcmd` at the end of the first boot. The document is JSON, which is also YAML.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from ocp_tuned_boot.commands.render.content import UNITS, Content, NodeFile, placed, printable

# As the last of several parts of user-data, this one adds to the lists of the others, and its
# command runs before theirs. Without this, it would replace them (cloud-init, "Merging
# cloud-config"; there each part says how the next one is merged, but 22.4 and 25.1 do it so).
_MERGE_HOW = [
    {"name": "list", "settings": ["prepend"]},
    {"name": "dict", "settings": ["no_replace", "recurse_list"]},
]


def text(content: Content) -> bytes:
    """The document."""
    made = {
        "merge_how": _MERGE_HOW,
        "write_files": [_file(each) for each in placed(content)],
        # Does nothing if the units are enabled and the first boot was tuned by them. For an image
        # without the package, which user-data installs in this boot. It waits for the result, so
        # that a later command, such as kubeadm join, finds a tuned node.
        "runcmd": [["systemctl", "enable", "--now", *UNITS]],
    }
    return b"#cloud-config\n" + json.dumps(made, ensure_ascii=False, indent=2).encode() + b"\n"


def _file(file: NodeFile) -> dict[str, Any]:
    plain = printable(file.data)
    contents = (
        {"encoding": "b64", "content": base64.b64encode(file.data).decode()}
        if plain is None
        else {"content": plain}
    )
    # A text: as a number it would be decimal.
    return {"path": file.path, "owner": "root:root", "permissions": f"0{file.mode:o}", **contents}
