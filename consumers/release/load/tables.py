"""The tables of a load's ledger."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

METADATA = sa.MetaData()
_NAME = sa.String(64)
_KEY = sa.String(64)
_TIME = sa.Float(53)

loads = sa.Table(
    "release_load",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, comment="Always 1."),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("load", _KEY, nullable=False, comment="Random; part of every transaction's context."),
    sa.Column("database_name", _NAME, nullable=False),
)

planned_tables = sa.Table(
    "release_table",
    METADATA,
    sa.Column("name", _NAME, primary_key=True),
    sa.Column("digest", _KEY, nullable=False, comment="PartitionedTable.digest."),
)

transactions = sa.Table(
    "release_transaction",
    METADATA,
    sa.Column("key", _KEY, primary_key=True, comment="PlannedTransaction.key."),
    sa.Column("table_name", _NAME, nullable=False),
    sa.Column("table_ordinal", sa.Integer, nullable=False, comment="The table's place in the order of loading."),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("contributions", sa.Integer, nullable=False),
    sa.Column("rows_planned", sa.BigInteger, nullable=False),
    sa.Column("bytes_planned", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("token", sa.String(64), nullable=False, comment="Of this attempt; in the transaction's context."),
    sa.Column("transaction_id", sa.BigInteger),
    sa.Column("term", sa.Integer, nullable=False, comment="The fence: grows whenever a loader takes it."),
    sa.Column("holder", sa.String(64), nullable=False),
    sa.Column("lease_until", _TIME, nullable=False, comment="Seconds since 1970 UTC, by the ledger's clock."),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("changed", _TIME, nullable=False),
)

contributions = sa.Table(
    "release_contribution",
    METADATA,
    sa.Column("key", _KEY, primary_key=True),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("chunk", sa.Integer, nullable=False),
    sa.Column("overlap", sa.Boolean, nullable=False),
    sa.Column("parts", sa.Text().with_variant(mysql.LONGTEXT(), "mysql"), nullable=False),
)

sent = sa.Table(
    "release_sent",
    METADATA,
    sa.Column("key", _KEY, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("worker", sa.String(64), primary_key=True),
    sa.Column("worker_url", sa.String(256), nullable=False),
    sa.Column("url", sa.Text, nullable=False, comment="Empty where it was sent by value."),
    sa.Column("contribution_id", sa.BigInteger, comment="NULL until the answer came."),
)

steps = sa.Table(
    "release_step",
    METADATA,
    sa.Column("name", sa.String(160), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, comment="begun, done"),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("changed", _TIME, nullable=False),
)

retired = sa.Table(
    "release_retired",
    METADATA,
    sa.Column("transaction_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", _NAME, nullable=False),
)
"""Committed transactions whose table was deleted since, for a replacement."""
