//! TLS towards clients and backends.
