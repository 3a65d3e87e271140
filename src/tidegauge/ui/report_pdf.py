"""Prints a report as PDF/A-3, whose text can be selected and whose charts are vectors."""

from __future__ import annotations

import logging

from tidegauge.errors import UnavailableError

_MISSING = (
    "A PDF needs WeasyPrint and the library Pango ({reason}): pip install 'tidegauge[report]' and, on "
    "Debian, apt-get install libpango-1.0-0 libpangoft2-1.0-0. Reports as HTML and JSON need neither."
)


def to_pdf(html: str, document: bytes) -> bytes:
    """Print the page; ``document``, the same report as JSON, is attached, so that one file holds both."""
    try:
        from weasyprint import HTML, Attachment
        from weasyprint.urls import URLFetcher
    except (ImportError, OSError) as error:  # OSError: the package is there, its library is not
        reason = str(error).splitlines()[0]
        raise UnavailableError(_MISSING.format(reason=reason)) from error
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it warns of styles that are for screens
    attached = Attachment(
        string=document, name="report.json", description="The same report as data", relationship="Data"
    )
    # Nothing is fetched from anywhere: a report has its pictures inside.
    page = HTML(string=html, url_fetcher=URLFetcher(allowed_protocols=["data"]))
    # PDF/A-3a: for archives; every font inside, tagged for screen readers, attachments allowed.
    printed: bytes = page.write_pdf(attachments=[attached], pdf_variant="pdf/a-3a")
    return printed
