"""The JSON API: decodes, calls a service, encodes."""
