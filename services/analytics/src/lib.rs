//! Activity tracking, rollups and their queries.
