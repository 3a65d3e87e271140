"""Upkeep of the inference log: small files are merged, what is kept no longer goes, by itself."""
