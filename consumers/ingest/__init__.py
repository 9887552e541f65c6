"""The ingest daemon: poll, check, place, pack, commit, as stages joined by queues that are bounded by bytes."""
