"""Which patient an image belongs to, and a split that never has a patient in two parts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

# person12_virus_3.jpeg; IM-0245-0001-0002.jpeg; NORMAL2-IM-0485-0001.jpeg
_PATIENT = re.compile(r"^(person\d+)_|^((?:NORMAL\d+-)?IM-\d+)-")

# With fewer patients in any class the parts would be too small to tell anything: all images train.
MIN_PATIENTS = 20

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Indices of images. Without room for a hold-out, validation and held_out are the training images."""

    train: Indices
    validation: Indices
    held_out: Indices
    has_hold_out: bool


def patient_id(file: str) -> str:
    """Patient of an image by the naming of Kermany et al.; for any other name, the name itself.

    >>> patient_id("person12_virus_3.jpeg"), patient_id("PNEUMONIA/person12_bacteria_7.jpeg")
    ('person12', 'person12')
    >>> patient_id("IM-0245-0001-0002.jpeg"), patient_id("NORMAL2-IM-0485-0001.jpeg")
    ('IM-0245', 'NORMAL2-IM-0485')
    >>> patient_id("phantom-7-0001.jpeg")
    'phantom-7-0001'
    """
    name = PurePosixPath(file).name
    found = _PATIENT.match(name)
    if found:
        return str(found.group(1) or found.group(2))
    return PurePosixPath(name).stem


def split_by_patient(
    files: Sequence[str],
    labels: Sequence[int],
    rng: np.random.Generator,
    *,
    validation: float = 0.12,
    held_out: float = 0.12,
) -> Split:
    """Split images into train, validation and held out, per class and by patient; parts are shares of images.

    A patient with images of several classes goes where the class of most of their images puts them.
    """
    by_patient: dict[str, list[int]] = defaultdict(list)
    for index, file in enumerate(files):
        by_patient[patient_id(file)].append(index)
    by_class: dict[int, list[str]] = defaultdict(list)
    for patient in sorted(by_patient):
        of_patient = [labels[index] for index in by_patient[patient]]
        by_class[max(sorted(set(of_patient)), key=of_patient.count)].append(patient)
    everything = np.arange(len(files), dtype=np.int64)
    if any(len(by_class[label]) < MIN_PATIENTS for label in set(labels)):
        return Split(everything, everything, everything, has_hold_out=False)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in sorted(by_class):
        patients = [by_class[label][place] for place in rng.permutation(len(by_class[label]))]
        total = sum(len(by_patient[patient]) for patient in patients)
        done = 0
        for patient in patients:
            share = done / total
            part = 2 if share < held_out else 1 if share < held_out + validation else 0
            parts[part].extend(by_patient[patient])
            done += len(by_patient[patient])
    train, tune, test = (np.array(sorted(part), dtype=np.int64) for part in parts)
    return Split(train, tune, test, has_hold_out=True)
