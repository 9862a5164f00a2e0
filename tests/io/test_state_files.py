"""States in files: what is written is read, to the bit and to the layout, and what is damaged is not."""

from __future__ import annotations

import pytest
import torch

from coslice.errors import CosliceError
from coslice.io.state_files import read_state, write_state
from coslice.states import State

NUMBERS = {"done": 2, "total": 3, "log": {"seconds": {"prior": 0.1 + 0.2}, "trajectory": [{"psnr": None}]}, "text": "Δ"}
TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


def drawn(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape)))


def test_numbers_and_tensors_come_back_as_they_were_and_as_they_lay(tmp_path):
    path = tmp_path / "state.safetensors"
    tensors = {str(kind): (drawn(3, 4) * 9).to(kind) for kind in TYPES}
    tensors |= {"scalar": torch.tensor(0.1), "empty": torch.zeros(0, 3), "nan": torch.tensor([torch.nan, -0.0])}
    tensors |= {"z innermost": drawn(5, 6, 4).permute(2, 0, 1), "stack": drawn(1, 6, 5, 4).permute(0, 3, 2, 1)}
    write_state(path, State(NUMBERS, tensors), {"more": [1]})
    found = read_state(path)
    assert found is not None
    state, more = found
    assert dict(state.numbers) == NUMBERS and more == {"more": [1]} and list(state.tensors) == list(tensors)
    for name, tensor in tensors.items():
        read = state.tensors[name]
        assert read.dtype == tensor.dtype and read.shape == tensor.shape, name
        assert read.stride() == tensor.stride() or tensor.numel() < 2 or name == "stack", name
        assert torch.equal(read.contiguous().view(-1).view(torch.uint8), tensor.contiguous().view(-1).view(torch.uint8))
    assert state.tensors["stack"][0].stride() == tensors["stack"][0].stride()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_file_with_any_byte_changed_or_missing_is_not_believed(tmp_path):
    path = tmp_path / "state.safetensors"
    write_state(path, State(NUMBERS, {"x": drawn(4, 4), "dual": drawn(2, 2)}), {})
    content = path.read_bytes()
    for place in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 7
        path.write_bytes(damaged)
        found = read_state(path)
        if found is not None:  # a space of the header
            assert dict(found[0].numbers) == NUMBERS and torch.equal(found[0].tensors["x"], drawn(4, 4))
            assert content[place : place + 1] in b" "
    for length in (0, 7, 8, 100, len(content) - 1):
        path.write_bytes(content[:length])
        assert read_state(path) is None
    path.write_bytes(b"\x80\x04.")
    assert read_state(path) is None


def test_what_cannot_be_kept_is_refused_and_the_state_before_stays(tmp_path):
    path = tmp_path / "state.safetensors"
    write_state(path, State(NUMBERS, {}), {})
    before = path.read_bytes()
    for numbers, tensors in (({"a": {1, 2}}, {}), (NUMBERS, {"x": torch.zeros(2, dtype=torch.complex64)})):
        with pytest.raises(CosliceError, match=r"state\.safetensors: "):
            write_state(path, State(numbers, tensors), {})
    assert path.read_bytes() == before
    with pytest.raises(CosliceError, match="cannot be written"):
        write_state(tmp_path / "nowhere" / "a.safetensors", State(NUMBERS, {}), {})
    with pytest.raises(CosliceError, match="cannot be read"):
        read_state(tmp_path / "nowhere.safetensors")
