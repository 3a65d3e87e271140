"""Privacy: the deletion of events, and a log without images."""
