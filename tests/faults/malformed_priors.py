"""Files of priors that are not what they should be, made from one that is, and checkpoints of strangers.

Every value of the metadata is replaced by others, of another type, out of bounds, too long or too deep; tensors change
their names, shapes and types; the file itself is cut, or says of itself what is not so.
"""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

HUGE = "9" * 5000
RAW = "\0raw\0"
"""What stands before a text that goes into JSON as it is."""
VALUES: tuple[Any, ...] = (
    *(None, True, 0, 1, -1, 0.5, 1e308, -1e308, 1e-308, 2**40, 10**30, "x", "", "1", [], {}, [0, 0], [[]]),
    *(RAW + "NaN", RAW + "Infinity", RAW + HUGE, RAW + "1e999", RAW + "[" * 200_000 + "]" * 200_000),
    *("\x1b]52;c;AAAA\x07\x1b[2J", "../../evil", "a" * 100_000, ["x"] * 1000, {"a": {"b": {}}}, [1e308, -1e308]),
)


def parts(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Metadata and tensors of a prior's file."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["coslice"]), {name: file.get_tensor(name) for name in file.keys()}


def written(described: Any, weights: Mapping[str, torch.Tensor]) -> bytes:
    text = described if isinstance(described, str) else json.dumps(described)
    while (at := text.find(json.dumps(RAW)[:-1])) >= 0:
        end = text.index('"', at + len(json.dumps(RAW)) - 1)
        text = text[:at] + text[at + len(json.dumps(RAW)) - 1 : end] + text[end + 1 :]
    return save(dict(weights), {"coslice": text})


def paths(tree: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value in a tree."""
    if before:
        yield before
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, below in items:
        yield from paths(below, (*before, key))


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(tree))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def metadata(good: Path, values: tuple[Any, ...] = VALUES) -> Iterator[tuple[str, bytes]]:
    """Files with one value of the metadata replaced, left out, or not known."""
    described, weights = parts(good)
    full = described | {
        "card": described["card"]
        | {"seen": {"plane": "yx", "pixel_mm": [1.0, 2.0], "slice_mm": [1.0, 2.0], "size": [32, 64]}}
        | {"title": "A prior", "images": 3, "licence": "none", "remarks": ["one"]},
    }
    for path in paths(full):
        for value in values:
            label = f"{'.'.join(map(str, path))}={str(value)[:24]!r}"
            yield label, written(replaced(full, path, value), weights)
        if isinstance(path[-1], str):
            lacking = replaced(full, path, None)
            place = lacking
            for key in path[:-1]:
                place = place[key]
            del place[path[-1]]
            yield f"without {'.'.join(map(str, path))}", written(lacking, weights)
    for value in values:
        for more in ({"classes": value}, {"card": full["card"] | {"tasks": value}}, {"unknown\x1b[31m": value}):
            yield f"{next(iter(more))} {str(value)[:24]!r}", written(full | more, weights)
    for label, text in (
        ("nothing", ""),
        ("a list", "[]"),
        ("a number", "3"),
        ("half", json.dumps(full)[:60]),
        ("deep", "[" * 200_000),
        ("twice", '{"network": "unet", "network": "ncsnpp"}'),
        ("keys without end", json.dumps({str(i): i for i in range(100_000)})),
    ):
        yield label, written(text, weights)
    for name, config in (
        ("unet", {"blocks": 10**9}),
        ("unet", {"channels": 2**40}),
        ("unet", {"multipliers": [10**6] * 4}),
        ("unet", {"multipliers": [1] * 100_000}),
        ("unet", {"fold": 10**9}),
        ("ncsnpp", {"blocks": 10**9}),
        ("ncsnpp", {"scales": 10**12}),
        ("ncsnpp", {"fir_kernel": [1] * 100_000}),
        ("guided-diffusion", {"blocks": 10**9}),
        ("guided-diffusion", {"classes": 10**12}),
        ("guided-diffusion", {"attention": [99]}),
        ("guided-diffusion", {}),
        ("ncsnpp", {}),
    ):
        whole = described["config"] | config if name == "unet" else config
        yield f"{name} {str(config)[:40]}", written(full | {"network": name, "config": whole}, weights)
    for kind in ("ve", "vp", "edm"):
        for more in ({}, {"betas": {"count": 10**12}}, {"input_range": [1, 0]}, {"betas": {"first": 2}}):
            told = {"kind": kind, **more}
            yield f"{kind} {more}", written(full | {"denoiser": told}, weights)


def tensors(good: Path) -> Iterator[tuple[str, bytes]]:
    """Files whose tensors are not those of the network that they describe."""
    described, weights = parts(good)
    names = list(weights)
    for name in (names[0], names[len(names) // 2], names[-1]):
        weight, others = weights[name], {key: value for key, value in weights.items() if key != name}
        for label, changed in (
            ("flat", weight[None].flatten(1)),
            ("empty", weight[:0]),
            ("longer", torch.cat([weight, weight])),
            ("int64", weight.long()),
            ("bool", weight > 0),
            ("uint8", weight.to(torch.uint8)),
            ("complex", weight.to(torch.complex64)),
            ("float8", weight.to(torch.float8_e4m3fn)),
            ("NaN", weight * torch.nan),
            ("inf", weight / 0.0 + torch.inf),
        ):
            yield f"{name} {label}", written(described, others | {name: changed.contiguous()})
        yield f"without {name}", written(described, others)
        yield f"{name} twice", written(described, weights | {f"{name}\x1b[2J": weight.clone()})
        yield f"{name} long", written(described, others | {name * 2000: weight})
    yield "no tensors", written(described, {})


def headers(good: Path) -> Iterator[tuple[str, bytes]]:
    """Files that are cut, or whose header is not that of what follows."""
    whole = good.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    for count in (0, 1, 7, 8, 9, 40, length // 2, length + 7, length + 8, len(whole) // 2, len(whole) - 1):
        yield f"{count} bytes", whole[:count]
    for claimed in (0, 1, length - 1, length + 1, len(whole), 2**31, 2**60, 2**64 - 1):
        yield f"header of {claimed}", struct.pack("<Q", claimed) + whole[8:]
    yield "more at its end", whole + b"\0" * 100
    names = [name for name in header if name != "__metadata__"]
    for label, change in (
        ("overlap", {"data_offsets": [0, 4]}),
        ("beyond", {"data_offsets": [0, 2**60]}),
        ("backwards", {"data_offsets": [100, 0]}),
        ("negative", {"data_offsets": [-4, 0]}),
        ("dtype", {"dtype": "F1"}),
        ("shape", {"shape": [2**62, 2**62]}),
        ("sides", {"shape": [-1]}),
        ("words", {"shape": "x"}),
        ("without", {"dtype": None}),
    ):
        text = json.dumps(header | {names[0]: header[names[0]] | change}).encode()
        yield f"header {label}", struct.pack("<Q", len(text)) + text + whole[8 + length :]
    for label, text in (("deep", b'{"a":' * 100_000), ("garbage", b"{" + bytes(range(256))), ("NUL", b"{\0\0\0}")):
        yield f"header {label}", struct.pack("<Q", len(text)) + text + whole[8 + length :]
    for label, listed in (
        ("none", "[]"),
        ("words", '"x"'),
        ("sides", '[["a", "BF16", [-1]]]'),
        ("huge", '[["a", "BF16", [1000000000000]]]'),
        ("many", json.dumps([["a", "BF16", [1]]] * 100_000)),
        ("deep", "[" * 100_000),
        ("digits", f'[["a", "BF16", [{HUGE}]]]'),
    ):
        described, weights = parts(good)
        streams = {
            "packed.first": torch.zeros(9, dtype=torch.uint8),
            "packed.second": torch.zeros(9, dtype=torch.uint8),
        }
        yield f"packed {label}", save({**weights, **streams}, {"coslice": json.dumps(described), "packed": listed})


def pickled(content: bytes) -> bytes:
    """An archive as torch writes it, whose pickle is `content`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return stream.getvalue()


def pickles() -> Iterator[tuple[str, bytes]]:
    """Pickles that ask for a command, for memory, for time or for depth; alone, and in an archive of torch's."""
    touch = "touch pwned"
    proto = b"\x80\x02"
    tree = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60))
    alone = {
        "GLOBAL os.system": b"cos\nsystem\n(S'" + touch.encode() + b"'\ntR.",
        "GLOBAL posix.system": b"cposix\nsystem\n(S'" + touch.encode() + b"'\ntR.",
        "GLOBAL eval": b'c__builtin__\neval\n(S\'__import__("os").system("touch pwned")\'\ntR.',
        "GLOBAL builtins.exec": proto + b"cbuiltins\nexec\nX\x05\x00\x00\x00pass \x85R.",
        "GLOBAL getattr": proto + b"cbuiltins\ngetattr\nq\x00.",
        "GLOBAL subprocess": b"csubprocess\nPopen\n(S'" + touch.encode() + b"'\ntR.",
        "GLOBAL torch.load": proto + b"ctorch\nload\nX\x01\x00\x00\x00x\x85R.",
        "GLOBAL pickle.loads": proto + b"cpickle\nloads\nU\x01.\x85R.",
        "GLOBAL \x1b[2J": proto + b"c\x1b[2J\nsystem\n)R.",
        "GLOBAL long": proto + b"c" + b"a" * 100_000 + b"\nb\n)R.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0btouch pwned\x85R.",
        "INST": b"(S'" + touch.encode() + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + touch.encode() + b"'\no.",
        "NEWOBJ": proto + b"cos\nsystem\nU\x0btouch pwned\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.",
        "BUILD": proto + b"ccollections\nOrderedDict\n)R}U\x01aU\x01bsb.",
        "EXT1": b"\x80\x02\x82\x01.",
        "EXT2": b"\x80\x02\x83\x01\x00.",
        "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "REDUCE of a number": b"K\x01)R.",
        "bytearray": proto + b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        "tensor without end": proto + b"ctorch\nTensor\nJ\xff\xff\xff\x7f\x85R.",
        "PERSID": b"Pos.system\n.",
        "BINPERSID": proto + b"X\x01\x00\x00\x00xQ.",
        "memo bomb": proto + b")q\x00" + tree + b"}h<K\x01s.",
        "memo bomb in a list": proto + b")q\x00" + tree + b"]h<a.",
        "deep tuples": proto + b")" + b"\x85" * 200_000 + b"}h\x00.",
        "deep keys": proto + b"}" + b")" + b"\x85" * 200_000 + b"K\x01s.",
        "deep lists": proto + b"]" * 200_000 + b"a" * 199_999 + b".",
        "marks": b"(" * 50_000 + b".",
        "LONG4 negative": b"\x80\x02\x8b\xff\xff\xff\xff.",
        "LONG4 long": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "LONG1": b"\x80\x02\x8a\xff" + b"\xff" * 255 + b".",
        "INT long": b"I" + b"9" * 100_000 + b"\n.",
        "BINSTRING negative": b"T\xff\xff\xff\xffx.",
        "BINUNICODE8": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x0fx.",
        "BINBYTES8": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x0fx.",
        "BYTEARRAY8": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x0fx.",
        "FRAME": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
        "PUT far": proto + b"]r\xff\xff\xff\xff.",
        "GET nothing": proto + b"h\x05.",
        "STOP": b".",
        "nothing": b"",
        "protocol 200": b"\x80\xc8.",
        "unknown": b"\x80\x02\xff\xfe\xfd.",
        "a number": pickle.dumps(3),
        "a list": pickle.dumps([1, 2]),
        "names that are numbers": pickle.dumps({1: 2}),
        "surrogates": pickle.dumps({"\udcff": "\udcff"}, 2),
    }
    for name, content in alone.items():
        yield name, content
        yield f"{name}, archived", pickled(content)


