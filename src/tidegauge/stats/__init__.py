"""Statistics: arrays in, frozen results out. No I/O, no clock, no thresholds."""
