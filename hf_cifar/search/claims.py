"""Owns who does which piece of work in a folder that processes share, on one machine or several."""

import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..files import write_json
from .processes import identify_process, is_gone


@dataclass
class Claim:
    """This process's claim on a piece of work: a file that but one process can make, touched while it works.

    Claims of one piece are numbered. A dead process's is never removed but followed by the next number, so that of
    several processes that find it dead, exactly one makes the file.
    """

    path: Path
    beaten: float = field(default_factory=time.monotonic)

    def beat(self, interval: float) -> None:
        """Touch the file if it was not for `interval` seconds."""
        if time.monotonic() - self.beaten > interval:
            os.utime(self.path)
            self.beaten = time.monotonic()

    def close(self, outcome: str) -> None:
        """Say how the work ended; "finished", or why it failed."""
        write_json(self.path, identify_process() | {"outcome": outcome})


def list_claims(folder: Path, name: str) -> list[Path]:
    """The claims on a piece of work, the last one last."""
    return sorted(folder.glob(f"{name}.claim-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def read_claim(path: Path) -> dict:
    """What a claim says; empty while it is being written."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, FileNotFoundError):
        return {}


def is_held(path: Path, grace: float) -> bool:
    """Whether a process still works on what it claimed: it has said no outcome, lives, and was not silent for `grace`.

    Ages are taken by the clock of the disk, which is one for all machines.
    """
    claim = read_claim(path)
    if "outcome" in claim or claim and is_gone(claim):
        return False
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".now-") as file:
        return os.stat(file.name).st_mtime - path.stat().st_mtime <= grace


def claim_work(folder: Path, name: str, grace: float) -> Claim | None:
    """Claim a piece of work; None if another process has it.

    Args:
        folder: of the claims; on a disk that all processes share.
        name: of the work.
        grace: seconds of silence after which a process counts as dead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    claims = list_claims(folder, name)
    if claims and is_held(claims[-1], grace):
        return None
    number = int(claims[-1].name.rpartition("-")[2]) + 1 if claims else 0
    path = folder / f"{name}.claim-{number}"
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(identify_process(), file)
    return Claim(path)
