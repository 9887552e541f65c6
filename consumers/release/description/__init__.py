"""Descriptions of tables: made from catalogues, kept as felis files, held to what MariaDB and Qserv can take."""
