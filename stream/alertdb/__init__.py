"""AlertDB: segments of whole packets, their index, and reading them back.

A segment is an Avro object container file beside an index of one row an alert; the two together give back the exact
Kafka message. What is published is what table ``segments`` says, and nothing here knows that table.
``docs/reference/alertdb-format.md`` has the format.
"""
