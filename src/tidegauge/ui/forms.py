"""Forms: what was typed, as typed, and what is wrong with it, at its field.

A field of a form is named like the field that errors name (``source.url``, ``drift.image.height``), so that
each error finds its place, and dots nest: ``parse`` builds the domain's own dataclass of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from tidegauge.errors import ConflictError, FieldError, InvalidInputError, TidegaugeError
from tidegauge.typed import adapter
from tidegauge.web.uploads import uploaded

T = TypeVar("T")
#: What to do about what pydantic finds, by its types of errors.
_REMEDIES = {
    "int_parsing": "write a whole number",
    "int_parsing_size": "write a smaller number",
    "int_from_float": "write a whole number",
    "float_parsing": "write a number",
    "finite_number": "write a number",
    "greater_than": "it has to be above {gt}",
    "greater_than_equal": "it has to be {ge} or more",
    "less_than": "it has to be below {lt}",
    "less_than_equal": "it has to be {le} or less",
    "bool_parsing": "write true or false",
    "enum": "use one of {expected}",
    "literal_error": "use one of {expected}",
    "datetime_parsing": "write a time such as 2026-03-01T12:00",
    "datetime_from_date_parsing": "write a time such as 2026-03-01T12:00",
}
_MAX_FIELDS, _MAX_FILES = 5000, 10
_CHANGED = (
    "It was changed meanwhile, in another window or by somebody else. What you typed stands here: "
    "submit it again to replace that change, or cancel to keep it."
)
_SHOWN = 80  # characters of a wrong value in its error


@dataclass(frozen=True)
class Form:
    """``values`` are texts by field, several where a field comes several times; ``files`` are uploads.

    ``errors`` say what is wrong by field, and ``message`` what is wrong with none of them.
    """

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, UploadFile] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    message: str = ""

    def text(self, name: str, default: str = "") -> str:
        """Return what was typed, without space around it; ``default`` where the form was not sent yet."""
        if name in self.values:
            return self.values[name][-1].strip()
        return default if not self.values else ""

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a field."""
        return self.values.get(name, ())

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Tell whether a checkbox is set; browsers send nothing for one that is not."""
        return name in self.values if self.values else default

    def refused(self, error: TidegaugeError) -> Form:
        """Return the form with an error at its fields; what no field of it has is told at the top."""
        known = {item.field: item.message for item in error.errors if item.field}
        return replace(self, errors=known, message="" if known else error.message)

    def check_seen(self, now: str) -> None:
        """Raise ConflictError where the form was filled with something else than there is now."""
        if "seen" in self.values and self.text("seen") != now:
            raise ConflictError(_CHANGED, (FieldError("seen", _CHANGED),))

    def unplaced(self, names: Iterable[str]) -> list[str]:
        """Return the errors of fields that are not among the names, for the top of the form."""
        placed = set(names)
        return [message for name, message in self.errors.items() if name not in placed]

    def nested(self, prefix: str = "") -> dict[str, Any]:
        """Return the texts below a prefix by the parts of their names; what is empty is left out."""
        found: dict[str, Any] = {}
        for name in self.values:
            if not name.startswith(prefix) or not (text := self.text(name)):
                continue
            *above, last = name.removeprefix(prefix).split(".")
            place = found
            for part in above:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    raise InvalidInputError.of(name, f"{name} cannot stand beside {part}; send one of them.")
            place[last] = text
        return found


def check_known(name: str, value: str, known: Iterable[str]) -> None:
    """Raise InvalidInputError for a value of an address that is not known."""
    words = list(known)
    if value not in words:
        raise InvalidInputError.of(
            name, f"{name} is {value!r}; use one of {', '.join(words)}, or leave it out."
        )


def seen(shown: object) -> str:
    """Return a short text that differs where what a form shows does; its field ``seen`` brings it back."""
    return blake2b(repr(shown).encode(), digest_size=8).hexdigest()


def parse(kind: type[T], values: Any) -> T:
    """Build a dataclass of the domain; InvalidInputError with every field that cannot be read, at once."""
    try:
        return adapter(kind).validate_python(values)
    except ValidationError as error:
        errors = tuple(_told(dict(item)) for item in error.errors())
        raise InvalidInputError(" ".join(item.message for item in errors), errors) from error


def form_of(sent: FormData) -> Form:
    """Return a form as a browser sent it, with the files that were chosen."""
    values: dict[str, tuple[str, ...]] = {}
    files: dict[str, UploadFile] = {}
    for name, value in sent.multi_items():
        if not isinstance(value, UploadFile):
            values[name] = (*values.get(name, ()), value)
        elif value.filename:
            files[name] = value
    return Form(values, files)


async def filled(request: Request) -> AsyncIterator[Form]:
    """Read the form of a request; its files are closed once the answer is there."""
    async with request.form(max_fields=_MAX_FIELDS, max_files=_MAX_FILES) as sent:
        yield form_of(sent)


def archived(sent: Annotated[FormData, Depends(uploaded)]) -> Form:
    """Read the form of a request that may bring an archive."""
    return form_of(sent)


Filled = Annotated[Form, Depends(filled)]
Archived = Annotated[Form, Depends(archived)]


def _told(item: Mapping[str, Any]) -> FieldError:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return FieldError(name, f"{name} is missing; fill it in.")
    value = repr(item["input"])
    shown = value if len(value) <= _SHOWN else f"{value[: _SHOWN - 3]}..."
    if remedy := _REMEDIES.get(str(item["type"])):
        return FieldError(name, f"{name} is {shown}; {remedy.format_map(item.get('ctx', {}))}.")
    said = str(item["msg"])
    return FieldError(name, f"{name} is {shown}: {said[0].lower()}{said[1:]}.")
