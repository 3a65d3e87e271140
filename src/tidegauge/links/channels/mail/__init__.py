"""E-mail by SMTP, with TLS and login."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import time
from collections.abc import Mapping

from tidegauge.domain.channel import Setting
from tidegauge.links.addresses import Gate, RefusedAddressError
from tidegauge.links.channels.mail.letter import write
from tidegauge.links.channels.settings import Known, Reading
from tidegauge.links.channels.transport import Outgoing, SendError

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_KNOWN = {
    "host": Known("", needed=True, example="smtp.example.org"),
    "port": Known(0),  # 0: as usual for the security
    "security": Known("starttls", options=tuple(_PORTS)),
    "user": Known(""),
    "from": Known("", needed=True, example="tidegauge@example.org"),
    "to": Known("", needed=True, example="ward@example.org,physics@example.org"),
}


def check(settings: Mapping[str, Setting], secret: str, gate: Gate) -> dict[str, Setting]:
    """Check the settings; the secret is the password of ``user``."""
    reading = Reading(settings, _KNOWN)
    values = reading.values
    if int(values["port"]) > 65535:
        reading.wrong("port", f"is {values['port']}; use a number from 1 to 65535.")
    if values["host"]:
        reading.look(lambda: gate.check_host(str(values["host"]), _PORTS["none"], "settings.host"))
    if values["user"] and not secret:
        reading.wrong("secret", "is empty; give the password of the user.", prefix="")
    if values["user"] and values["security"] == "none":
        reading.wrong("security", "is 'none', so the password could be read on its way; use starttls or tls.")
    values["to"] = ", ".join(part.strip() for part in reading.text("to").split(",") if part.strip())
    for name in ("from", "to"):
        for address in filter(None, reading.text(name).split(", ")):
            if not _is_address(address):
                reading.wrong(name, f"has {address!r}, which is no mail address such as ward@example.org.")
    return reading.result()


def send(outgoing: Outgoing, timeout: float) -> dict[str, str]:
    """Hand the letter to the server; recipients that it refuses beside others are told in the result."""
    settings = outgoing.channel.settings
    host, security = str(settings["host"]), str(settings["security"])
    port = int(settings["port"]) or _PORTS[security]
    letter = write(outgoing)
    try:
        server = _Smtp(outgoing.gate, host, port, timeout, tls=security == "tls")
        try:
            if security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if settings["user"]:
                server.login(str(settings["user"]), outgoing.channel.secret)
            refused = server.send_message(letter)
            # The letter is theirs now: whatever goes wrong from here on must not send it again.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            server.close()
    except RefusedAddressError as error:
        raise SendError(error.message) from error
    except smtplib.SMTPRecipientsRefused as error:
        said = _answers(error.recipients)
        raise SendError(f"{host} refused every recipient: {said}.") from error
    except smtplib.SMTPAuthenticationError as error:
        said = _answer(error.smtp_code, error.smtp_error)
        raise SendError(f"{host} refused the login of {settings['user']!r}: {said}.") from error
    except smtplib.SMTPResponseException as error:
        raise SendError(
            f"{host} answered {_answer(error.smtp_code, error.smtp_error)}.",
            refused=isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500,
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        # smtplib makes a lost connection of a time-out in the middle.
        if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            raise SendError(f"{host} did not answer within {timeout:g} s.") from error
        raise SendError(f"{host}:{port} does not take mail: {error or type(error).__name__}.") from error
    return {"refused": _answers(refused)} if refused else {}


class _Smtp(smtplib.SMTP):
    """Counts the time-out from the begin of the conversation, not for each answer anew."""

    def __init__(self, gate: Gate, host: str, port: int, timeout: float, *, tls: bool) -> None:
        self._gate = gate
        self._deadline = time.monotonic() + timeout
        self._tls = tls
        super().__init__(host, port, timeout=timeout)

    def getreply(self) -> tuple[int, bytes]:
        if self.sock is not None:
            self.sock.settimeout(max(0.01, self._deadline - time.monotonic()))
        return super().getreply()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = self._gate.connect(host, port, timeout)
        return ssl.create_default_context().wrap_socket(made, server_hostname=host) if self._tls else made


def _is_address(text: str) -> bool:
    name, _, host = text.rpartition("@")
    plain = text.isascii() and not set(text) & set(' <>()[]\\,;:"')
    return plain and bool(name and host) and "@" not in name


def _answers(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{address}: {_answer(*answer)}" for address, answer in refused.items())


def _answer(code: int, said: bytes | str) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"{code} {' '.join(text.split())}".rstrip(". ")
