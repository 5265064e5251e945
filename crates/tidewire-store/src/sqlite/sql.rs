//! Statements over many rows at once. Sending a statement costs about as much as twenty rows, so everything a
//! group does to a table is one statement, and statements whose answers nobody waits for are sent together.
//!
//! Limits are written `limit +?`: a bare `limit ?` is planned for its value, and so SQLite prepares the statement anew
//! each time it runs.

use sqlx::encode::Encode;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Sqlite, Type};

/// The most rows in one statement. More gains nothing, and SQLite takes 32,766 variables.
const MAX_ROWS: usize = 256;

/// Rows of a statement in a [`Script`]: few sizes, since a script has a text per combination of them.
const SCRIPT_ROWS: [usize; 5] = [4, 16, 64, 128, MAX_ROWS];
/// Values after which a script goes on in a further one: its text has to be read each time it is sent.
const SCRIPT_VALUES: usize = 4_096;

/// A statement around `(?,…),(?,…)`. Its texts come in sizes of powers of two, so that few stay prepared;
/// rows beyond those given are all null, and `tail` must ignore them.
pub(super) struct Rows {
    /// Up to the first row.
    pub head: &'static str,
    /// Values per row.
    pub columns: usize,
    /// After the last row.
    pub tail: &'static str,
}

impl Rows {
    pub(super) fn text(&self, rows: usize) -> String {
        let mut text = String::new();
        self.write(rows.next_power_of_two(), &mut text);
        text
    }

    fn write(&self, rows: usize, text: &mut String) {
        text.reserve(self.head.len() + self.tail.len() + rows * (2 * self.columns + 2));
        text.push_str(self.head);
        for row in 0..rows {
            text.push_str(if row == 0 { "(?" } else { ",(?" });
            for _ in 1..self.columns {
                text.push_str(",?");
            }
            text.push(')');
        }
        text.push_str(self.tail);
    }

    /// Runs it for all of `items`, and says how many rows it changed.
    pub(super) async fn execute<T>(
        &self,
        connection: &mut SqliteConnection,
        items: &[T],
        mut bind: impl FnMut(&T, &mut Args),
    ) -> Result<u64, sqlx::Error> {
        let mut changed = 0;
        for chunk in items.chunks(MAX_ROWS) {
            let args = self.bind(chunk, &mut bind)?;
            let query = sqlx::query_with(AssertSqlSafe(self.text(chunk.len())), args);
            changed += query.execute(&mut *connection).await?.rows_affected();
        }
        Ok(changed)
    }

    /// Runs it for all of `items`, and returns what it found, in no order.
    pub(super) async fn fetch<T>(
        &self,
        connection: &mut SqliteConnection,
        items: &[T],
        mut bind: impl FnMut(&T, &mut Args),
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut found = Vec::new();
        for chunk in items.chunks(MAX_ROWS) {
            let args = self.bind(chunk, &mut bind)?;
            let query = sqlx::query_with(AssertSqlSafe(self.text(chunk.len())), args);
            found.extend(query.fetch_all(&mut *connection).await?);
        }
        Ok(found)
    }

    fn bind<T>(&self, items: &[T], bind: &mut impl FnMut(&T, &mut Args)) -> Result<SqliteArguments, sqlx::Error> {
        let mut args = Args::with_capacity(items.len() * self.columns);
        for (row, item) in items.iter().enumerate() {
            bind(item, &mut args);
            debug_assert_eq!(args.values.len(), (row + 1) * self.columns, "{}", self.head);
        }
        args.finish()
    }
}

/// Statements to be sent together, in order.
#[derive(Default)]
pub(super) struct Script {
    full: Vec<(String, Args)>,
    text: String,
    args: Args,
}

impl Script {
    /// Adds a statement for all of `items`, if there are any.
    pub(super) fn add<T>(&mut self, rows: &Rows, items: &[T], mut bind: impl FnMut(&T, &mut Args)) {
        for chunk in items.chunks(MAX_ROWS) {
            if self.args.len() >= SCRIPT_VALUES {
                self.full.push((std::mem::take(&mut self.text), std::mem::take(&mut self.args)));
            }
            let size = SCRIPT_ROWS.into_iter().find(|size| *size >= chunk.len()).unwrap_or(MAX_ROWS);
            rows.write(size, &mut self.text);
            self.text.push(';');
            let before = self.args.len();
            chunk.iter().for_each(|item| bind(item, &mut self.args));
            debug_assert_eq!(self.args.len() - before, chunk.len() * rows.columns, "{}", rows.head);
            for _ in chunk.len() * rows.columns..size * rows.columns {
                self.args.add(None::<i64>);
            }
        }
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.text.is_empty()
    }

    /// Adds a statement without values.
    pub(super) fn then(&mut self, statement: &str) {
        self.text.push_str(statement);
    }

    /// Sends it.
    pub(super) async fn run(mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.full.push((self.text, self.args));
        for (text, args) in self.full {
            if !text.is_empty() {
                sqlx::query_with(AssertSqlSafe(text), args.finish()?).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }
}

/// Arguments being collected; the first failure is kept until the end.
#[derive(Default)]
pub(super) struct Args {
    values: SqliteArguments,
    failure: Option<BoxDynError>,
}

impl Args {
    pub(super) fn with_capacity(values: usize) -> Self {
        let mut args = Self::default();
        args.values.reserve(values, 0);
        args
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds a value.
    pub(super) fn add<'q, T: Encode<'q, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(failure) = self.values.add(value) {
            self.failure.get_or_insert(failure);
        }
        self
    }

    /// Adds a count, position or version. SQLite's integers are signed; nothing we count reaches their end.
    pub(super) fn count(&mut self, value: u64) -> &mut Self {
        self.add(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// The arguments, ready to be sent.
    pub(super) fn finish(self) -> Result<SqliteArguments, sqlx::Error> {
        match self.failure {
            None => Ok(self.values),
            Some(failure) => Err(sqlx::Error::Encode(failure)),
        }
    }
}
