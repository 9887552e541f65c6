"""Loading a partitioned release into Qserv: planned, counted, exactly once, by any number of loaders.

A planned super-transaction is the unit: it is committed whole, after every contribution in it was counted and found to
be the manifest's, or it is aborted and started anew. See docs/decisions/release-ledger.md.
"""
