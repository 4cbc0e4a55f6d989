"""Owns what a check finds, and how findings look as text and as JSON."""

import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: what was looked at.
        status: "fail" where training cannot work or its numbers would mean nothing, "warn" where it may be worse or
            slower than need be.
        value: what was found, in words.
        why: why it matters.
        fix: what to do, where the status is not "ok".
        entry: the heading of docs/troubleshooting.md that says more.
        numbers: what was measured, by name, with the unit in the name.
    """

    check: str
    status: Status
    value: str
    why: str
    fix: str = ""
    entry: str = ""
    numbers: dict[str, float] = field(default_factory=dict)


def format_findings(findings: Iterable[Finding]) -> str:
    """A line each, and for those that are not ok why, the fix and where to read on."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<5}{finding.check}: {finding.value}")
        if finding.status != "ok":
            for name, text in (("why", finding.why), ("fix", finding.fix)):
                lines += textwrap.wrap(text, 112, initial_indent=f"     {name}: ", subsequent_indent=" " * 10)
            lines.append(f"     see: docs/troubleshooting.md#{finding.entry}")
    return "\n".join(lines)


def summarize(findings: list[Finding]) -> str:
    """How many there are of each status, as in "12 ok, 1 warn, 0 fail"."""
    return ", ".join(
        f"{sum(each.status == status for each in findings)} {status}" for status in ("ok", "warn", "fail")
    )


def make_report(findings: list[Finding]) -> dict[str, object]:
    """Findings for JSON."""
    worst = max((each.status for each in findings), key=("ok", "warn", "fail").index, default="ok")
    return {"status": worst, "findings": [asdict(each) for each in findings]}


def format_bytes(size: float) -> str:
    """As in "1.5 GB" or "120 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
