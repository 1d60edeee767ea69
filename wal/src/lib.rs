//! roadbed-wal.
