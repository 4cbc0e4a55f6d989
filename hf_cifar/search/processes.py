"""Owns how processes that share a study or a folder know each other, and tell that one is gone."""

import os
import socket
from pathlib import Path

SYSTEM = Path("/proc/sys/kernel/random/boot_id")


def identify_process() -> dict[str, str | int]:
    """This process: `host` and `pid` for people; `machine` and `started` tell it from all others on Linux."""
    return {
        "host": socket.gethostname(),
        "machine": identify_machine(),
        "pid": os.getpid(),
        "started": read_start("self"),
    }


def is_gone(process: dict) -> bool:
    """Whether a process, as `identify_process` described it, is known to have ended.

    Only processes of this machine can be known; another machine's, or another container's, count as running.
    """
    machine = identify_machine()
    return bool(machine) and process.get("machine") == machine and read_start(process["pid"]) != process["started"]


def identify_machine() -> str:
    """The running kernel and the space that process numbers are of; empty where there is no /proc."""
    try:
        return f"{SYSTEM.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def read_start(pid: int | str) -> int:
    """When a process started, in the kernel's ticks; 0 if there is none. Process numbers are used again, ticks not."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if state in "ZX" else int(fields[18])  # a zombie has ended
