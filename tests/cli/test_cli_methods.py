"""`coslice methods`: every method, and every setting of one, as the library has them."""

import json

import pytest

from coslice.methods import FAST_FORMS, KINDS, changed, described, fast_form, find_method, methods_for, setting_lines
from coslice.tree import assignments

TASK = {"ct": "svct", "zsr": "zsr"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_list_is_that_of_the_methods_for_a_task(coslice, kind):
    code, said, error = coslice("methods", "--task", TASK[kind], "--json")
    assert code == 0, error
    assert json.loads(said) == json.loads(json.dumps({n: described(m) for n, m in methods_for(kind).items()}))


@pytest.mark.parametrize("kind", KINDS)
def test_the_settings_of_a_method_are_printed_with_their_meaning_and_their_values(coslice, kind):
    for name in ("dds", "diffusionblend", "admm-tv"):
        method = find_method(name, kind)
        code, said, error = coslice("methods", name, "--task", TASK[kind], "--json")
        assert code == 0, error
        assert json.loads(said) == json.loads(json.dumps(described(method) | {"published": dict(method.published)}))


def test_fast_forms_are_listed_and_printed(coslice, refused):
    code, said, error = coslice("methods", "--fast", "--task", "zsr", "--json")
    assert code == 0 and list(json.loads(said)) == [n for n in methods_for("zsr") if n in FAST_FORMS["zsr"]], error
    code, said, error = coslice("methods", "dds", "--fast", "--json")
    assert code == 0, error
    method = fast_form(find_method("dds"))
    assert json.loads(said) == json.loads(json.dumps(described(method) | {"published": dict(method.published)}))
    assert "--method dds --fast" in " ".join(coslice("methods", "dds", "--fast")[1].split())
    assert "method tpdm: it has no fast form for this task; choose one of" in refused("methods", "tpdm", "--fast")


def test_what_is_printed_is_what_can_be_set():
    """Each path of a method, given with its own value as on the command line, changes nothing."""
    for kind in KINDS:
        for method in methods_for(kind).values():
            for line in setting_lines(method):
                if line.path != "start":  # its one kind has no word
                    value = line.value if isinstance(line.value, str) else json.dumps(line.value)
                    assert changed(method, assignments([f"{line.path}={value}"])) == method, line.path


def test_an_unknown_method_or_task_is_refused(refused):
    assert "methods are wblend" in refused("methods", "magic")
    assert "tasks are svct" in refused("methods", "--task", "pet")
    assert "not for this task" in refused("methods", "fdk", "--task", "zsr")
