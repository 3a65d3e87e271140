"""The kinds of channels that there are."""

from __future__ import annotations

from collections.abc import Mapping

from tidegauge.domain.channel import ChannelKind
from tidegauge.links.channels import alertmanager, mail, slack, webhook
from tidegauge.links.channels.transport import Transport

TRANSPORTS: Mapping[ChannelKind, Transport] = {
    ChannelKind.MAIL: Transport(mail.check, mail.send, charts=True),
    ChannelKind.WEBHOOK: Transport(webhook.check, webhook.send),
    ChannelKind.SLACK: Transport(slack.check, slack.send),
    ChannelKind.ALERTMANAGER: Transport(alertmanager.check, alertmanager.send),
}
