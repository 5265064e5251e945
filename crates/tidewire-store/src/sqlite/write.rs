//! Writing what a group decided: one statement per table.

use sqlx::sqlite::SqliteConnection;
use tidewire_core::effect::EffectState;

use super::codec::Any;
use super::lookup::MarkKey;
use super::plan::Writes;
use super::sql::{Args, Rows, Script};
use crate::group::nanos;

// `where` keeps out the empty rows that round a statement up to its size.
macro_rules! insert {
    ($name:ident, $columns:literal, $table:literal, $conflict:literal) => {
        const $name: Rows = Rows {
            head: concat!("insert into ", $table, " select * from (values "),
            columns: $columns,
            tail: concat!(") where column1 is not null", $conflict),
        };
    };
}
insert!(CONSUMERS, 2, "consumer (id, name)", "");
insert!(STREAMS, 2, "stream (id, key)", "");
insert!(
    EVENTS,
    14,
    "event (position, stream, version, bucket, id, source, name, type_version, time, recorded, correlation, \
     attributes, data, crc)",
    ""
);
insert!(MARKS, 3, "inbox (consumer, id, source)", "");
insert!(
    STARTS,
    5,
    "inbox_attempt (consumer, id, source, starts, error)",
    " on conflict (consumer, id, source) do update set starts = excluded.starts, \
     error = coalesce(excluded.error, error)"
);
insert!(
    DOCUMENTS,
    4,
    "document (collection, id, revision, value)",
    " on conflict (collection, id) do update set revision = excluded.revision, value = excluded.value"
);
// Without an ordinal of its own an event gets the next one.
insert!(
    PARKS,
    12,
    "parked (consumer, key, id, source, envelope, data, code, reason, attempts, since, crc, ordinal)",
    ""
);
insert!(
    TIMERS,
    5,
    "timer (owner, id, key, due, data)",
    " on conflict (owner, id) do update set key = excluded.key, due = excluded.due, data = excluded.data"
);
// Handling an event again asks for the same effect: once is enough.
insert!(EFFECTS, 5, "effect (id, consumer, cause, call, due)", " on conflict (id) do nothing");
insert!(
    LEASES,
    4,
    "lease (name, owner, epoch, expires)",
    " on conflict (name) do update set owner = excluded.owner, epoch = excluded.epoch, expires = excluded.expires"
);
insert!(
    SNAPSHOTS,
    4,
    "snapshot (aggregate, key, version, state)",
    " on conflict (aggregate, key) do update set version = excluded.version, state = excluded.state \
     where excluded.version >= snapshot.version"
);
// `select` around `values`: without it some versions of SQLite walk the whole table.
const MARKS_DONE: Rows = Rows {
    head: "delete from inbox_attempt where (consumer, id, source) in (select column1, column2, column3 from (values ",
    columns: 3,
    tail: "))",
};
const DOCUMENTS_GONE: Rows = Rows {
    head: "delete from document where (collection, id) in (select column1, column2 from (values ",
    columns: 2,
    tail: "))",
};
const TIMERS_GONE: Rows = Rows {
    head: "delete from timer where (owner, id) in (select column1, column2 from (values ",
    columns: 2,
    tail: "))",
};
const UNPARKS: Rows = Rows { head: "delete from parked where ordinal in (values ", columns: 1, tail: ")" };
const SETTLED: Rows = Rows {
    head: "update effect set state = v.column2, due = v.column3, error = v.column4, \
           attempts = case effect.state when 2 then 0 else effect.attempts + 1 end from (values ",
    columns: 4,
    tail: ") as v where effect.id = v.column1 and (effect.state = 0 or (effect.state = 2 and v.column2 = 0))",
};

