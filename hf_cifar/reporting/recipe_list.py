"""Owns the lists in recipes/README.md: what each script and each YAML is for, from what they say of themselves."""

import ast
from pathlib import Path

from .formatting import escape


def format_scripts(folder: Path) -> str:
    """A Markdown table of the scripts in a folder: purpose and command, from their docstrings."""
    rows = ["| script | for | command |", "|---|---|---|"]
    for path in sorted(folder.glob("*.py")):
        lines = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
        command = next((" ".join(line.split()) for line in lines if line.startswith("    ")), None)
        if command is None:  # the lesson's, which is read as a notebook
            continue
        rows.append(f"| [{path.name}]({path.name}) | {escape(lines[0])} | {escape_code(command)} |")
    return "\n".join(rows)


def format_recipes(folder: Path) -> str:
    """A Markdown table of the YAMLs for train.py below a folder: purpose, what was measured, from their headers."""
    rows = ["| YAML | for | measured: accuracy, cost, where |", "|---|---|---|"]
    for path in sorted(folder.glob("*/*.yaml")):
        header = read_header(path)
        if "Measured" not in header:  # of accelerate's configuration
            continue
        name = path.relative_to(folder).as_posix()
        published = f" Published: {header['Published']}" if "Published" in header else ""
        rows.append(f"| [{name}]({name}) | {escape(header[''])} | {escape(header['Measured'] + published)} |")
    return "\n".join(rows)


def read_header(path: Path) -> dict[str, str]:
    """The comment that opens a YAML: its first paragraph under "", the others by their keyword."""
    parts, name = {"": ""}, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        keyword, colon, rest = text.partition(":")
        if colon and keyword.isalpha() and keyword[0].isupper() and not line.startswith("#  "):
            name, text = keyword, rest.strip()
        parts[name] = f"{parts.get(name, '')} {text}".strip()
    return parts


def escape_code(text: str) -> str:
    """Code in a table's cell."""
    return "`" + text.replace("|", r"\|") + "`"
