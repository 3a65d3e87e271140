"""The audit of dependencies says what it found, and above all when it found nothing out."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[2] / ".ci" / "audit.py"


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("TIDEGAUGE_AUDIT", raising=False)
    spec = importlib.util.spec_from_file_location("audit", FILE)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        ([CLEAN], 0, "1 dependencies audited, no known vulnerability"),
        ([CLEAN, BAD], 1, "b 2: PYSEC-1, fixed by 3"),
        ([BAD, SKIPPED], 1, "PYSEC-1"),
        ([CLEAN, SKIPPED], 0, "WERE NOT AUDITED: 1 of 2 have no advisories there (c, ...)"),
    ],
)
def test_what_was_found_is_told(
    audit: ModuleType, capsys: pytest.CaptureFixture[str], found: list[dict[str, Any]], code: int, says: str
) -> None:
    assert audit.report(found) == code
    told = capsys.readouterr()
    assert says in told.out + told.err


def test_where_it_is_required_nothing_audited_is_a_failure(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGAUGE_AUDIT", "required")
    assert audit.report([SKIPPED]) == 1


def test_a_database_that_does_not_answer_is_told(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "SECONDS", 0.01)
    assert audit.main() == 0
    assert "did not answer within" in capsys.readouterr().err
