"""Crashes: processes that are killed, the load that they are under, and what is left of it."""
