"""The machine around a command, made bad, in the process that is forked for it: who the user is, what may be opened,
what the streams take, which calls the operating system refuses. Nothing of it outlives that process."""

from __future__ import annotations

import errno
import io
import os
import resource
import sys
from pathlib import Path
from typing import Any


def enter(world: dict[str, Any]) -> None:
    """Make this process live in a world; only in a process that is to end soon.

    Args:
        world: of plain values, all may be left out:
            unset: variables taken out of the environment.
            umask: number.
            limits: of `resource`, by name without RLIMIT_; AS in addresses as given.
            nobody: the user has no entry, and writes only where files' modes allow it, also if it is root.
            removed: a folder that is made, entered, and removed.
            stdout, stderr: "full", "closed", "broken" (a pipe without a reader), or {"encoding": NAME}.
            refuse: {call: name of an error}, calls of `os` that fail; "call@TEXT" only where TEXT is in a path.
    """
    for name in world.get("unset", ()):
        os.environ.pop(name, None)
    if "umask" in world:
        os.umask(world["umask"])
    for call, name in world.get("refuse", {}).items():
        _refuse(call, name)
    if "removed" in world:
        folder = Path(world["removed"])
        folder.mkdir()
        os.chdir(folder)
        folder.rmdir()
    for stream in ("stdout", "stderr"):
        if stream in world:
            _stream(stream, world[stream])
    if world.get("nobody"):
        _become_nobody()
    for name, value in world.get("limits", {}).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _become_nobody() -> None:
    import pwd

    def unknown(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    pwd.getpwuid = unknown
    if os.getuid() == 0:
        _keep_out_root()


def _keep_out_root() -> None:
    """Bind the superuser, too, to what files' owners allow: capability 1 is to write where they do not."""
    import ctypes

    system = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    system.capget(header, data)
    for i in (0, 1):  # effective and permitted
        data[i] &= ~(1 << 1)
    assert system.capset(header, data) == 0, os.strerror(ctypes.get_errno())


def _stream(name: str, kind: str | dict[str, str]) -> None:
    number = {"stdout": 1, "stderr": 2}[name]
    if isinstance(kind, dict):
        raw = open(number, "wb", closefd=False)  # noqa: SIM115
        setattr(sys, name, io.TextIOWrapper(raw, encoding=kind["encoding"]))
        return
    if kind == "closed":
        os.close(number)
        setattr(sys, name, None)  # as Python itself has it
        return
    if kind == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), number)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, number)
    setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _refuse(call: str, name: str) -> None:
    called, _, text = call.partition("@")
    usual, number = getattr(os, called), getattr(errno, name)

    def refused(*arguments: Any, **named: Any) -> Any:
        if all(text in os.fsdecode(one) for one in arguments[:1] if text and not isinstance(one, int)):
            raise OSError(number, os.strerror(number), arguments[0] if not isinstance(arguments[0], int) else None)
        return usual(*arguments, **named)

    setattr(os, called, refused)
