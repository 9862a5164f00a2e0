"""The floors of the house: which room may import which, and what a room may be."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "coslice"

FLOORS = (
    # ground: volumes, scanners, operators, formats; knows no network's use and no method
    {
        *(
            "errors",
            "axes",
            "settings",
            "escapes",
            "tree",
            "sums",
            "threads",
            "kernels",
            "private_folders",
            "devices",
            "parallel",
            "resampling",
            "volume",
            "window",
            "geometry",
        ),
        *(
            "operators",
            "classical",
            "networks",
            "metrics",
            "io",
            "data",
            "preparation",
            "background",
            "detector",
            "problems",
        ),
        # the arithmetic of levels and of randomness, which detectors draw from too, and of what a prior is unsure of
        *("schedule", "noise", "correlated_noise", "mixed_noise", "tied_draws", "normal_calls", "variance"),
        # random words and normal deviates in integer arithmetic
        *("philox", "normal_deviates", "normal_deviates_numba"),
        *("lesions", "uncertainty"),
        # what a real scanner gives: counts into line integrals, values into units
        *("acquisition", "values"),
        # what a real scanner would give of a known object
        "xray",
        # where a run stands, and how it is asked to stop
        *("states", "stop_signals"),
        # what is asked of the upper floors by word; the door says who answers
        "upper_floors",
    },
    # methods: the loop, its parts, priors, the papers as compositions
    {"sampling", "renoising", "fidelity", "priors", "methods", "plans", "identities", "run_result", "runs", "interop"},
    # work: folders of results, tables, training, many scans, and the workers that do it
    {"output", "benchmark", "training", "cohort", "engine"},
    # words: what is printed and drawn
    {"report", "timing", "cli", "__main__"},
)
WITHIN = {  # inside a floor, a room imports from its lower neighbours only
    "priors": {"sampling"},
    "methods": {"priors", "sampling", "renoising", "fidelity"},
    "plans": {"methods", "priors", "sampling", "renoising", "fidelity"},
    "identities": {"plans", "methods", "priors"},
    "run_result": {"plans"},
    "runs": {"identities", "run_result", "plans", "methods", "priors", "sampling", "renoising"},
    "interop": {"runs", "identities", "plans", "methods", "priors", "sampling", "renoising", "fidelity"},
    "sampling": {"renoising"},
    "renoising": set(),
    "fidelity": set(),
    "cli": {"report", "timing"},
    "timing": {"report"},
    "report": set(),
    "benchmark": {"output", "engine"},
    "cohort": set(),
    "engine": set(),
    "training": set(),
    "output": set(),
}


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def modules():
    return [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


def imports(path: Path):
    """(line, module) of every import of coslice in a file, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "coslice":
            yield node.lineno, node.module
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names if name.name.split(".")[0] == "coslice")


def floor_of(room: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert len(found) == 1, f"the room {room} has no floor; give it one here and in docs/design.md"
    return found[0]


def test_rooms_import_from_their_floor_and_below():
    wrong = []
    for path in modules():
        room = room_of(path)
        for line, module in imports(path):
            other = module.split(".")[1] if "." in module else ""
            if other in ("", room):
                continue
            same, below = floor_of(other) == floor_of(room), floor_of(other) < floor_of(room)
            if not (below or (same and (room not in WITHIN or other in WITHIN[room]))):
                wrong.append(f"{path.relative_to(SOURCE)}:{line}: {room} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_in_a_ring():
    """Modules as a graph, imports inside functions and for type checkers left out, has no cycle."""
    graph = defaultdict(set)
    names = {}
    for path in modules():
        parts = path.relative_to(SOURCE).with_suffix("").parts
        names[".".join(("coslice", *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    for name, path in names.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module in names:
                # from package import module is an import of the module
                wanted = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= {one if one in names else node.module for one in wanted} - {name}
    done, open_ = set(), []

    def visit(name):
        if name in open_:
            pytest.fail(" -> ".join([*open_[open_.index(name) :], name]))
        if name not in done:
            open_.append(name)
            for other in sorted(graph[name]):
                visit(other)
            open_.pop()
            done.add(name)

    for name in sorted(names):
        visit(name)


def test_a_name_means_one_thing():
    """No two modules of one base name, and no two classes of one name."""
    files, classes = defaultdict(list), defaultdict(list)
    for path in modules():
        if path.name not in ("__init__.py", "__main__.py"):
            files[path.name].append(str(path.relative_to(SOURCE)))
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(str(path.relative_to(SOURCE)))
    command_rooms = {"benchmark.py", "priors.py", "train.py", "reconstruct.py", "evaluate.py"}
    twice = {name: where for name, where in files.items() if len(where) > 1 and name not in command_rooms}
    assert not twice
    assert not {name: where for name, where in classes.items() if len(where) > 1}


def test_a_file_is_read_in_one_sitting():
    long = {str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert not {name: count for name, count in long.items() if count > 400}


def test_a_dataclass_is_taken_in_at_a_glance():
    large = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
                count = sum(
                    isinstance(item, ast.AnnAssign) and "ClassVar" not in ast.unparse(item.annotation)
                    for item in node.body
                )
                if count > 15:
                    large[node.name] = count
    assert not large
