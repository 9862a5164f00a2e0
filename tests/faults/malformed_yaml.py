"""YAML that is not what it should be: as text, and as trees whose leaves are replaced by what no recipe means."""

import json
from collections.abc import Iterator
from typing import Any

import yaml
from malformed_priors import paths, replaced

LEAVES: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**9, 10**30, 0.5, -1e308, "", "x", "../../evil", "/etc/passwd", "\x1b[31m\x07", "\u202e"),
    *([], {}, [[]], {"a": {"b": 1}}, ["x"] * 500, "x" * 5000, float("nan"), float("inf"), "\0", "=1+1", "con"),
)
NAMES = (
    *(
        "../../evil",
        "/tmp/evil",
        "",
        " ",
        "..",
        ".",
        "a/b",
        "a\\b",
        "\0",
        "\x1b[31m",
        "x" * 300,
        "con",
        "nul.txt",
        "a\n",
    ),
    *("a\n", "-rf", "~", "$HOME", "a:b", "*", "\u202e", "cells", "locks"),
)
"""For editions, tables, rows and priors: none may lead out of the folder."""


def laughs(levels: int = 11, width: int = 9) -> str:
    """A few hundred bytes that stand for 10^10 words."""
    lines = ["a0: &a0 [" + ",".join(["lol"] * width) + "]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join([*lines, f"title: *a{levels - 1}"])


def texts() -> Iterator[tuple[str, bytes]]:
    """Files that are no recipe as a whole."""
    for label, text in {
        "laughs": laughs(),
        "laughs in keys": "a: &a [x, x]\nb: &b [*a, *a]\n? *b\n: 1",
        "merges": "a: &a {x: 1}\n" + "\n".join(f"b{i}: &a {{<<: [*a, *a, *a]}}" for i in range(40)),
        "itself": "a: &a [*a]",
        "itself as key": "&a ? *a\n: 1",
        "itself merged": "a: &a\n  <<: *a",
        "day": "title: 2024-02-30",
        "hour": "title: 2024-01-01 99:99:99",
        "int": "title: !!int x",
        "int of nothing": "title: !!int ''",
        "int of a list": "title: !!int [1]",
        "bool": "title: !!bool x",
        "float": "title: !!float x",
        "timestamp": "title: !!timestamp x",
        "binary": "title: !!binary x",
        "null": "title: !!null x",
        "object": "title: !!python/object/apply:os.system ['touch pwned']",
        "name": "title: !!python/name:os.system",
        "module": "title: !!python/module:os",
        "new": "title: !!python/object/new:subprocess.Popen ['touch pwned']",
        "tag": "title: !unknown x",
        "long tag": f"title: !{'x' * 5000} x",
        "set": "!!set {a, b}",
        "omap": "!!omap [a: 1]",
        "pairs": "!!pairs [a: 1]",
        "digits": f"title: {'9' * 5000}",
        "digits as key": f"{'9' * 5000}: 1",
        "hex": f"title: 0x{'f' * 5000}",
        "base 60": "title: 1:2:3:4:5:6",
        "octal": "title: 0o777",
        "levels": "[" * 3000,
        "levels of keys": "{a: " * 3000,
        "levels of lines": "\n".join(" " * i + "a:" for i in range(500)),
        "dashes": "- " * 3000 + "a",
        "twice": "title: a\ntitle: b",
        "twice below": "groups: {a: {scan: x}, a: {scan: y}}",
        "a list": "[1, 2]",
        "a word": "title",
        "a number": "3",
        "nothing": "",
        "two": "a: 1\n---\nb: 2",
        "a hundred": "---\n" * 100,
        "undefined": "a: *nowhere",
        "tabs": "a:\n\tb: 1",
        "open": 'a: "',
        "open list": "a: [1, 2",
        "colons": "a: b: c: d",
        "NUL": "a: \0",
        "bell": "a: \x07",
        "escapes": 'title: "\\e[31m\\a\\u202e"',
        "directive": "%YAML 9.9\n---\na: 1",
        "keys of lists": "? [1, 2]\n: 3",
        "keys of nothing": "? \n: 3",
        "long key": f"{'k' * 2000}: 1",
        "like nothing": 'like: "\\0"',
        "like itself": "like: bad",
        "like a path": "like: ../../../etc/passwd",
        "like a list": "like: [a]",
        "like dots": 'like: ".."',
        "like a colour": 'like: "\\e[31m"',
        "editions": "editions: 3",
        "an edition": "editions: {a: 3}",
        "tens of thousands": "title: [" + "1," * 10_000 + "]",
    }.items():
        yield label, text.encode(errors="surrogateescape")
    yield "UTF-16", "title: x".encode("utf-16")
    yield "UTF-32", "title: x".encode("utf-32")
    yield "latin", "title: \u00e9".encode("latin-1")
    yield "bytes", bytes(range(256))
    yield "marked", b"\xef\xbb\xbftitle: x"
    yield "2 MB", b"# " + b"x" * 2**21
    yield "zeros", b"\0" * 1000


def trees(good: dict[str, Any], leaves: tuple[Any, ...] = LEAVES) -> Iterator[tuple[str, bytes]]:
    """A recipe with one leaf or section replaced, or a key renamed."""
    for path in paths(json.loads(json.dumps(good))):
        for value in leaves:
            label = f"{'.'.join(map(str, path))}={str(value)[:24]!r}"
            yield label, yaml.safe_dump(replaced(good, path, value)).encode()
        if isinstance(path[-1], str):
            changed = replaced(good, path, None)
            place, kept = changed, good
            for key in path[:-1]:
                place, kept = place[key], kept[key]
            del place[path[-1]]
            yield f"without {'.'.join(map(str, path))}", yaml.safe_dump(changed).encode()
            place[f"{path[-1]}\x1b[31m"] = kept[path[-1]]
            yield f"renamed {'.'.join(map(str, path))}", yaml.safe_dump(changed).encode()
