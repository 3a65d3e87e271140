"""How good the answers are: metrics with confidence intervals, with and without labels."""
