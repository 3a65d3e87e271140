"""Which inferences are logged where a part of them is enough."""

from __future__ import annotations

from dataclasses import replace

from tidegauge.domain.events import SAMPLED_RATE
from tidegauge.domain.identity import chance_of
from tidegauge.errors import InvalidInputError
from tidegauge.serving.exchange import Exchange

_FAILED = 400  # status of an answer, and above


class Sampling:
    """Takes one answered request in n, by a hash of its id, and all that failed: they are few, and wanted.

    Both events of an inference say what they stand for (CloudEvents' ``sampledrate``): n requests, or 1.
    Source: https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/sampledrate.md.
    """

    def __init__(self, share: float) -> None:
        """``share`` is above 0 and at most 1; n is the whole number nearest to 1 by it."""
        if not 0 < share <= 1:
            raise InvalidInputError.of(
                "sampling", f"sampling is {share:g}; give the share that is logged, above 0 and at most 1."
            )
        self._every = round(1 / share)

    def take(self, exchange: Exchange) -> Exchange | None:
        """Return an exchange as it is to be logged; None: it is not."""
        if self._every == 1:
            return exchange
        failed = exchange.status >= _FAILED
        if not failed and chance_of("sampling", exchange.id) * self._every >= 1:
            return None
        rate = 1 if failed else self._every
        return replace(exchange, attributes={**exchange.attributes, SAMPLED_RATE: rate})
