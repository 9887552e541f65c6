"""What takes alerts out of Kafka: the ingest daemon."""
