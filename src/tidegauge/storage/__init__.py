"""All SQL and all object-store paths. No decisions."""
