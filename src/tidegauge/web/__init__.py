"""What the two HTTP doors, API and pages, share: who is calling, and which status an error has."""
