"""Custom metrics: functions of users, from versions of their Code repositories."""

from __future__ import annotations

import ast
import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.metrics import COMPUTED, implausible
from tidegauge.domain.monitor_config import CustomFunction
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.links.functions import Limits, call
from tidegauge.services.catalogue import Catalogue

Argument = npt.NDArray[Any] | pl.DataFrame | Sequence[str] | Sequence[float]


def check_function(catalogue: Catalogue, owner: str, wanted: CustomFunction) -> None:
    """Raise where the version, the file or the function is not there, or cannot take two arguments.

    The code is read and not run. Raises NotFoundError, ConflictError or InvalidInputError.
    """
    version = catalogue.ready_version(RepositoryKind.CODE, owner, wanted.code, wanted.version)
    manifest = catalogue.manifest(catalogue.get(RepositoryKind.CODE, owner, wanted.code), version)
    path, _, name = wanted.function.partition(":")
    file = next((file for file in manifest.files if file.path == path), None)
    where = f"{wanted.code!r} {version.label}"
    if file is None:
        raise InvalidInputError(f"{where} has no file {path!r}.")
    try:
        tree = ast.parse(catalogue.blobs.get(file.sha256), path)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        place = f", line {line}" if line else ""
        raise InvalidInputError(f"{path}{place} of {where} is not valid Python: {error.args[0]}.") from error
    _check_signature(tree, name, f"{path} of {where}")


def _check_signature(tree: ast.Module, name: str, where: str) -> None:
    found: ast.stmt | None = None
    for statement in tree.body:
        if name in _bound(statement):
            found = statement
    if found is None:
        raise InvalidInputError(f"{where} defines no function {name!r}.")
    if isinstance(found, ast.AsyncFunctionDef):
        raise InvalidInputError(f"{name} in {where} is asynchronous; write it with def.")
    if isinstance(found, ast.FunctionDef):
        signature = found.args
        places = len(signature.posonlyargs) + len(signature.args)
        needed = places - len(signature.defaults)
        named = [one for one in signature.kw_defaults if one is None]
        if needed > 2 or named or (places < 2 and signature.vararg is None):
            raise InvalidInputError(f"{name} in {where} cannot be called with two arguments; give it two.")


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of a module gives a value."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in statement.names}
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


class CustomFunctions:
    """Calls functions of users; their code is kept below ``home`` from one call to the next."""

    def __init__(self, catalogue: Catalogue, home: Path, limits: Limits | None = None) -> None:
        self._catalogue = catalogue
        self._home = home / "functions"
        self._limits = limits or Limits()

    def score(self, owner: str, wanted: CustomFunction, baseline: Argument, window: Argument) -> float:
        """Return the drift score of a window; ConflictError says why there is none."""
        value = self._call(owner, wanted, (baseline, window))
        number = _number(value)
        if number is None or not 0 <= number <= 1:
            raise _failed(wanted, f"It returned {_shown(value)}, not a score from 0 to 1.")
        return number

    def metrics(
        self, owner: str, wanted: CustomFunction, truth: Argument, predictions: Argument
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """Return the metrics of a window, and what is wrong with others; ConflictError without any."""
        value = self._call(owner, wanted, (truth, predictions))
        if not isinstance(value, Mapping):
            raise _failed(wanted, f"It returned {_shown(value)}, not a number for each name of a metric.")
        found: dict[str, float] = {}
        problems = []
        for name, inner in value.items():
            number = _number(inner)
            if name not in COMPUTED:
                problems.append(f"It returned {name!r}, which is no metric.")
            elif number is None:
                problems.append(f"It returned {_shown(inner)} for {name}, which is no number.")
            elif reason := implausible(name, number):
                problems.append(f"It returned what cannot be: {reason}")
            else:
                found[name] = number
        return found, tuple(_failed(wanted, problem).message for problem in problems)

    def _call(self, owner: str, wanted: CustomFunction, arguments: Sequence[Argument]) -> Any:
        code = self._code(owner, wanted)
        file, _, function = wanted.function.partition(":")
        with tempfile.TemporaryDirectory(dir=self._home, prefix="call-") as folder:
            scratch = Path(folder)
            paths = [_write(argument, scratch / f"{place}") for place, argument in enumerate(arguments)]
            try:
                return call(code, file, function, paths, scratch, self._limits)
            except ConflictError as error:
                raise _failed(wanted, error.message) from error

    def _code(self, owner: str, wanted: CustomFunction) -> Path:
        """Return the folder with the files of the version, which never change."""
        version = self._catalogue.ready_version(RepositoryKind.CODE, owner, wanted.code, wanted.version)
        place = self._home / "code" / version.id
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            repository = self._catalogue.get(RepositoryKind.CODE, owner, wanted.code)
            fresh = Path(tempfile.mkdtemp(dir=self._home, prefix="code-"))
            try:
                self._catalogue.export(repository, version, fresh)
                fresh.rename(place)
            except OSError:  # another thread was faster
                shutil.rmtree(fresh, ignore_errors=True)
                if not place.is_dir():
                    raise
        return place


def _write(argument: Argument, stem: Path) -> Path:
    if isinstance(argument, np.ndarray):
        path = stem.with_suffix(".npy")
        np.save(path, argument, allow_pickle=False)
    elif isinstance(argument, pl.DataFrame):
        path = stem.with_suffix(".parquet")
        argument.write_parquet(path)
    else:
        path = stem.with_suffix(".json")
        path.write_text(json.dumps(list(argument)))
    return path


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return None if math.isnan(value) else float(value)
    except OverflowError:
        return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _failed(wanted: CustomFunction, reason: str) -> ConflictError:
    return ConflictError(f"{wanted.function} of {wanted.code!r} v{wanted.version}: {reason}")
