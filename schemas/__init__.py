"""Data that skyburst ships: its topics' Avro schemas, the surveys' files and the table models."""
