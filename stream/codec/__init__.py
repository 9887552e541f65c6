"""Packets: framing, writer schemas by id, the whole-packet check with its columns, and encoding."""
