"""Reading the settings of a channel: every mistake at once, each with its field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tidegauge.domain.channel import Setting
from tidegauge.errors import FieldError, InvalidInputError


@dataclass(frozen=True)
class Known:
    """A setting that a kind of channel has; its default tells its type."""

    default: Setting
    needed: bool = False
    options: tuple[str, ...] = ()
    example: str = ""


class Reading:
    """The settings of one channel with their defaults, and what is wrong with them."""

    def __init__(self, settings: Mapping[str, Setting], known: Mapping[str, Known]) -> None:
        self.values: dict[str, Setting] = {name: item.default for name, item in known.items()}
        self._errors: list[FieldError] = []
        for name, value in settings.items():
            if name not in known:
                names = ", ".join(known) or "none"
                self.wrong(name, f"is not a setting of this kind of channel; use {names}.")
            else:
                self._read(name, value, known[name])
        for name, item in known.items():
            if item.needed and not self.values[name]:
                self.wrong(name, f"is missing; give one such as {item.example}.")

    def text(self, name: str) -> str:
        return str(self.values[name])

    def wrong(self, name: str, what: str, *, prefix: str = "settings.") -> None:
        """Note that a setting is wrong; ``what`` goes on from its name and ends with the remedy."""
        self._errors.append(FieldError(f"{prefix}{name}", f"{prefix}{name} {what}"))

    def look(self, check: Callable[[], object]) -> None:
        """Make a check of its own and note what it finds wrong."""
        try:
            check()
        except InvalidInputError as error:
            self._errors += error.errors

    def result(self) -> dict[str, Setting]:
        """Return all settings, or raise InvalidInputError with everything that is wrong."""
        if self._errors:
            raise InvalidInputError(" ".join(error.message for error in self._errors), tuple(self._errors))
        return self.values

    def _read(self, name: str, value: Setting, known: Known) -> None:
        if isinstance(known.default, int):
            # The command line knows only text.
            if isinstance(value, bool) or not str(value).strip().isdecimal():
                self.wrong(name, f"is {value!r}; give a whole number.")
                return
            self.values[name] = int(value)
            return
        text = str(value).strip()
        if not text.isprintable():
            self.wrong(name, "holds control characters; leave them out.")
        elif known.options and text not in known.options:
            self.wrong(name, f"is {text!r}; use {_either(known.options)}.")
        else:
            self.values[name] = text


def _either(options: Sequence[str]) -> str:
    return f"{', '.join(options[:-1])} or {options[-1]}"
