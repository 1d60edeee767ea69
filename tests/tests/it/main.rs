//! Message-level integration tests, driven through actor addresses and the handle.

mod smoke;
