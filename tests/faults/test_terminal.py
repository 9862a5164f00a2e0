"""What a terminal would obey is written out, wherever words of strangers are printed; and files that are no records."""

import json
import shutil

import pytest
import yaml
from malformed_priors import parts, written
from small_inputs import ended, good_prior, tiny_scan

from coslice.cli.descriptions.description import written as written_out
from coslice.cli.descriptions.of_records import run_description
from small_benchmark import small_tree

pytestmark = pytest.mark.faults

EVIL = "\x1b]52;c;AAAA\x07\x1b[2J\x1b]8;;http://evil\x1b\\link\x9b31m\u202e\u200b\ncoslice: all is well"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terminal")
    return folder, tiny_scan(folder), good_prior(folder)


def _harmless(trial):
    trial.sane()
    said = trial.output + trial.errors
    assert not [one for one in said if one in "\x9b\u202e\u200b\x85\u2028"]
    assert "\ncoslice: all is well" not in said
    return trial


def test_cards(trials, place):
    folder, scan, prior = place
    described, weights = parts(prior)
    card = dict.fromkeys(("name", "title", "licence", "credit", "data", EVIL[:30]), EVIL)
    card |= {"notes": [EVIL], "nested": {EVIL: {"a": EVIL}}, "remarks": [EVIL], "validation": {EVIL: {EVIL: EVIL}}}
    store = folder / "store"
    store.mkdir()
    (store / "evil.safetensors").write_bytes(written(described | {"card": card}, weights))
    environment = {"COSLICE_PRIORS": str(store)}
    for words in (("priors",), ("priors", "show", "evil"), ("inspect", "evil"), ("priors", "show", "evil", "--json")):
        assert _harmless(trials.tried(*words, environment=environment)).code == 0
    words = ("--method", "dds", "--steps", "1", "--views", "4", "--prior", "evil", "--out", folder / "out")
    assert _harmless(trials.tried("reconstruct", scan, *words, environment=environment)).code == 0
    shutil.rmtree(folder / "out")


def test_names_of_files_and_values_of_options(trials, place):
    folder, scan, _ = place
    name = EVIL.replace("/", "")[:60]
    (folder / f"{name}.nii.gz").write_bytes(scan.read_bytes())
    (folder / f"{name}.bin").write_bytes(b"nonsense")
    for ending in ("nii.gz", "bin", "safetensors"):
        for command in (("inspect",), ("evaluate", scan), ("priors", "show")):
            _harmless(trials.tried(*command, folder / f"{name}.{ending}"))
    for option in ("--method", "--noise", "--set", "--task", "--values", "--device", "--series", "--prior", "--slices"):
        _harmless(trials.tried("reconstruct", scan, "--out", folder / "out", option, EVIL)).refused()
    for command in ("methods", "benchmark", "nonsense", "--nonsense"):
        _harmless(trials.tried(command, EVIL))


def test_recipes(trials, place):
    folder, scan, prior = place
    tree = small_tree(scan, prior)
    for key in ("title", "source", "about"):
        (folder / "evil.yaml").write_text(yaml.safe_dump({**tree, key: EVIL}))
        _harmless(trials.tried("benchmark", folder / "evil.yaml", "--plan", "--out", folder / "tables"))
    for key in ("groups", "methods", "scans", "settings", "published"):
        changed = {**tree, key: {**tree[key], EVIL: next(iter(tree[key].values()))}}
        (folder / "evil.yaml").write_text(yaml.safe_dump(changed))
        _harmless(trials.tried("benchmark", folder / "evil.yaml", "--plan", "--out", folder / "tables"))


RECORDS = (
    *(
        b"",
        b"\x00\xff" * 100,
        b"[]",
        b"3",
        b"{}",
        b"null",
        b"[" * 200_000,
        b"9" * 5000,
        b'{"a": NaN}',
        b'"' + b"x" * 9999,
    ),
    *(b'{"study": 3, "methods": {}}', b'{"study": {}, "methods": []}', b"\xff\xfe{\x00}\x00", b'{"study": null}'),
)


def test_records_of_runs_that_are_none(trials, place):
    folder = place[0] / "run"
    folder.mkdir()
    for content in RECORDS:
        (folder / "run.json").write_bytes(content)
        _harmless(trials.tried("inspect", folder)).refused()
    good = {
        "study": {"window": {"low": 0, "high": 1}, "shape": [1, 2, 3], "spacing_mm": [1, 1, 1], "task": "svct"},
        "methods": {"dds": {"title": "DDS"}},
        "seconds": {"dds": {"prior": 1.0}},
        "recipes": {"dds": {"seed": 0}},
        "priors": [{"name": "ct"}],
        "remarks": ["one"],
    }
    for number, value in enumerate((None, 3, "x", [], {}, [[1]], EVIL, 1e300)):
        for tree, key in [(good, key) for key in good] + [(good["study"], key) for key in good["study"]]:
            changed = good | {key: value} if tree is good else good | {"study": tree | {key: value}}
            (folder / "run.json").write_text(json.dumps(changed))
            ended(lambda: written_out(run_description(folder)))
            if (number + len(key)) % 8 == 0:
                _harmless(trials.tried("inspect", folder))
