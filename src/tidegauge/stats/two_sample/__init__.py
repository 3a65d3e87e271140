"""Two-sample statistics: (baseline, window) -> frozen result, one in a file."""
