//! Language, keywords, entities and near-duplicates of documents.
