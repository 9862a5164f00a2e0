"""Words of strangers: what is obeyed is written out, what is long is cut, what leads elsewhere is refused."""

import pytest

from coslice.errors import CosliceError
from coslice.escapes import check_file_name, csv_cell, shown, visible
from coslice.io.documents import json_of, yaml_of


def test_what_a_terminal_obeys_is_written_out_and_letters_stay():
    assert visible("\x1b[31m\x07\x9b\u202e\u200b\n") == r"\x1b[31m\x07\x9b\u202e\u200b\n"
    assert visible("half a letter \udcff") == "half a letter ?"
    assert visible("Größe 中 Δ", lines=True) == "Größe 中 Δ" and visible("a\nb", lines=True) == "a\nb"


def test_a_value_is_shown_in_part_however_large_it_is():
    value = ["x"]
    for _ in range(100):  # 2^100 words
        value = [value, value]
    assert len(shown(value)) == 120 and shown({"a": [1, None]}) == "{'a': [1, None]}"
    assert shown(10**5000) == "a whole number of about 5001 digits"


def test_cells_that_begin_as_formulas_are_words_and_numbers_stay():
    cells = ["=1+1", "@x", "-x", "\t=1", "-1.5", "+1e5", "a\nb", 3, None]
    assert [csv_cell(cell) for cell in cells] == ["'=1+1", "'@x", "'-x", r"\t=1", "-1.5", "+1e5", "a b", 3, None]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../evil", "/evil", "a\\b", "a\0", "x" * 300, "con", "NUL.txt", "a."]
)
def test_no_name_leads_out_of_its_folder(name):
    with pytest.raises(CosliceError, match="cannot be the name of a file"):
        check_file_name(name, "table")
    assert check_file_name("Table 1, smål", "table") == "Table 1, smål"


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (yaml_of, "a: &a [*a]", "it holds itself"),
        (yaml_of, "a: 2024-02-30", "no value of the kind timestamp"),
        (yaml_of, "a: !!int x", "no value of the kind int"),
        (yaml_of, "[" * 3000, "nested too deeply"),
        (yaml_of, f"a: {'9' * 5000}", "no value of the kind int"),
        (json_of, "[" * 200_000, "nested too deeply"),
        (json_of, "9" * 5000, "a number of 5000 digits"),
        (json_of, "[NaN]", "it holds NaN"),
        (json_of, '{"a": 1, "a": 2}', "there twice"),
    ],
)
def test_documents_keep_within_bounds(read, text, said):
    with pytest.raises(ValueError, match=said):
        read(text)
