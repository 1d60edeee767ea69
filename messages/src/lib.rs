//! roadbed-messages.
