"""What is measured is read as it was written; nothing else of a file changes; a page keeps what people wrote."""

import json
import shutil

import pytest
import torch

from coslice.errors import CosliceError
from coslice.priors import Measurement, embedded_priors, load_prior, read_card, save_prior, update_card
from coslice.priors.denoising_error import ErrorRow
from coslice.priors.measured_cards import error_table, measured_of, own_file, page_with, write_measurement
from coslice.tree import plain

ROW = ErrorRow(1, "slices", 4, (128, 96), (1.5, 1.5), 3.0, {"0.1": 0.02, "1": 0.0712}, {"0.1": 52.0, "1": 185.1}, 0.05)
MEASURED = Measurement((ROW,), 7, "2 threads of 2 cores", "float32")
AGAIN = Measurement((ROW, ROW), 8, "one GPU", "float32")


def tensors(path):
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_written_is_read_and_the_weights_are_as_they_were(tiny_prior, tmp_path, packed):
    path = tmp_path / "mine.safetensors"
    save_prior(path, load_prior(tiny_prior), torch.bfloat16, packed=packed)
    before, card = tensors(path), read_card(path)
    assert write_measurement(path, MEASURED) == (path,)
    assert tensors(path) == before and measured_of(read_card(path)) == MEASURED
    assert read_card(path) == {**card, "measured": json.loads(json.dumps(plain(MEASURED)))}
    assert measured_of(load_prior(path).card) == MEASURED
    write_measurement(path, AGAIN)
    assert measured_of(read_card(path)) == AGAIN and measured_of(card) is None
    update_card(path, {"measured": None})
    assert read_card(path) == card and tensors(path) == before


def test_a_page_beside_the_prior_has_the_table_and_keeps_the_rest(tiny_prior, tmp_path):
    path, page = tmp_path / "mine.safetensors", tmp_path / "mine.md"
    shutil.copy(tiny_prior, path)
    page.write_text("# mine\n\nBy hand: 42.\n", encoding="utf-8")
    assert write_measurement(path, MEASURED) == (path, page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# mine\n\nBy hand: 42.\n\n") and "| 1: 128 x 96 of 1.5 mm | 52.0 | 185 | 50 |" in text
    page.write_text(text + "\nAfter it.\n", encoding="utf-8")
    write_measurement(path, AGAIN)
    second = page.read_text(encoding="utf-8")
    assert second.endswith("\n\nAfter it.\n") and second.count("1: 128 x 96") == 2 and "one GPU" in second
    assert page_with(page_with("# a\n", MEASURED), AGAIN) == page_with("# a\n", AGAIN)


def test_units_are_of_the_window_where_one_scan_has_no_hu():
    unitless = ErrorRow(2, "jumping", 4, (64, 64), (3.0, 4.0), 9.0, {"0.1": 0.02})
    head, *rows = error_table(Measurement((ROW, unitless)), in_hu=False)
    assert head[1:-1] == ("0.1", "1") and rows[0][1:3] == ("0.0200", "0.0712") and rows[1][2] == "-"
    assert rows[1][0] == "2: 64 x 64 of 3 x 4 mm, jumping, 9 mm apart"
    assert "units of the window" in page_with("", Measurement((ROW, unitless)))


@pytest.mark.parametrize(
    "entries",
    [
        {"measured": {"rows": "none"}},
        {"measured": {"rows": [{"scan": 1}]}},
        {"measured": [1]},
        {"not_for": 3},
        {"seen": {"pixel_mm": [2.0, 1.0]}},
        {"seen": {"intensity": {"level": [0.6, 0.2]}}},
        {"seen": {"intensity": {"level": ["0.2", "0.6"]}}},
        {"seen": {"intensity": {"level": [-0.2, 0.6]}}},
        {"seen": {"intensity": {"loud": [0.2, 0.6]}}},
        {"seen": {"intensity": [0.2, 0.6]}},
    ],
)
def test_a_card_that_could_not_be_read_again_is_not_written(tiny_prior, tmp_path, entries):
    path = tmp_path / "mine.safetensors"
    shutil.copy(tiny_prior, path)
    with pytest.raises(CosliceError, match=r"mine\.safetensors"):
        update_card(path, entries)
    assert path.read_bytes() == tiny_prior.read_bytes() and len(list(tmp_path.iterdir())) == 1


def test_only_files_of_ones_own_are_written_to(tiny_prior, tmp_path, monkeypatch):
    monkeypatch.setenv("COSLICE_PRIORS", str(tmp_path))
    shutil.copy(tiny_prior, tmp_path / "mine.safetensors")
    assert own_file("mine") == tmp_path / "mine.safetensors" and own_file(str(tiny_prior)) == tiny_prior
    ct = embedded_priors()["ct"]
    assert own_file(str(ct)) == ct
    (tmp_path / "theirs.pth").write_bytes(b"weights")
    for name in ("ct", str(tmp_path / "theirs.pth"), "nothing"):
        with pytest.raises(CosliceError):
            own_file(name)
    with pytest.raises(CosliceError, match="priors import"):
        update_card(tmp_path / "theirs.pth", {"not_for": "anything"})


def test_a_page_that_lost_its_second_mark_keeps_what_follows(tmp_path):
    cut = page_with("# a\n", MEASURED).rpartition("<!--")[0] + "\n## By hand\n"
    with pytest.raises(CosliceError, match="put it back"):
        page_with(cut, AGAIN)
