//! The statements of one commit, as few round trips as possible.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// The most entries one statement inserts.
pub(super) const MAX_ROWS: usize = 256;
/// The most groups one statement writes.
pub(super) const MAX_PLACES: usize = 8;

/// Row counts that statements exist for; what is missing is filled up with nulls and dropped by the statement.
const ROWS: [usize; 6] = [1, 4, 16, 64, 128, MAX_ROWS];
const PLACES: [usize; 3] = [1, 4, MAX_PLACES];

/// Parameters per entry and per group.
pub(super) const ROW_WIDTH: usize = 6;
pub(super) const PLACE_WIDTH: usize = 5;

/// The statement of one round trip: `begin` or not, for how many entries and groups, `commit` or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub begin: bool,
    pub rows: usize,
    pub places: usize,
    pub commit: bool,
}

impl Shape {
    /// The smallest shape that takes so many; at most [`MAX_ROWS`] and [`MAX_PLACES`].
    pub(super) fn of(begin: bool, rows: usize, places: usize, commit: bool) -> Self {
        let fit = |sizes: &[usize], count: usize| match count {
            0 => 0,
            _ => sizes.iter().copied().find(|size| *size >= count).unwrap_or(count),
        };
        Self { begin, rows: fit(&ROWS, rows), places: fit(&PLACES, places), commit }
    }
}

/// The texts made so far: at most one per shape, so that the connection prepares each once.
#[derive(Default)]
pub(super) struct Statements {
    texts: HashMap<Shape, Arc<str>>,
}

impl Statements {
    pub(super) fn text(&mut self, shape: Shape) -> Arc<str> {
        self.texts.entry(shape).or_insert_with(|| write(shape)).clone()
    }
}

fn write(shape: Shape) -> Arc<str> {
    let mut sql = String::new();
    if shape.begin {
        sql.push_str("begin immediate;");
    }
    if shape.rows > 0 {
        let rows = values(shape.rows, ROW_WIDTH);
        let _ = write!(
            sql,
            "insert into entry (seq, name, mark, at, crc, envelope)
             select * from (values {rows}) where column1 is not null;"
        );
    }
    if shape.places > 0 {
        let rows = values(shape.places, PLACE_WIDTH);
        let _ = write!(
            sql,
            "update grp set cursor = new.column2, beyond = new.column3, counted = new.column4, place = new.column5
             from (values {rows}) as new where grp.id = new.column1;"
        );
    }
    if shape.commit {
        sql.push_str("commit;");
    }
    sql.into()
}

fn values(rows: usize, width: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(","));
    vec![row; rows].join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_up_to_the_next_size() {
        assert_eq!(Shape::of(true, 0, 0, false), Shape { begin: true, rows: 0, places: 0, commit: false });
        assert_eq!(Shape::of(false, 5, 2, true), Shape { begin: false, rows: 16, places: 4, commit: true });
        assert_eq!(Shape::of(false, MAX_ROWS, MAX_PLACES, false).rows, MAX_ROWS);
        let text = Statements::default().text(Shape::of(true, 3, 1, true));
        assert_eq!(text.matches('?').count(), 4 * ROW_WIDTH + PLACE_WIDTH);
        assert!(text.starts_with("begin immediate;") && text.ends_with("commit;"));
    }
}
