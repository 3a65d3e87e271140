"""Growing: which live images training data take in, and the manifest that comes of it."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from tidegauge.domain.arrays import read_npz
from tidegauge.domain.content import ContentForm, Manifest, ManifestFile
from tidegauge.domain.images import encode_png
from tidegauge.domain.retraining import Collected, DatasetVersion
from tidegauge.services.content import folder_name
from tidegauge.services.retraining.truth import Live
from tidegauge.storage.objects import Blobs

Pixels = npt.NDArray[np.uint8]

_TESTED = 5  # one in so many live images is never trained on, but compared with
_ARRAY = 1000  # images of a file, where the training data are arrays
_LEFT_OUT: Mapping[str, str] = {
    "unlabelled": "without a label",
    "ambiguous": "with labels that may be another's",
    "unknown_class": "of a class that the training data do not have",
    "held_out": "in the held-out set",
    "known": "in the training data already",
    "gone": "no longer in the log",
}


def pixel_digest(image: Pixels) -> str:
    """Return a hash of what a model would see, however the image is kept."""
    return hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


class Growing:
    """Training data that take in live images; none of ``held_out`` (pixel hashes) is in what comes of it."""

    def __init__(self, before: Manifest, held_out: set[str], blobs: Blobs) -> None:
        self.counts: Counter[str] = Counter()  # what was left out, by why
        self.added = 0
        self.units: list[bool] = []  # of requests: whether their grey levels are from 0 to 1
        self._before = before
        self._held_out = held_out
        self._blobs = blobs
        self._known: set[str] = set()
        self._withdrawn: set[str] = set()  # paths, of rows of arrays: path#row
        self._earlier = {PurePosixPath(file.path).stem: file for file in before.files}
        self._replaced: set[str] = set()
        self._files: list[ManifestFile] = []
        self._rows: list[tuple[Pixels, str]] = []
        self._tested: list[ManifestFile] = []
        self._events: list[str] = []

    def note(self, path: str, digest: str) -> None:
        """Take notice of an image of the version before."""
        self._known.add(digest)
        if digest in self._held_out:
            self._withdrawn.add(path)

    def is_usable(self, live: Live) -> bool:
        """Tell whether the label can be trained on; what cannot is counted."""
        if live.ambiguous:
            reason = "ambiguous"
        elif live.label is None:
            reason = "unlabelled"
        elif live.label not in self._before.classes:
            reason = "unknown_class"
        else:
            return True
        self.counts[reason] += 1
        return False

    def take(self, live: Live, image: Pixels) -> None:
        """Take in a labelled image, or count why it is left out."""
        digest, label = pixel_digest(image), live.label or ""
        event = f"{live.event_id}/{live.index}"
        name = f"live-{hashlib.sha256(event.encode()).hexdigest()[:24]}"
        earlier = self._earlier.get(name)
        corrects = earlier is not None and earlier.label != label
        if digest in self._held_out:
            self.counts["held_out"] += 1
        elif digest in self._known and not corrects:
            self.counts["known"] += 1
        elif earlier is None and int(digest[:8], 16) % _TESTED == 0:
            # By its content, so that the same image falls on the same side in every retraining.
            self._known.add(digest)
            self._tested.append(self._stored(image, label, name))
        else:
            self._known.add(digest)
            self._events.append(event)
            self.added += 1
            if earlier is not None:
                self._replaced.add(earlier.path)
            if self._before.form is ContentForm.NUMPY:
                self._rows.append((image, label))
            else:
                self._files.append(self._stored(image, label, name))

    def manifest(self, prefix: str) -> Manifest:
        """Return the version before with what was taken in; ``prefix`` begins the names of new arrays."""
        kept = [rest for file in self._before.files for rest in self._kept(file)]
        arrays = [
            self._array(f"{prefix}-{start // _ARRAY}.npz", self._rows[start : start + _ARRAY])
            for start in range(0, len(self._rows), _ARRAY)
        ]
        files = (*kept, *self._files, *arrays)
        return Manifest(self._before.form, files, self._before.classes, sum(file.rows for file in files))

    def tested_manifest(self) -> Manifest:
        """Return what was kept to compare on."""
        files = tuple(self._tested)
        return Manifest(ContentForm.LABELLED_FOLDERS, files, self._before.classes, len(files))

    def collected(self, before: DatasetVersion) -> Collected:
        return Collected(
            before,
            hashlib.sha256("\n".join(sorted(self._events)).encode()).hexdigest(),
            added=self.added,
            tested=len(self._tested),
            corrected=len(self._replaced),
            withdrawn=len(self._withdrawn),
            unit=sum(self.units) * 2 > len(self.units),
            unlabelled=self.counts["unlabelled"],
            ambiguous=self.counts["ambiguous"],
            unknown_class=self.counts["unknown_class"],
            held_out=self.counts["held_out"],
            known=self.counts["known"],
            gone=self.counts["gone"],
        )

    def left_out(self) -> str:
        """Say why images were left out, in words."""
        found = [f"{self.counts[name]} {words}" for name, words in _LEFT_OUT.items() if self.counts[name]]
        found += [f"{len(self._tested)} kept to compare on"] if self._tested else []
        return ", ".join(found) or "nothing was logged in the span"

    def _stored(self, image: Pixels, label: str, name: str) -> ManifestFile:
        data = encode_png(image)
        digest, _ = self._blobs.put(data)
        return ManifestFile(f"{folder_name(label)}/{name}.png", digest, len(data), label)

    def _kept(self, file: ManifestFile) -> Iterator[ManifestFile]:
        """Yield what is left of a file of the version before."""
        if self._before.form is not ContentForm.NUMPY:
            if file.path not in self._withdrawn and file.path not in self._replaced:
                yield file
            return
        gone = [row for row in range(file.rows) if f"{file.path}#{row}" in self._withdrawn]
        if not gone:
            yield file
        elif len(gone) < file.rows:
            arrays = read_npz(self._blobs.get(file.sha256), file.path)
            labels = arrays.labels or ("",) * file.rows
            rows = [(arrays.images[row], labels[row]) for row in sorted(set(range(file.rows)) - set(gone))]
            yield self._array(file.path, rows)

    def _array(self, path: str, rows: list[tuple[Pixels, str]]) -> ManifestFile:
        sink = io.BytesIO()
        np.savez(sink, x=np.stack([image for image, _ in rows]), y=np.array([label for _, label in rows]))
        digest, _ = self._blobs.put(sink.getvalue())
        return ManifestFile(path, digest, len(sink.getvalue()), None, len(rows))
