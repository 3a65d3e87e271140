"""Calls one function of a user in a process of its own; ``links.functions`` starts it.

It keeps mistakes in: memory, time and processes are limited. It is not a sandbox: what the function may
read and send is what the server may.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import resource
import signal
import struct
import sys
import traceback
from pathlib import Path
from typing import Any

_FILE_BYTES = 1 << 30
_CLONE_THREAD = 0x10000
#: Per machine: the number of its ABI, of fork and vfork, of clone and clone3.
_CALLS = {
    "x86_64": (0xC000003E, (57, 58), 56, 435),
    "aarch64": (0xC00000B7, (), 220, 435),
}
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def main(folder: Path) -> None:
    """Read ``request.json`` in ``folder``, and write ``answer.json`` there."""
    request = json.loads((folder / "request.json").read_bytes())
    code = Path(request["code"])
    try:
        arguments = [_load(argument) for argument in request["arguments"]]
        _limit(request["seconds"], request["bytes"])
        value = _function(code, request["file"], request["function"])(*arguments)
        answer = json.dumps({"value": _plain(value)})
    except BaseException as error:
        answer = json.dumps({"error": _told(error, code)})
    (folder / "answer.part").write_text(answer)
    (folder / "answer.part").rename(folder / "answer.json")
    os._exit(0)  # threads that the function has left behind keep nobody waiting


def _load(path: str) -> Any:
    if path.endswith(".npy"):
        import numpy as np

        return np.load(path, allow_pickle=False)
    if path.endswith(".parquet"):
        import polars as pl

        return pl.read_parquet(path)
    return json.loads(Path(path).read_bytes())


def _function(code: Path, file: str, name: str) -> Any:
    """Import the file as a script would be: its own folder, then that of the repository, come first."""
    place = code / file
    sys.path[:0] = [str(place.parent), str(code)]
    specification = importlib.util.spec_from_file_location(place.stem, place)
    if specification is None or specification.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[place.stem] = module
    specification.loader.exec_module(module)
    return getattr(module, name)


def _plain(value: Any) -> Any:
    """Return numbers, also those of numpy, and mappings of them, as JSON has them."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(f"it returned a {type(value).__name__}, which is no number")


def _told(error: BaseException, code: Path) -> str:
    """Return the last line of the traceback, and the last line of the user's code that it went through."""
    said = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(code)]
    if own:
        said += f" ({Path(own[-1].filename).relative_to(code)}, line {own[-1].lineno})"
    return said


def _limit(seconds: int, memory: int) -> None:
    signal.alarm(seconds + 5)  # should nobody be there any more to end it
    for name, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds * 2 + 5),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))
    _refuse_processes()


def _refuse_processes() -> None:
    """Let threads be made and no processes, where this machine is known: root has no other limit."""
    known = _CALLS.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return
    machine, forks, clone, clone3 = known
    load, equal, has, give = 0x20, 0x15, 0x45, 0x06
    n = len(forks)
    # Each: what, how many to skip if so, how many if not, number.
    program = (
        (load, 0, 0, 4),
        (equal, 0, n + 5, machine),
        (load, 0, 0, 0),
        *((equal, n + 4 - place, 0, number) for place, number in enumerate(forks)),
        (equal, 5, 0, clone3),
        (equal, 0, 2, clone),
        (load, 0, 0, 16),
        (has, 0, 1, _CLONE_THREAD),
        (give, 0, 0, 0x7FFF0000),  # it may
        (give, 0, 0, 0x00050001),  # EPERM
        (give, 0, 0, 0x00050026),  # ENOSYS: glibc then takes clone
    )
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    filter_ = _Program(len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(filter_), 0, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
