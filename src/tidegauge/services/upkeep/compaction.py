"""Compaction: the small files of an hour become parts of a few large ones, whatever crashes."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from tidegauge.domain.erasure import digest_of
from tidegauge.domain.observation import LogFile
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.services.noting import rows_of
from tidegauge.services.privacy.tombstones import Tombstones
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog, is_merged
from tidegauge.storage.objects import ObjectInfo

_HOUR = timedelta(hours=1)
_LEAST = 4  # files that are worth merging
_MOST = 1000  # parts of a merged file
_BYTES = 64 << 20  # of a merged file: all of it is in memory
_log = logging.getLogger(__name__)


class _ChangedError(Exception):
    """Something has happened to one of the files meanwhile: what was merged does not count."""


class Compaction:
    """Merges files that nobody writes any more; readers find each as the part that it has become.

    A merged file is written first. It counts by one transaction, which finds every part as it was, and no
    event deleted since; then the parts are deleted. So each event is there at every moment, and what a crash
    leaves - a merged file that does not count, or parts of one that does - is swept.
    """

    def __init__(self, database: Database, log: InferenceLog) -> None:
        self._database = database
        self._log = log
        self._tombstones = Tombstones(database)
        self._odd: set[str] = set()  # files of others that cannot be merged

    def work(self, deployment_id: str, now: datetime, deadline: float) -> int | None:
        """Merge what can be merged; return how many files were, None where time ran out.

        ``deadline`` is by the monotonic clock. An hour has its turn once it has been over for an hour.
        """
        merged = 0
        for hour, infos in self._log.hours(deployment_id).items():
            if now - hour < 2 * _HOUR:
                break
            small = [info for info in infos if not is_merged(info.path) and info.path not in self._odd]
            if len(small) < _LEAST:
                continue
            for group in self._groups(deployment_id, small):
                if time.monotonic() >= deadline:
                    return None
                merged += self._merge(deployment_id, group)
        return merged

    def sweep(self, deployment_id: str, before: datetime) -> int:
        """Delete what crashes left behind, and take down what no row knows; return how many files went.

        Of what was written ``before`` alone, since the transaction of newer files may be about to come. A
        merged file that does not count goes; where it has all that there is of a part, it counts for that.
        So it is when the database is older than the store: in a backup that was made meanwhile, or set back.
        """
        infos = [info for hour in self._log.hours(deployment_id).values() for info in hour]
        here = {info.path for info in infos}
        rows = {file.id: file for file in self._rows(path for path in here if not is_merged(path))}
        left = [file.id for file in rows.values() if file.gone_at or file.merged_into in here]
        old = sorted((info for info in infos if info.modified < before), key=lambda info: info.modified)
        unknown = [info for info in old if not is_merged(info.path) and info.path not in rows]
        self._take_down(deployment_id, [(info.path, info.modified) for info in unknown])
        counting = {
            path
            for (path,) in self._database.log_files.tally(
                "merged_into", deployment_id=deployment_id, gone_at=None
            )
        }
        uncounted = [info for info in old if is_merged(info.path) and info.path not in counting]
        left += [info.path for info in uncounted if not self._adopt(deployment_id, info, here)]
        self._log.delete(left)
        return len(left)

    def _groups(self, deployment_id: str, infos: Sequence[ObjectInfo]) -> Iterator[list[LogFile]]:
        """Yield what goes into one file each, in the order of writing."""
        sizes = {info.path: info.size for info in infos}
        rows = self._rows(sizes)
        self._log.delete(file.id for file in rows if file.gone_at)
        monitor = self._database.monitors.find(deployment_id=deployment_id)
        # What is to be redacted is merged once it is, and not written again for each of its parts.
        forgets = monitor is not None and not monitor.config.keep_images
        group: list[LogFile] = []
        size = 0
        for file in sorted(rows, key=lambda file: file.number):
            if not _is_whole(file) or (forgets and not file.redacted):
                continue
            if group and (size + sizes[file.id] > _BYTES or len(group) == _MOST):
                if len(group) >= _LEAST:
                    yield group
                group, size = [], 0
            group.append(file)
            size += sizes[file.id]
        if len(group) >= _LEAST:
            yield group

    def _merge(self, deployment_id: str, files: Sequence[LogFile]) -> int:
        """Let one file take the place of some; return how many these were."""
        erased = self._tombstones.of(deployment_id)
        paths = [file.id for file in files]
        try:
            merged = self._log.merge(
                paths, lambda id_: bool(erased) and digest_of(deployment_id, id_) in erased
            )
        except NotFoundError:
            return 0  # another was faster
        except InvalidInputError as error:
            _log.warning("The log of deployment %s: %s", deployment_id, error.message)
            self._odd.update(path for path in paths if path in error.message)
            return 0
        done = self._exchange(deployment_id, files, merged, erased)
        self._log.delete(paths if done else [merged])
        return len(paths) if done else 0

    def _exchange(
        self, deployment_id: str, files: Sequence[LogFile], merged: str, erased: frozenset[str]
    ) -> bool:
        """Let a merged file count in place of others; False where one of these is not what it was."""
        try:
            with self._database.transaction():
                for redacted in (False, True):
                    same = [file.id for file in files if file.redacted is redacted]
                    self._point(same, merged, redacted=redacted)
                self._check(deployment_id, erased)
        except _ChangedError:
            return False
        return True

    def _check(self, deployment_id: str, erased: frozenset[str]) -> None:
        if self._tombstones.of(deployment_id) != erased:
            raise _ChangedError  # what has been merged may hold it

    def _point(self, paths: Sequence[str], merged: str, **as_was: object) -> None:
        """Say that files are parts of a merged one; _ChangedError where one is not what it was."""
        found = self._database.log_files.update_where(
            {"id": paths, "merged_into": "", "gone_at": None, **as_was}, merged_into=merged
        )
        if found != len(paths):
            raise _ChangedError

    def _adopt(self, deployment_id: str, merged: ObjectInfo, here: Container[str]) -> bool:
        """Let a merged file count for what is nowhere else, and hold no more; False: it has no such parts."""
        parts = [path for path in self._log.parts(merged.path) if path not in here]
        rows = {file.id: file for file in self._rows(parts)}
        lost = [path for path in parts if path not in rows or _is_whole(rows[path])]
        if not lost:
            return False
        self._log.keep(merged.path, lost)
        with self._database.transaction():
            self._point([path for path in lost if path in rows], merged.path)
            unknown = [(path, merged.modified) for path in lost if path not in rows]
            self._take_down(deployment_id, unknown, merged.path)
        return True

    def _take_down(
        self, deployment_id: str, written: Sequence[tuple[str, datetime]], merged: str = ""
    ) -> None:
        """Add rows of files and when they were written; ConflictError where a collector was faster."""
        number = self._database.log_files.highest("number", deployment_id=deployment_id) + 1
        self._database.log_files.add_all(
            LogFile(path, deployment_id, number + place, at, merged_into=merged)
            for place, (path, at) in enumerate(written)
        )

    def _rows(self, paths: Iterable[str]) -> list[LogFile]:
        return rows_of(self._database, paths)


def _is_whole(file: LogFile) -> bool:
    """Tell whether a file stands for itself."""
    return not file.merged_into and file.gone_at is None
