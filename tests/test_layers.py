"""The layers of docs/design.md: each module imports from its own layer and those below it only."""

import ast
import re

from .conftest import ROOT


def read_layers() -> list[list[str]]:
    """The layers in docs/design.md, the highest first; those on one line may import each other."""
    text = (ROOT / "docs/design.md").read_text().split("## Layers", 1)[1].split("\n## ", 1)[0]
    rows = [
        re.findall(r"(\w+)(?:/|\.py)", line.split("   ")[0]) for line in re.findall(r"^    (hf_cifar/.*)$", text, re.M)
    ]
    return [[name for name in row if name != "hf_cifar"] for row in rows]


def test_imports_point_down():
    layers = read_layers()
    level = {name: number for number, names in enumerate(layers) for name in names}
    found = {path.name for path in (ROOT / "hf_cifar").iterdir() if (path / "__init__.py").is_file()}
    assert found <= set(level), found - set(level)
    for path in (ROOT / "hf_cifar").glob("*/*.py"):
        own = path.parent.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                names = {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
                for name in names - {"__version__"}:
                    assert level[own] <= level[name], f"{path.relative_to(ROOT)} imports {name}, which is above it"