impl Writes<'_> {
    /// Everything to be written, as one transaction still to be committed, in two scripts: in one there would be
    /// too many combinations of sizes to keep prepared. `recorded`: the moment the log takes the events.
    pub(super) fn scripts(&self, recorded: &Any) -> (Script, Script) {
        let mut log = Script::default();
        log.then("begin immediate;");
        log.add(&CONSUMERS, &self.consumers, |(id, name), args| {
            args.add(*id).add(*name);
        });
        log.add(&STREAMS, &self.streams, |(id, key), args| {
            args.add(*id).add(key.as_str());
        });
        self.write_events(&mut log, recorded);
        log.add(&MARKS, &self.marks, bind_mark);
        let mut rest = Script::default();
        self.write_documents(&mut rest);
        // Before parking: a parked event may be parked again in place of itself.
        rest.add(&UNPARKS, &self.unparks, |ordinal, args| {
            args.count(*ordinal);
        });
        self.write_parks(&mut rest, recorded);
        self.write_timers(&mut rest);
        self.write_effects(&mut rest, recorded);
        self.write_rest(&mut rest);
        (log, rest)
    }

    /// Within the transaction: events that are handled are no longer being tried again. Answers how many.
    pub(super) async fn end_attempts(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        MARKS_DONE.execute(connection, &self.marks, bind_mark).await
    }

    fn write_events(&self, script: &mut Script, recorded: &Any) {
        script.add(&EVENTS, &self.events, |row, args| {
            let (envelope, encoded) = (row.envelope, row.encoded);
            args.count(row.position).add(row.stream).count(row.version).add(i64::from(row.bucket));
            encoded.id.bind(args);
            args.add(envelope.source.as_str()).add(envelope.ty.name()).add(i64::from(envelope.ty.version()));
            encoded.time.bind(args);
            recorded.bind(args);
            encoded.correlation.bind(args);
            args.add(encoded.attributes.as_deref()).add(envelope.data.as_deref());
            args.add(i64::from(encoded.checksum_at(row.position, row.version, recorded)));
        });
    }

    fn write_documents(&self, script: &mut Script) {
        let (kept, gone): (Vec<_>, Vec<_>) = self.documents.iter().partition(|row| row.value.is_some());
        script.add(&DOCUMENTS, &kept, |row, args| {
            args.add(row.at.0).add(row.at.1).count(row.revision).add(row.value.map_or(&[][..], |value| &value[..]));
        });
        script.add(&DOCUMENTS_GONE, &gone, |row, args| {
            args.add(row.at.0).add(row.at.1);
        });
    }

    fn write_parks(&self, script: &mut Script, recorded: &Any) {
        script.add(&PARKS, &self.parks, |row, args| {
            let park = row.park;
            args.add(row.consumer).add(park.envelope.key.as_str());
            row.id.bind(args);
            args.add(park.envelope.source.as_str()).add(row.columns.envelope.as_str());
            args.add(park.envelope.data.as_deref()).add(park.code.as_str()).add(park.reason.as_str());
            let since = park.place.map_or_else(|| since(recorded), |place| nanos(&place.since));
            args.add(i64::from(park.attempts)).add(since).add(i64::from(row.columns.crc));
            args.add(park.place.and_then(|place| i64::try_from(place.ordinal).ok()));
        });
    }

    fn write_timers(&self, script: &mut Script) {
        let set: Vec<_> = self.timers.values().flatten().collect();
        let gone: Vec<_> = self.timers.iter().filter(|(_, timer)| timer.is_none()).map(|(at, _)| at).collect();
        script.add(&TIMERS, &set, |timer, args| {
            args.add(timer.owner.as_str()).add(timer.id.as_str()).add(timer.key.as_str());
            args.add(nanos(&timer.due)).add(&timer.data[..]);
        });
        script.add(&TIMERS_GONE, &gone, |at, args| {
            args.add(at.0).add(at.1);
        });
    }

    fn write_effects(&self, script: &mut Script, recorded: &Any) {
        script.add(&EFFECTS, &self.effects, |effect, args| {
            // Strings and string-keyed maps always have a JSON form.
            let call = serde_json::to_string(&effect.call).unwrap_or_default();
            args.add(effect.id.as_str()).add(effect.consumer.as_str()).add(effect.cause.as_str());
            args.add(call).add(since(recorded));
        });
        script.add(&SETTLED, &self.settled, |outcome, args| {
            let (state, due) = match &outcome.state {
                EffectState::Pending(due) => (0, nanos(due)),
                EffectState::Done => (1, 0),
                EffectState::Failed => (2, 0),
            };
            args.add(outcome.id.as_str()).add(state).add(due).add(outcome.error.as_deref());
        });
    }

    fn write_rest(&self, script: &mut Script) {
        let leases: Vec<_> = self.leases.iter().collect();
        script.add(&LEASES, &leases, |(name, lease), args| {
            args.add(**name).add(lease.owner.as_deref()).count(lease.epoch).add(lease.expires);
        });
        let starts: Vec<_> = self.starts.iter().collect();
        script.add(&STARTS, &starts, |(mark, (starts, error)), args| {
            bind_mark(mark, args);
            args.add(i64::from(*starts)).add(*error);
        });
        let snapshots: Vec<_> = self.snapshots.iter().collect();
        script.add(&SNAPSHOTS, &snapshots, |((aggregate, key), (version, state)), args| {
            args.add(*aggregate).add(*key).count(*version).add(&state[..]);
        });
    }
}

fn bind_mark(mark: &MarkKey<'_>, args: &mut Args) {
    args.add(mark.consumer);
    mark.id.bind(args);
    args.add(mark.source);
}

fn since(recorded: &Any) -> i64 {
    if let Any::Number(nanos) = recorded { *nanos } else { i64::MAX }
}

/// Every statement here, to be looked at by a test.
#[cfg(test)]
pub(super) const ALL: [&Rows; 16] = [
    &CONSUMERS,
    &STREAMS,
    &EVENTS,
    &MARKS,
    &STARTS,
    &DOCUMENTS,
    &PARKS,
    &TIMERS,
    &EFFECTS,
    &LEASES,
    &SNAPSHOTS,
    &MARKS_DONE,
    &DOCUMENTS_GONE,
    &TIMERS_GONE,
    &UNPARKS,
    &SETTLED,
];
