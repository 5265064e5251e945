//! The ingestion participants: extract, store, index, search.
