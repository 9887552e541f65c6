"""`skyburst demo`: a broker, a visit, the daemon, what came of it, and whether it is proven; nothing to set up."""
