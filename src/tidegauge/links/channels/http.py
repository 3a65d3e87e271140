"""Posting JSON to a receiver, without following redirects and without naming its URL in any log."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from http import HTTPStatus

import httpx

from tidegauge.links.addresses import Gate, RefusedAddressError
from tidegauge.links.calling import transport
from tidegauge.links.channels.transport import SendError

_REFUSALS = (400, 413, 415, 422)  # what says that this very message is not wanted
_SHOWN = 300  # characters of an answer


def post(
    gate: Gate, url: str, content: bytes, timeout: float, headers: Mapping[str, str] | None = None
) -> None:
    """Post ``content`` where ``gate`` lets it; SendError unless the answer is a 2xx.

    The time-out is for each of connecting, writing and waiting for the answer.
    """
    request = httpx.Request(
        "POST",
        url,
        headers={"content-type": "application/json", "user-agent": "tidegauge", **(headers or {})},
        content=content,
        extensions={"timeout": httpx.Timeout(timeout).as_dict()},
    )
    try:
        # The transport and not httpx.Client: that one logs the URL, which for Slack is the secret.
        with transport(gate, is_tls=request.url.scheme == "https") as sending:
            response = sending.handle_request(request)
            with contextlib.closing(response):
                if not response.is_success:
                    raise _failure(response)
    except RefusedAddressError as error:
        raise SendError(error.message) from error
    except httpx.TimeoutException as error:
        raise SendError(f"{request.url.host} did not answer within {timeout:g} s.") from error
    except (httpx.TransportError, OSError) as error:
        raise SendError(f"{request.url.host} cannot be reached: {error or type(error).__name__}.") from error


def _failure(response: httpx.Response) -> SendError:
    status = response.status_code
    with contextlib.suppress(ValueError):
        status = HTTPStatus(status)
    answer = f"{status.value} {status.phrase}" if isinstance(status, HTTPStatus) else str(status)
    if response.is_redirect:
        return SendError(f"It answered {answer}, and redirects are not followed; give the final URL.")
    said = " ".join(_begin(response).split())
    wait = response.headers.get("retry-after", "")
    return SendError(
        f"It answered {answer}{f': {said}' if said else ''}.",
        refused=status in _REFUSALS,
        wait=float(wait) if wait.isdecimal() else 0.0,
    )


def _begin(response: httpx.Response) -> str:
    """Read the begin of an answer; one that does not come, or does not end, costs nothing more."""
    data = b""
    with contextlib.suppress(httpx.TransportError):
        for chunk in response.iter_raw():
            data += chunk
            if len(data) >= _SHOWN:
                break
    return data[:_SHOWN].decode(errors="replace")
