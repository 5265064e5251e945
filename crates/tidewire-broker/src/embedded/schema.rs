//! The broker's file: what it looks like, and how it is recognised.

/// `TWBR`: what `pragma application_id` says in a broker's file.
pub(super) const APPLICATION_ID: i64 = 0x5457_4252;

/// What `pragma user_version` says. Goes up with every change to the tables.
pub(super) const VERSION: i64 = 2;

/// The oldest SQLite that is free of the bug that corrupts files when a write-ahead log is reset.
pub(super) const MIN_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// The tables. The log has no index but its own order: every further one would cost each publish more than the
/// publish itself.
pub(super) const TABLES: &str = "
    -- One row for the whole file. clean: nothing is in doubt since the last close. incarnation: names this file.
    create table meta (
        one integer primary key check (one = 1), clean integer not null, incarnation text not null default '') strict;
    insert into meta (one, clean) values (1, 1);

    -- The names of event types.
    create table name (id integer primary key, text text not null unique) strict;

    -- The log. mark: identity, a digest of (source, id). at: milliseconds since the epoch. crc: CRC32C of
    -- envelope || mark. envelope: CloudEvents JSON. Columns that are read alone stand before the long one.
    create table entry (
        seq integer primary key, name integer not null, mark blob not null, at integer not null,
        crc integer not null, envelope blob not null) strict;

    -- Consumer groups. names: JSON array, empty for all. place: see place.rs; with cursor, what was
    -- acknowledged. beyond: how many entries in (cursor, counted] it wants. window: the most that may be in
    -- doubt after a crash.
    create table grp (
        id integer primary key, name text not null unique, names text not null, window integer not null,
        cursor integer not null, beyond integer not null, counted integer not null, place blob not null) strict;

    -- Entries that could not be read, and were passed over by the group.
    create table damaged (
        seq integer not null, grp integer not null, reason text not null, at integer not null,
        primary key (seq, grp)) strict, without rowid;
";

/// From version 1 to 2.
pub(super) const TO_2: &str = "
    begin immediate; alter table meta add column incarnation text not null default ''; pragma user_version = 2; commit;
";

/// The pragmas of every connection and what reading them back must give.
pub(super) const PRAGMAS: &[(&str, &str, &str)] = &[
    ("journal_mode", "wal", "wal"),
    ("synchronous", "full", "2"),
    ("fullfsync", "on", "1"),
    ("checkpoint_fullfsync", "on", "1"),
    ("temp_store", "memory", "2"),
    ("wal_autocheckpoint", "1000", "1000"),
    ("journal_size_limit", "67108864", "67108864"),
    ("cell_size_check", "on", "1"),
    ("trusted_schema", "off", "0"),
];
