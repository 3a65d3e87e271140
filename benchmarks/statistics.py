"""Our statistics against alibi-detect, evidently, nannyml and scipy: same data, same run, one core.

    python benchmarks/statistics.py                some eight minutes, and the alternatives' environments once
    python benchmarks/statistics.py --quick        within a minute: one tenth of the rows, fewer repetitions
    python benchmarks/statistics.py --no-rivals    ours and scipy alone; nothing is installed

Each contestant works in a process of its own, the alternatives in environments of their own (`.venv-alibi`,
`.venv-evidently`, `.venv-nannyml`), and reads the same file; imports and the fit of a reference are not
timed unless the alternative fits with every call.
"""  # noqa: A005 - the file's name is the statistics' own; see below for who wants the other module

import sys

if __name__ == "__main__":
    from _speed import main

    sys.exit(main())

# A script in this folder, or a library that it uses, wants the standard library's module of this name.
import importlib.util
import sysconfig
from pathlib import Path

_path = Path(sysconfig.get_path("stdlib")) / "statistics.py"
_spec = importlib.util.spec_from_file_location("statistics", _path)
assert _spec is not None
assert _spec.loader is not None
sys.modules["statistics"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["statistics"])
