//! Real servers for tests: got, started, hurt and ended by the tests themselves.
