"""Two clusters: what a serving one tells over a link, and how a monitoring one follows it."""
