"""Reading a file of which some fields cannot be read: what is wrong with the others is told as well."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tidegauge.domain.monitor_config.file import MonitorFile
from tidegauge.errors import FieldError

_PASSES = 8  # a part that lacks becomes null, then what its type takes; it may have parts that lack
_QUOTED = re.compile(r"'([^']*)'")

#: By the kind of a fault, what stands in for the value: all that the rest could be judged by.
_STAND_INS: Mapping[str, tuple[Any, ...]] = {
    "missing": (None,),
    "string_type": ("x",),
    "int_type": (1,),
    "int_parsing": (1,),
    "int_parsing_size": (1,),
    "int_from_float": (1,),
    "float_type": (-1e300, 1e300),
    "float_parsing": (-1e300, 1e300),
    "bool_type": (True, False),
    "bool_parsing": (True, False),
    "tuple_type": ([],),
    "mapping_type": ({},),
    "dict_type": ({},),
    "dataclass_type": ({},),
}
_NEEDLESS = ("unexpected_keyword_argument", "invalid_key")
_CHOICES = ("literal_error", "enum")

Place = tuple[int | str, ...]


@dataclass(frozen=True)
class Reading:
    """What a file says, and which of its fields cannot be read.

    Of these stand-ins were read; where one of several may have been meant there is a variant of each. There
    is none where nothing can stand in.
    """

    variants: tuple[MonitorFile, ...]
    faults: tuple[FieldError, ...]

    def errors(self) -> list[FieldError]:
        """Return the faults, and what is wrong whatever the fields with faults were meant to be."""
        found = [variant.errors() for variant in self.variants]
        common = (error for error in (found or [[]])[0] if all(error in others for others in found))
        return [*self.faults, *(error for error in common if not self.concerns(error.field))]

    def concerns(self, field: str) -> bool:
        """Tell whether a field cannot be read, or is part of one."""
        return any(f"{field}.".startswith(f"{fault.field}.") for fault in self.faults)


def read(validate: Callable[[Any], MonitorFile], value: Mapping[str, Any]) -> Reading:
    """Read plain values."""
    draft: Any = copy.deepcopy(value)
    faults: dict[str, FieldError] = {}
    choices: dict[Place, tuple[Any, ...]] = {}
    for step in range(_PASSES):
        try:
            wanted = validate(draft)
        except ValidationError as error:
            for item in error.errors():
                place = _place(draft, item["loc"], item["type"])
                if not step:
                    field = ".".join(map(str, place)) or "file"
                    message = f"{field}: {item['msg']} (got {short(item['input'])})."
                    faults.setdefault(field, FieldError(field, message))
                if not _stand_in(draft, place, item, choices):
                    return Reading((), tuple(faults.values()))
        else:
            others = _others(validate, draft, choices)
            return Reading((wanted, *others), tuple(faults.values()))
    return Reading((), tuple(faults.values()))


def short(value: object) -> str:
    """Word a value that was given, cut where it is long."""
    got = repr(value)
    return got if len(got) <= 80 else f"{got[:77]}..."


def _others(
    validate: Callable[[Any], MonitorFile], draft: Any, choices: Mapping[Place, tuple[Any, ...]]
) -> Iterator[MonitorFile]:
    for place, values in choices.items():
        for value in values[1:]:
            other = copy.deepcopy(draft)
            _at(other, place[:-1])[place[-1]] = value
            yield validate(other)


def _stand_in(draft: Any, place: Place, item: Any, choices: dict[Place, tuple[Any, ...]]) -> bool:
    """Put something in the place of a fault; tell whether something can."""
    if not place:
        return False
    around = _at(draft, place[:-1])
    kind = item["type"]
    if kind in _NEEDLESS or item["loc"][-1] == "[key]":
        if isinstance(around, dict):
            around.pop(place[-1], None)
        return isinstance(around, dict)
    values: Sequence[Any] = (
        _QUOTED.findall(item["ctx"]["expected"]) if kind in _CHOICES else _STAND_INS.get(kind, ())
    )
    if not values:
        return False
    around[place[-1]] = copy.deepcopy(values[0])
    choices[place] = tuple(values)
    return True


def _place(draft: Any, location: Sequence[int | str], kind: str) -> Place:
    """Return where a fault is: as deep as its location leads, which goes on to the types of a union."""
    found: list[int | str] = []
    for part in location:
        is_place = isinstance(draft, list) and isinstance(part, int) and part < len(draft)
        if not is_place and not (isinstance(draft, dict) and part in draft):
            return (*found, part) if kind == "missing" else tuple(found)
        draft = draft[part]
        found.append(part)
    return tuple(found)


def _at(draft: Any, place: Place) -> Any:
    for part in place:
        draft = draft[part]
    return draft
