"""What Altair needs not load: comes before it."""

from __future__ import annotations

import sys

# jsonschema would build a grammar of IRIs, three seconds of each process, where a package has brought one.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
