"""One service layer: load, decide in the domain, save, link."""
