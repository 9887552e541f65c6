"""Release catalogues into Qserv: described, partitioned on the sky, loaded, published and proven.

It shares nothing with the stream but values and placing on the sky.
"""
