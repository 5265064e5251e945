//! The brokers behind one port.