def archives(checkpoint: Path) -> Iterator[tuple[str, bytes]]:
    """Archives of torch's that are larger in memory than on disk, or lie, made from a good one."""

    def saved(content: Any) -> bytes:
        stream = io.BytesIO()
        torch.save(content, stream)
        return stream.getvalue()

    def packed(content: bytes) -> bytes:
        stream = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(content)) as one,
            zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as other,
        ):
            for entry in one.infolist():
                other.writestr(entry.filename, one.read(entry))
        return stream.getvalue()

    content = torch.load(checkpoint, weights_only=True)
    state = content.get("model", content)
    spread = {name: torch.zeros(1).expand(weight.shape) for name, weight in state.items()}
    vast = {name: torch.zeros(1).expand((2**16, 2**15, *weight.shape[2:])) for name, weight in state.items()}
    first = next(iter(state))
    yield "one number spread", saved(spread)
    yield "one number spread for gigabytes", saved(vast)
    yield "zeros deflated", packed(saved({name: torch.zeros(2**20) for name in list(state)[:20]}))
    whole = saved(state)
    yield "cut", whole[: len(whole) // 2]
    yield "its end cut", whole[:-40]
    yield "in front of something", whole + b"x" * 100
    for label, size in (("larger", 2**31 - 1), ("smaller", 1)):
        directory = whole.rindex(b"PK\x01\x02")
        yield (
            f"an entry said {label}",
            whole[: directory + 20] + struct.pack("<II", size, size) + whole[directory + 28 :],
        )
    sparse = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), [1.0], (2**40, 2**20), check_invariants=True)
    yield "sparse", saved(state | {first: sparse})
    yield "bool", saved({name: weight > 0 for name, weight in state.items()})
    yield "complex", saved({name: weight.to(torch.complex64) for name, weight in state.items()})
    yield "meta", saved({name: weight.to("meta") for name, weight in state.items()})
    yield "names", saved({f"\x1b[2J{name}": weight for name, weight in state.items()})
    yield "no numbers", saved({name: weight * torch.nan for name, weight in state.items()})
    yield "scalars", saved({name: torch.tensor(0.0) for name in state})
    yield "old form", _old(state)


def _old(state: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()[:-100]
