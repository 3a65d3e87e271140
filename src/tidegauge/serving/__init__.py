"""The model server: its own process, small and fast."""
