"""Imports go down only: what each zone of the package may import, read from its source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rnnport"
BASE = {"errors", "spec", "files"}
MAY_IMPORT = {
    "native": {"errors"},
    "runtime": BASE | {"native"},
    "data": BASE,
    "parity": BASE | {"runtime"},
    "graph": BASE | {"parity", "runtime"},
    "porting": BASE | {"graph", "parity", "runtime"},
    "training": BASE | {"data"},
    "pipeline": BASE | {"runtime", "data", "parity", "graph", "porting", "training"},
}
FRAMEWORKS = {"torch", "onnx", "onnxscript", "lightning", "onnxruntime", "pyarrow", "openvino"}
FRAMEWORKS_OF = {
    "native": set(),
    "runtime": {"onnxruntime", "openvino", "onnx"},  # one file for each engine
    "data": {"pyarrow"},
    "parity": set(),
    "graph": {"onnx"},
    "porting": {"torch", "onnx", "onnxscript"},
    "training": {"torch", "lightning"},
    "pipeline": {"torch"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module
            if node.module == "rnnport":
                yield from (f"rnnport.{alias.name}" for alias in node.names)


def zone_files():
    return [
        pytest.param(zone, path, id=str(path.relative_to(PACKAGE)))
        for zone in MAY_IMPORT
        for path in sorted((PACKAGE / zone).glob("*.py"))
    ]


@pytest.mark.parametrize(("zone", "path"), zone_files())
def test_a_zone_imports_only_what_lies_below_it(zone, path):
    own = {name.split(".")[1] for name in imports(path) if name.startswith("rnnport.")}
    assert own - {zone, "__version__"} <= MAY_IMPORT[zone]
    foreign = {name.split(".")[0] for name in imports(path)} & FRAMEWORKS
    assert foreign <= FRAMEWORKS_OF[zone]


def test_every_zone_has_a_rule():
    zones = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert zones - {"cli"} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_every_file_opens_with_a_sentence(path):
    first = ast.get_docstring(ast.parse(path.read_text())).split("\n\n")[0]
    assert first.endswith((".", ":"))


def loaded_by(statement):
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_rnnport_costs_numpy_at_most():
    heavy = FRAMEWORKS | {"typer", "rich", "scipy", "sklearn", "matplotlib", "pandas"}
    assert not loaded_by("import rnnport") & heavy


def test_the_command_line_starts_without_any_framework():
    assert not loaded_by("import rnnport.cli.main") & (FRAMEWORKS | {"rich", "numpy"})


def test_public_names_are_all_there():
    import rnnport

    assert {name for name in rnnport.__all__ if getattr(rnnport, name, None) is None} == set()
    with pytest.raises(AttributeError, match="nonsense"):
        _ = rnnport.nonsense
