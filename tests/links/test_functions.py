"""Functions of users, in real processes that do what functions should not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegauge.errors import ConflictError
from tidegauge.links.functions import Limits, call

QUICK = Limits(seconds=20, memory=2 << 30)


class Calls:
    """Calls what a test writes, with two lists of numbers."""

    def __init__(self, folder: Path) -> None:
        self.code = folder / "code"
        self.scratch = folder / "scratch"
        (self.code / "lib").mkdir(parents=True)
        self.scratch.mkdir()

    def __call__(self, body: str, limits: Limits = QUICK) -> Any:
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        (self.code / "lib" / "mine.py").write_text(f"def score(a, b):\n{lines}\n")
        paths = []
        for place, numbers in enumerate(([1.0, 2.0], [3.0])):
            paths.append(self.scratch / f"{place}.json")
            paths[-1].write_text(json.dumps(numbers))
        return call(self.code, "lib/mine.py", "score", paths, self.scratch, limits)

    def refusal(self, body: str, limits: Limits = QUICK) -> str:
        with pytest.raises(ConflictError) as caught:
            self(body, limits)
        return caught.value.message


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path)


def test_what_it_returns_is_the_answer_whatever_it_prints(calls: Calls) -> None:
    body = 'print("{}", flush=True)\nimport sys\nsys.stderr.write("no")\nreturn {"rmse": sum(a) + sum(b)}'
    assert calls(body) == {"rmse": 6.0}


def test_numbers_of_numpy_are_numbers(calls: Calls) -> None:
    body = "import numpy as np\nreturn {'mae': np.float32(0.5), 'mse': np.array(2), 'bias': np.nan}"
    found = calls(body)
    assert (found["mae"], found["mse"], np.isnan(found["bias"])) == (0.5, 2, True)


def test_arrays_come_as_arrays(calls: Calls, tmp_path: Path) -> None:
    (calls.code / "mine.py").write_text("def score(a, b):\n    return float(a.mean() - b[0, 1])\n")
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for path in paths:
        np.save(path, np.array([[2, 1]], np.uint8))
    assert call(calls.code, "mine.py", "score", paths, calls.scratch, QUICK) == 0.5


def test_it_may_import_from_its_folder_and_from_its_repository(calls: Calls) -> None:
    (calls.code / "lib" / "near.py").write_text("ONE = 1\n")
    (calls.code / "far.py").write_text("TWO = 2\n")
    assert calls("import far, near\nreturn far.TWO + near.ONE") == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x = 1\nraise ValueError('no such ward')", "ValueError: no such ward (lib/mine.py, line 3)."),
        ("return 1 / 0", "ZeroDivisionError: division by zero (lib/mine.py, line 2)."),
        ("return [1, 2]", "TypeError: it returned a list, which is no number."),
        ("raise SystemExit(0)", "SystemExit: 0 (lib/mine.py, line 2)."),
        ("import os\nos._exit(3)", "Its process ended with exit code 3 and without an answer."),
        (
            "import os\nprint('last words', flush=True)\nos.kill(os.getpid(), 11)",
            "Its process was ended by SIGSEGV and without an answer: last words.",
        ),
    ],
)
def test_how_it_failed_is_told_in_one_sentence(calls: Calls, body: str, said: str) -> None:
    assert calls.refusal(body) == said


@pytest.mark.parametrize("body", ["while True: pass", "import time\ntime.sleep(100)"])
def test_a_function_that_hangs_is_ended(calls: Calls, body: str) -> None:
    start = time.monotonic()
    pid = "import os\nopen('pid', 'w').write(str(os.getpid()))\n"
    assert calls.refusal(pid + body, Limits(seconds=3)) == "It did not return within 3 s."
    assert time.monotonic() - start < 8
    with pytest.raises(ProcessLookupError):
        os.kill(int((calls.scratch / "home" / "pid").read_text()), 0)


def test_memory_has_an_end(calls: Calls) -> None:
    said = calls.refusal("return len(bytearray(3 << 30))")
    assert said.startswith("MemoryError")


@pytest.mark.parametrize(
    "body",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess\nsubprocess.run(['true'])",
        "import multiprocessing\nmultiprocessing.get_context('spawn').Process(target=print).start()",
    ],
)
def test_processes_are_refused_to_it(calls: Calls, body: str) -> None:
    assert calls.refusal(body).startswith("PermissionError: [Errno 1] Operation not permitted")


def test_threads_are_not(calls: Calls) -> None:
    body = (
        "import threading\nfound = []\n"
        "thread = threading.Thread(target=found.append, args=(7,))\nthread.start()\nthread.join()\n"
        "threading.Thread(target=threading.Event().wait).start()\nreturn found[0]"
    )
    assert calls(body) == 7


def test_secrets_of_the_server_are_not_in_its_environment(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGAUGE_DATABASE_URL", "postgresql://me:secret@db/tidegauge")
    assert calls("import os\nreturn sum('TIDEGAUGE' in name for name in os.environ)") == 0
