"""Cutting a release's tables into Qserv's chunk files: streaming, parallel, resumable, and counted."""
