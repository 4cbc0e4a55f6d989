"""docs/troubleshooting.md: whole entries, and one for everything that doctor and companion may say."""

import ast
import re

import pytest

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments

from .conftest import ROOT

TEXT = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r'<a id="([a-z0-9-]+)"></a>\n(### .+?)(?=\n<a id=|\n## |\Z)', TEXT, re.DOTALL))
# Confirmed by a message that says it all, not by a command.
BY_LOOKING = {"push-to-hub", "metric-missing", "lora-targets", "same-augmentation"}


def find_strings(node: ast.AST | None) -> set[str]:
    """The texts in an expression; of a choice, both."""
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and each.value} if node else set()


def find_entries(path) -> set[str]:
    """The headings that the calls in a file name: `Finding(..., entry)` and `self.warn(entry, ...)`."""
    found: set[str] = set()
    for call in (each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)):
        name = getattr(call.func, "id", getattr(call.func, "attr", None))
        if name == "Finding":
            arguments = {each.arg: each.value for each in call.keywords}
            given = arguments.get("entry", call.args[5] if len(call.args) > 5 else None)
            # A test within a choice is no entry.
            branches = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
            found |= set().union(*(find_strings(each) for each in branches))
        elif name == "warn":
            found |= find_strings(call.args[0])
    return found


SAID_BY = {
    "doctor": set().union(*(find_entries(path) for path in (ROOT / "hf_cifar/guidance").glob("*.py"))),
    "companion": find_entries(ROOT / "hf_cifar/training/companion.py"),
}


def test_there_are_many_entries_and_all_are_whole():
    assert len(ENTRIES) == TEXT.count("\n### ") >= 30
    for anchor, entry in ENTRIES.items():
        parts = re.findall(r"^- (\w+(?: \w+)?): ", entry, re.MULTILINE)
        assert parts[:3] == ["Likely", "Confirm", "Fix"], anchor
        assert set(parts[3:]) <= {"Found by", "Seen"}, anchor
        confirm = re.search(r"^- Confirm: (.+)$", entry, re.MULTILINE)[1]
        assert "`" in confirm or anchor in BY_LOOKING, anchor


@pytest.mark.parametrize("speaker", ["doctor", "companion"])
def test_all_that_is_said_has_an_entry_which_says_so(speaker):
    assert len(SAID_BY[speaker]) >= 9
    assert SAID_BY[speaker] <= set(ENTRIES)
    for anchor in SAID_BY[speaker]:
        assert re.search(rf"^- Found by: .*{speaker}", ENTRIES[anchor], re.MULTILINE), anchor
    for anchor, entry in ENTRIES.items():
        if re.search(rf"^- Found by: {speaker}", entry, re.MULTILINE) and anchor != "torch-load":
            assert anchor in SAID_BY[speaker], anchor


def test_every_finding_that_may_be_bad_has_an_entry():
    """A `Finding` call either is always "ok" or names an entry."""
    for path in (ROOT / "hf_cifar/guidance").glob("*.py"):
        for call in (each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)):
            if getattr(call.func, "id", None) != "Finding":
                continue
            is_ok = isinstance(call.args[1], ast.Constant) and call.args[1].value == "ok"
            has_entry = len(call.args) > 5 or any(each.arg == "entry" for each in call.keywords)
            assert is_ok or has_entry, f"{path.name}:{call.lineno}"


def test_what_it_links_to_is_there():
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in ENTRIES, target
        elif target.startswith("http"):
            assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", target), target
        else:
            assert (ROOT / "docs" / target).is_file(), target


def test_recipes_files_and_options_that_it_names_exist():
    for path in re.findall(r"(?:recipes|hf_cifar)/[\w/.-]+\.(?:py|yaml)", TEXT):
        assert (ROOT / path).is_file(), path
    from transformers import TrainingArguments

    kinds = (DataArguments, ModelArguments, RecipeArguments, TrainingArguments)
    known = {name for kind in kinds for name in kind.__dataclass_fields__} | {"config", "check", "use_cpu", "help"}
    commands = "\n".join(line for line in TEXT.splitlines() if "recipes/" in line or "`--" in line)
    foreign = {"index-url", "shm-size", "cpu", "num_processes", "config_file", "nproc_per_node", "repo_id", "version"}
    for option in re.findall(r"(?<![\w-])--([a-z][\w-]+)", commands):
        assert option in known | foreign, option
