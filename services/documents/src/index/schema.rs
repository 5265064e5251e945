use tantivy::schema::{
    DateOptions, DateTimePrecision, FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing,
    TextOptions,
};
use tantivy::tokenizer::{AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, Stemmer, TextAnalyzer};

use super::words::WordTokenizer;

/// The name of our analysis in the schema. A change of [`analyzer`] needs a new name, so that an index made
/// with the old one is recognised as outdated.
const ANALYSIS: &str = "prose1";

/// Words longer than this, in bytes, are not indexed: encoded data, not language.
const MAX_WORD_BYTES: usize = 64;

/// The fields of the index: one entry per chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) document: Field,
    pub(super) workspace: Field,
    pub(super) title: Field,
    pub(super) ordinal: Field,
    pub(super) body: Field,
    pub(super) media_type: Field,
    pub(super) ingested: Field,
}

pub(super) fn schema() -> (Schema, Fields) {
    let prose =
        TextFieldIndexing::default().set_tokenizer(ANALYSIS).set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let prose = TextOptions::default().set_indexing_options(prose) | STORED;
    let time = DateOptions::from(INDEXED | STORED).set_precision(DateTimePrecision::Milliseconds);
    let mut schema = Schema::builder();
    let fields = Fields {
        document: schema.add_text_field("document", STRING | STORED),
        workspace: schema.add_text_field("workspace", STRING),
        title: schema.add_text_field("title", prose.clone()),
        ordinal: schema.add_u64_field("ordinal", INDEXED | STORED | FAST),
        body: schema.add_text_field("body", prose),
        media_type: schema.add_text_field("media_type", STRING | STORED),
        ingested: schema.add_date_field("ingested", time),
    };
    (schema.build(), fields)
}

pub(super) fn register(engine: &tantivy::Index) {
    engine.tokenizers().register(ANALYSIS, analyzer());
}

/// Lower case, no accents, English endings cut: "Tides" is found by "tide", "Marées" by "marees". Other
/// languages lose some endings too, and the same ones in text and query.
pub(super) fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(WordTokenizer::default())
        .filter(RemoveLongFilter::limit(MAX_WORD_BYTES))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::new(Language::English))
        .build()
}
