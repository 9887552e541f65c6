"""Where visits come from: files of packets, archived nights, made ones. Each source yields `stream.visit.Visit`."""
