"""The mail that tells of an alert: as text, as HTML, and with the chart inside."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import format_datetime
from html import escape

from tidegauge.domain.alert import Severity, Told
from tidegauge.domain.channel import TEST
from tidegauge.links.channels.transport import Outgoing

_COLOURS = {Severity.INFO: "#2563eb", Severity.WARNING: "#b45309", Severity.CRITICAL: "#b91c1c"}
_GREEN = "#15803d"


def write(outgoing: Outgoing) -> EmailMessage:
    """Write the mail; its Message-ID is made of the delivery's id, so that repeats can be told."""
    message, settings = outgoing.message, outgoing.channel.settings
    domain = str(settings["from"]).rpartition("@")[2]
    letter = EmailMessage()
    letter["Subject"] = " ".join(message.title.split())
    letter["From"] = str(settings["from"])
    letter["To"] = str(settings["to"])
    letter["Date"] = format_datetime(outgoing.at)
    letter["Message-ID"] = f"<{outgoing.delivery_id}@{domain}>"
    if message.alert_id:
        letter["References"] = f"<{message.alert_id}@{domain}>"  # one thread for each alert
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(_text(outgoing))
    chart_id = f"chart-{outgoing.delivery_id}@{domain}"
    letter.add_alternative(_html(outgoing, chart_id if outgoing.chart else ""), subtype="html")
    if outgoing.chart:
        page = letter.get_body(("html",))
        assert isinstance(page, EmailMessage)  # noqa: S101 - it was added two lines above
        page.add_related(
            outgoing.chart,
            "image",
            "png",
            cid=f"<{chart_id}>",
            filename="chart.png",
            disposition="inline",
        )
    return letter


def _details(outgoing: Outgoing) -> list[tuple[str, str]]:
    message = outgoing.message
    if message.told == TEST:
        return []
    rows = [
        ("Monitor", message.monitor),
        ("Alert", f"{message.alert} ({message.told}, {message.severity.value})"),
        ("Status", message.status),
        ("Window", f"{message.start:%Y-%m-%d %H:%M} to {message.end:%Y-%m-%d %H:%M} UTC"),
    ]
    return [*rows, ("Tags", ", ".join(message.tags))] if message.tags else rows


def _text(outgoing: Outgoing) -> str:
    message = outgoing.message
    lines = [message.summary, ""]
    lines += [f"- {fact}" for fact in message.facts]
    lines += ["", *(f"{name}: {value}" for name, value in _details(outgoing)), "", outgoing.url]
    return "\n".join(lines) + "\n"


def _html(outgoing: Outgoing, chart_id: str) -> str:
    message = outgoing.message
    colour = _GREEN if message.told == Told.RESOLVED else _COLOURS[message.severity]
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in message.facts)
    rows = "".join(
        f'<tr><td style="color:#6b7280;padding-right:1em">{name}</td><td>{escape(value)}</td></tr>'
        for name, value in _details(outgoing)
    )
    chart = f'<p><img src="cid:{chart_id}" alt="Chart" style="max-width:100%"></p>' if chart_id else ""
    return (
        '<!doctype html><html><body style="font-family:sans-serif;color:#111827">'
        f'<h2 style="color:{colour}">{escape(message.title)}</h2><p>{escape(message.summary)}</p>'
        f"{f'<ul>{facts}</ul>' if facts else ''}{chart}<table>{rows}</table>"
        f'<p><a href="{escape(outgoing.url)}">Look at it in Tidegauge</a></p></body></html>'
    )
