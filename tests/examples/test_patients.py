from __future__ import annotations

import numpy as np
import pytest
from patients import MIN_PATIENTS, patient_id, split_by_patient


@pytest.mark.parametrize(
    ("file", "patient"),
    [
        ("person12_virus_3.jpeg", "person12"),
        ("PNEUMONIA/person12_bacteria_7.jpeg", "person12"),
        ("person1_bacteria_1.jpeg", "person1"),
        ("IM-0245-0001.jpeg", "IM-0245"),
        ("IM-0245-0001-0002.jpeg", "IM-0245"),
        ("NORMAL2-IM-0485-0001.jpeg", "NORMAL2-IM-0485"),
        ("phantom-7-0001.jpeg", "phantom-7-0001"),
        ("00000013_005.png", "00000013_005"),
    ],
)
def test_patient_of_a_file(file: str, patient: str) -> None:
    assert patient_id(file) == patient


def hospital(patients: int) -> tuple[list[str], list[int]]:
    """Patients of both classes with 1, 2 or 3 images each, in no order."""
    rng = np.random.default_rng(1)
    files = [
        (f"person{1000 * label + patient}_virus_{image}.jpeg", label)
        for label in (0, 1)
        for patient in range(patients)
        for image in range(1 + patient % 3)
    ]
    mixed = [files[place] for place in rng.permutation(len(files))]
    return [file for file, _ in mixed], [label for _, label in mixed]


def test_no_patient_is_in_two_parts_and_every_image_is_in_one() -> None:
    files, labels = hospital(60)
    split = split_by_patient(files, labels, np.random.default_rng(0))
    parts = [split.train, split.validation, split.held_out]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(files)))
    patients = [{patient_id(files[index]) for index in part} for part in parts]
    assert not patients[0] & patients[1]
    assert not patients[0] & patients[2]
    assert not patients[1] & patients[2]


def test_each_part_has_its_share_of_each_class() -> None:
    files, labels = hospital(60)
    split = split_by_patient(files, labels, np.random.default_rng(0), validation=0.1, held_out=0.2)
    of_class = np.bincount(labels)
    for part, share in ((split.validation, 0.1), (split.held_out, 0.2)):
        counts = np.bincount(np.array(labels)[part])
        assert np.all(np.abs(counts / of_class - share) < 0.03)


def test_split_depends_on_the_seed_alone() -> None:
    files, labels = hospital(60)
    first, again, other = (split_by_patient(files, labels, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first.held_out, again.held_out)
    assert not np.array_equal(first.held_out, other.held_out)


def test_too_few_patients_leave_no_hold_out() -> None:
    files, labels = hospital(MIN_PATIENTS - 1)
    split = split_by_patient(files, labels, np.random.default_rng(0))
    assert not split.has_hold_out
    assert split.train.size == split.held_out.size == len(files)
