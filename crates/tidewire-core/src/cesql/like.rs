//! The pattern of `LIKE`.

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `%`: any characters, also none.
    Any,
    /// `_`: one character.
    One,
    /// Exactly this character.
    Exactly(char),
}

impl Pattern {
    /// `\%` and `\_` stand for themselves, and so does every other backslash.
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::with_capacity(text.len());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '%' if parts.last() == Some(&Part::Any) => continue,
                '%' => Part::Any,
                '_' => Part::One,
                '\\' => Part::Exactly(chars.next_if(|next| matches!(next, '%' | '_')).unwrap_or('\\')),
                c => Part::Exactly(c),
            });
        }
        Self(parts)
    }

    /// Goes back only to the last `%`: at most pattern × text steps, however the pattern is made.
    pub(super) fn matches(&self, text: &str) -> bool {
        let parts = &self.0;
        let mut rest = text.chars();
        let mut at = 0;
        let mut last_any = None;
        loop {
            let before = rest.clone();
            match (parts.get(at), rest.next()) {
                (Some(Part::Any), _) => {
                    rest = before;
                    last_any = Some((at, rest.clone()));
                    at += 1;
                    continue;
                }
                (Some(Part::One), Some(_)) => at += 1,
                (Some(Part::Exactly(wanted)), Some(found)) if *wanted == found => at += 1,
                (None, None) => return true,
                (Some(_), None) => return false,
                _ => {
                    let Some((any, from)) = &mut last_any else { return false };
                    from.next();
                    rest = from.clone();
                    at = *any + 1;
                }
            }
        }
    }
}
