"""The first process of a container of `Engine` (fake_engine.py): says what the test has it say, and
after the word leaves what TuneD leaves. The real one is inside/program.py.

    fake_program.py SOCKET < CONTENT    (JSON: says, then, files)
"""

import json
import socket
import sys
from pathlib import Path


def main(path: str) -> None:
    asked = json.load(sys.stdin)
    host = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    host.connect(path)
    host.send(b"." + json.dumps(asked["says"]).encode())
    # In a container beside the one that applies, no word is awaited.
    word = b"go" if path.endswith("verify") else host.recv(64)
    if not word.startswith(b"go"):
        sys.exit(75)
    if b"unverified" in word:
        asked["then"] = {"version": 1, "kind": "unverified", "reason": "boot.conf sets verify = no"}
    for name, text in asked["files"].items():
        Path(name).write_text(text)
    host.send(b"." + json.dumps(asked["then"]).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
