"""The outside world, a module per kind."""
