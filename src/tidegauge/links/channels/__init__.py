"""Channels: a folder for each kind with what it needs to be told and how it sends."""
