"""Imports run one way (docs/internals.md): who may import whom, held by this test."""

from __future__ import annotations

import ast
from pathlib import Path

import kpath

ROOT = Path(kpath.__file__).parent

ALLOWED: dict[str, set[str]] = {
    "kernel": set(),
    "guest": set(),
    "flow": set(),
    "capture": {"kernel"},
    "trace": {"capture"},
    "model": {"trace", "capture", "flow"},
    "compare": {"model", "trace", "capture", "flow"},
    "report": {"compare", "model", "trace", "capture", "flow"},
    "lab": {"capture", "kernel"},
    "dashboard": {"report", "model", "trace", "capture", "flow"},
    "cli": {"dashboard", "report", "compare", "lab", "model", "trace", "capture", "kernel", "flow"},
}

NEEDS_LINUX = {"bcc", "pyroute2"}
"""Modules that only these may import; a capture replays on a laptop."""
MAY_NEED_LINUX = {"kernel", "capture", "lab", "cli"}

PURE_CAPTURE = {
    "schema", "file", "tables", "container", "reader", "writer", "records", "errors", "plan", "looks", "heap"
}  # fmt: skip
"""Modules of kpath.capture that describe data, or what holds it: the only ones that trace, model and report may use."""


def imports(path: Path, package: str) -> list[tuple[str, bool]]:
    """Absolute names that a file imports, and whether the import is at the top of the file."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: 1 - node.level or None], base]).strip(".")
            found.append((base, id(node) in top))
            found += [(f"{base}.{alias.name}", id(node) in top) for alias in node.names]
    return found


def files() -> list[tuple[str, Path]]:
    return [(p.relative_to(ROOT).parts[0], p) for p in sorted(ROOT.rglob("*.py")) if len(p.relative_to(ROOT).parts) > 1]


def test_every_package_has_a_rule() -> None:
    assert {package for package, _ in files()} <= set(ALLOWED)


def test_imports_run_one_way() -> None:
    wrong = []
    for package, path in files():
        for name, _top in imports(path, f"kpath.{package}"):
            parts = name.split(".")
            if parts[0] != "kpath" or len(parts) < 2 or not (ROOT / parts[1]).is_dir():
                continue
            if parts[1] != package and parts[1] not in ALLOWED[package]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_pure_packages_stay_pure() -> None:
    wrong = []
    for package, path in files():
        for name, _top in imports(path, f"kpath.{package}"):
            parts = name.split(".")
            if parts[0] in NEEDS_LINUX and package not in MAY_NEED_LINUX:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
            pure = package in {"trace", "model", "compare", "report", "dashboard"}
            if pure and parts[:2] == ["kpath", "capture"] and len(parts) > 2 and parts[2] not in PURE_CAPTURE:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_data_modules_of_capture_import_no_kernel() -> None:
    wrong = []
    for name in sorted(PURE_CAPTURE):
        for imported, _top in imports(ROOT / "capture" / f"{name}.py", "kpath.capture"):
            if imported.startswith("kpath.kernel") or imported.split(".")[0] in NEEDS_LINUX:
                wrong.append(f"capture/{name}.py imports {imported}")
    assert not wrong


def test_heavy_modules_are_imported_late() -> None:
    """``kpath --help`` must not pay for BCC or pyroute2."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name} at its top"
        for package, path in files()
        for name, top in imports(path, f"kpath.{package}")
        if top and name.split(".")[0] in NEEDS_LINUX
    ]
    assert not wrong
