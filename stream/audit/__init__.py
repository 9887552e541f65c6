"""Audit: what was stored, judged and made again by other means than what wrote it.

Verifying reads segments with fastavro, indexes with pyarrow, tables with SQL and digests with xxhash; it calls neither
the readers of `stream.alertdb` nor the kernel of `stream.codec`. ``docs/verify.md`` says what it proves. Rebuilding
makes the tables of Level-1 from the files alone.
"""
