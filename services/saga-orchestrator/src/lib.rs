//! The sagas: document ingestion first.
