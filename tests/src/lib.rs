//! roadbed-tests.
