"""The commit: the only place that publishes anything.

A batch becomes visible in four steps, whose numbers are the same in code, tests and documents::

    1   append   blocks and index batches to the segments, beyond their published lengths
    2   sync     fdatasync every file touched: durable, not yet visible
    3   publish  one Level-1 transaction:
          3a  the ledger moves from start to end, or somebody else has moved it      (the fence)
          3b  the segments' published lengths move, or somebody has sealed them      (the second fence)
          3c  Level-1 rows; where not all of them are new, what stands is read back
          3d  repeats, quarantine rows, visit parts
    4   tell     Kafka's committed offset, for lag tools only

What a reader may see is what step 3 says, nothing else.
"""
