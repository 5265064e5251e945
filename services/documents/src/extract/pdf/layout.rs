use pdf_extract::{MediaBox, OutputDev, OutputError, Transform};

use crate::extract::MAX_TEXT_BYTES;

/// A step across the line of writing larger than this many font sizes begins a new line.
const LINE_STEP: f64 = 0.5;
/// … and larger than this a new paragraph: single-spaced text steps 1.2, generous text 1.5.
const PARAGRAPH_STEP: f64 = 1.8;
/// A gap along the line larger than this many font sizes is a space.
const WORD_GAP: f64 = 0.12;

/// Collects the text of pages from positioned characters, whatever way the page is turned.
#[derive(Default)]
pub(super) struct Pages {
    done: Vec<String>,
    done_bytes: usize,
    page: String,
    in_page: bool,
    pen: Option<Pen>,
    word_starts: bool,
}

/// Where the last character ended, and which way it ran.
struct Pen {
    x: f64,
    y: f64,
    size: f64,
}

impl Pages {
    /// Number of pages read to their end.
    pub(super) fn finished(&self) -> usize {
        self.done.len()
    }

    /// Forgets the part of a page the parser broke on.
    pub(super) fn drop_unfinished(&mut self) {
        self.page.clear();
        self.in_page = false;
    }

    pub(super) fn push(&mut self, page: String) {
        self.done_bytes += page.len();
        self.done.push(page);
    }

    /// Whether there is more text than will be accepted.
    pub(super) fn overflowed(&self) -> bool {
        self.done_bytes + self.page.len() > MAX_TEXT_BYTES
    }

    pub(super) fn into_text(self) -> String {
        self.done.join("\n\n")
    }
}

impl OutputDev for Pages {
    fn begin_page(
        &mut self,
        _number: u32,
        _media_box: &MediaBox,
        _art_box: Option<(f64, f64, f64, f64)>,
    ) -> Result<(), OutputError> {
        self.drop_unfinished();
        self.in_page = true;
        self.pen = None;
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        let page = join_hyphenated(&self.page);
        self.push(page);
        self.drop_unfinished();
        Ok(())
    }

    fn output_character(
        &mut self,
        trm: &Transform,
        width: f64,
        _spacing: f64,
        font_size: f64,
        text: &str,
    ) -> Result<(), OutputError> {
        if self.overflowed() {
            return Err(std::fmt::Error.into());
        }
        let scale = trm.m11.hypot(trm.m12);
        let (along_x, along_y) = if scale > 0.0 { (trm.m11 / scale, trm.m12 / scale) } else { (1.0, 0.0) };
        let size = (scale * font_size).abs();
        if self.word_starts
            && let Some(pen) = &self.pen
        {
            let (dx, dy) = (trm.m31 - pen.x, trm.m32 - pen.y);
            let along = dx * along_x + dy * along_y;
            let across = (dy * along_x - dx * along_y).abs();
            let unit = size.max(pen.size).max(f64::MIN_POSITIVE);
            if across > unit * PARAGRAPH_STEP {
                self.page.push_str("\n\n");
            } else if across > unit * LINE_STEP || along < -unit {
                self.page.push('\n');
            } else if along > unit * WORD_GAP && !self.page.ends_with(' ') {
                self.page.push(' ');
            }
        }
        self.page.push_str(text);
        self.word_starts = false;
        let advance = width * size;
        self.pen = Some(Pen { x: trm.m31 + along_x * advance, y: trm.m32 + along_y * advance, size });
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        self.word_starts = true;
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}

/// Joins words that were broken at the end of a line, so that they can be searched for.
fn join_hyphenated(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    for line in page.split_inclusive('\n') {
        let continues = line.starts_with(char::is_lowercase);
        let broken = out.strip_suffix("-\n").is_some_and(|before| before.ends_with(char::is_lowercase));
        if continues && broken {
            out.truncate(out.len() - 2);
        }
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(pages: &mut Pages, turn: f64, x: f64, y: f64, text: &str) {
        let (sin, cos) = turn.to_radians().sin_cos();
        pages.begin_word().unwrap();
        for (n, c) in text.chars().enumerate() {
            let x = x + n as f64 * 5.0;
            let at = Transform::row_major(cos, sin, -sin, cos, x * cos - y * sin, x * sin + y * cos);
            pages.output_character(&at, 0.5, 0.0, 10.0, &c.to_string()).unwrap();
        }
    }

    #[test]
    fn lines_words_and_paragraphs_however_the_page_is_turned() {
        let media_box = MediaBox { llx: 0.0, lly: 0.0, urx: 600.0, ury: 800.0 };
        for turn in [0.0, 90.0, 180.0, 270.0, 33.0] {
            let mut pages = Pages::default();
            pages.begin_page(1, &media_box, None).unwrap();
            write(&mut pages, turn, 0.0, 700.0, "high");
            write(&mut pages, turn, 20.0, 700.0, "er");
            write(&mut pages, turn, 35.0, 700.0, "wa-");
            write(&mut pages, turn, 0.0, 688.0, "ter");
            write(&mut pages, turn, 0.0, 650.0, "Ebb");
            pages.end_page().unwrap();
            assert_eq!(pages.into_text(), "higher water\n\nEbb", "turned by {turn}");
        }
    }
}
