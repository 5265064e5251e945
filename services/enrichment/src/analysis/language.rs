use serde::{Deserialize, Serialize};
use whatlang::Lang;

/// Letters below which no language is named: a few words fit too many.
const MIN_LETTERS: usize = 20;

/// Length of each of the three samples taken of a long text, in bytes. More do not change the answer.
const SAMPLE_BYTES: usize = 16 * 1024;

/// The language a text is mostly in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Language {
    /// Its BCP 47 tag: two letters where ISO 639-1 has them, else three.
    pub tag: String,
    /// Its English name.
    pub name: String,
    /// How much better it fits than the next, from 0 to 1.
    pub confidence: f64,
    /// Whether that is enough to act on.
    pub reliable: bool,
}

/// Tells the language of a text, from its beginning, middle and end.
#[must_use]
pub fn language(text: &str) -> Option<Language> {
    let sample = sample(text);
    if sample.chars().filter(|c| c.is_alphabetic()).take(MIN_LETTERS).count() < MIN_LETTERS {
        return None;
    }
    let found = whatlang::detect(&sample)?;
    Some(Language {
        tag: tag(found.lang()).to_owned(),
        name: found.lang().eng_name().to_owned(),
        confidence: found.confidence(),
        reliable: found.is_reliable(),
    })
}

fn sample(text: &str) -> String {
    if text.len() <= 3 * SAMPLE_BYTES {
        return text.to_owned();
    }
    let slice = |from: usize| &text[text.floor_char_boundary(from)..text.floor_char_boundary(from + SAMPLE_BYTES)];
    [slice(0), slice(text.len() / 2), slice(text.len() - SAMPLE_BYTES)].join("\n")
}

fn tag(lang: Lang) -> &'static str {
    const SHORT: &[(&str, &str)] = &[
        ("afr", "af"),
        ("aka", "ak"),
        ("amh", "am"),
        ("ara", "ar"),
        ("aze", "az"),
        ("bel", "be"),
        ("ben", "bn"),
        ("bul", "bg"),
        ("cat", "ca"),
        ("ces", "cs"),
        ("cmn", "zh"),
        ("cym", "cy"),
        ("dan", "da"),
        ("deu", "de"),
        ("ell", "el"),
        ("eng", "en"),
        ("epo", "eo"),
        ("est", "et"),
        ("fin", "fi"),
        ("fra", "fr"),
        ("guj", "gu"),
        ("heb", "he"),
        ("hin", "hi"),
        ("hrv", "hr"),
        ("hun", "hu"),
        ("hye", "hy"),
        ("ind", "id"),
        ("ita", "it"),
        ("jav", "jv"),
        ("jpn", "ja"),
        ("kan", "kn"),
        ("kat", "ka"),
        ("khm", "km"),
        ("kor", "ko"),
        ("lat", "la"),
        ("lav", "lv"),
        ("lit", "lt"),
        ("mal", "ml"),
        ("mar", "mr"),
        ("mkd", "mk"),
        ("mya", "my"),
        ("nep", "ne"),
        ("nld", "nl"),
        ("nob", "nb"),
        ("ori", "or"),
        ("pan", "pa"),
        ("pes", "fa"),
        ("pol", "pl"),
        ("por", "pt"),
        ("ron", "ro"),
        ("rus", "ru"),
        ("sin", "si"),
        ("slk", "sk"),
        ("slv", "sl"),
        ("sna", "sn"),
        ("spa", "es"),
        ("srp", "sr"),
        ("swe", "sv"),
        ("tam", "ta"),
        ("tel", "te"),
        ("tgl", "tl"),
        ("tha", "th"),
        ("tuk", "tk"),
        ("tur", "tr"),
        ("ukr", "uk"),
        ("urd", "ur"),
        ("uzb", "uz"),
        ("vie", "vi"),
        ("yid", "yi"),
        ("zul", "zu"),
    ];
    let code = lang.code();
    SHORT.iter().find(|(long, _)| *long == code).map_or(code, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_of_whole_sentences() {
        let cases = [
            ("The water rises for six hours and then it falls again, whatever the harbour office thinks of it.", "en"),
            (
                "Das Wasser steigt sechs Stunden lang und fällt dann wieder, was auch immer das Hafenamt davon hält.",
                "de",
            ),
            ("L'eau monte pendant six heures puis redescend, quoi qu'en pense le bureau du port de la ville.", "fr"),
            (
                "El agua sube durante seis horas y luego baja otra vez, piense lo que piense la oficina del puerto.",
                "es",
            ),
            ("Вода поднимается шесть часов, а потом снова опускается, что бы об этом ни думали в порту.", "ru"),
            ("潮汐是海水在月球和太阳引力作用下所产生的周期性运动，人们很早就知道它的规律。", "zh"),
        ];
        for (text, tag) in cases {
            let got = language(text).unwrap();
            assert_eq!((got.tag.as_str(), got.reliable), (tag, true), "{text}");
            assert_eq!(language(&text.repeat(1000)).unwrap().tag, tag, "long");
        }
        for text in ["", "ok", "12345 67890 12345 67890", "🌊🌊🌊"] {
            assert_eq!(language(text), None);
        }
    }
}
