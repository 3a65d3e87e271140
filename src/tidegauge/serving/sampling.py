"""Which inferences are logged where a part of them is enough."""

from __future__ import annotations

from dataclasses import replace

from tidegauge.domain.events import SAMPLED_RATE
from tidegauge.domain.identity import chance_of
from tidegauge.domain.sampled import one_in, sampling_error
from tidegauge.errors import InvalidInputError
from tidegauge.serving.exchange import Exchange

_FAILED = 400  # status of an answer, and above


class Sampling:
    """Takes one answered request in n, by a hash of its id, and all that failed: they are few, and wanted.

    Below a share of 1, both events of an inference say what they stand for (CloudEvents' ``sampledrate``): n
    requests, or 1.
    Source: https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/sampledrate.md.
    """

    def __init__(self, share: float) -> None:
        if error := sampling_error(share):
            raise InvalidInputError.of(error.field, error.message)
        self._is_whole = share == 1
        self._every = one_in(share)

    def take(self, exchange: Exchange) -> Exchange | None:
        """Return an exchange as it is to be logged; None: it is not."""
        if self._is_whole:
            return exchange
        failed = exchange.status >= _FAILED
        if not failed and chance_of("sampling", exchange.id) * self._every >= 1:
            return None
        rate = 1 if failed else self._every
        return replace(exchange, attributes={**exchange.attributes, SAMPLED_RATE: rate})
