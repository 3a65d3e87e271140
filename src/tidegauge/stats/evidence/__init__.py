"""Evidence of drift: anytime-valid e-processes of conformal ranks."""
