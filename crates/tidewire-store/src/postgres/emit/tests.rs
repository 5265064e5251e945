//! `tidewire.emit`, from plain SQL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Row, query, raw_sql};
use tidewire_core::store::{Log, Recorded, Selection, Upkeep};
use tidewire_core::{
    Append, Attribute, Clock as _, Commit, Committed, Envelope, EventType, Expect, Key, Position, SystemClock,
};
use tokio::time::Instant;

use crate::postgres::{PostgresOptions, PostgresStore};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

pub(in crate::postgres) struct Rig {
    pub store: Arc<PostgresStore>,
    pub pool: PgPool,
    url: String,
}

/// A store in a database of its own, and connections of a service beside it. Nothing, if PostgreSQL is left out.
pub(in crate::postgres) async fn rig() -> Option<Rig> {
    if servers::left_out("postgres") {
        println!("left out: PostgreSQL");
        return None;
    }
    let server = servers::postgres().await.unwrap_or_else(|missing| panic!("{missing}"));
    let url = server.database().await;
    let store = PostgresStore::open(PostgresOptions::new(&url), Arc::new(SystemClock)).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(40).connect(&url).await.unwrap();
    Some(Rig { store: Arc::new(store), pool, url })
}

impl Rig {
    /// The log, once it holds `count` events; no more may come.
    pub async fn log(&self, count: usize) -> Vec<Recorded> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.store.read(&Selection { limit: 10_000, ..Selection::default() }).await.unwrap();
            assert!(found.len() <= count, "{} events instead of {count}", found.len());
            if found.len() == count {
                let positions: Vec<u64> = found.iter().map(|recorded| recorded.position.0).collect();
                assert_eq!(positions, (1..=count as u64).collect::<Vec<_>>(), "the log has a hole");
                return found;
            }
            assert!(Instant::now() < deadline, "only {} of {count} events have a position", found.len());
            self.store.wait(Position(found.len() as u64), Duration::from_millis(200)).await;
        }
    }

    /// Whether `emit` with these arguments is refused: its SQLSTATE, and the column the error names. Nothing stays.
    pub async fn refusal(&self, arguments: &str) -> Option<(String, Option<String>)> {
        let mut transaction = self.pool.begin().await.unwrap();
        let result = emit(&mut transaction, arguments).await;
        transaction.rollback().await.unwrap();
        result.err().map(|error| {
            let error = error.into_database_error().expect("an answer of the server");
            let error = error.downcast_ref::<sqlx::postgres::PgDatabaseError>();
            (error.code().to_owned(), error.column().map(str::to_owned))
        })
    }
}

/// Emits, and answers the event's id and its version.
pub(in crate::postgres) async fn emit(
    connection: &mut PgConnection,
    arguments: &str,
) -> Result<(String, i64), sqlx::Error> {
    let text = format!("select id, sequence from tidewire.emit({arguments})");
    let row = query(AssertSqlSafe(text)).fetch_one(connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

pub(in crate::postgres) fn event(id: &str, key: &str, data: Option<&str>) -> Envelope {
    Envelope {
        id: id.into(),
        source: "/sql".into(),
        ty: EventType::new("user.followed", 1),
        subject: None,
        time: DateTime::from_timestamp(1_790_000_000, 123_456_000).unwrap(),
        key: Key::new(key).unwrap(),
        datacontenttype: None,
        dataschema: None,
        data: data.map(|data| Bytes::from(data.to_owned())),
        sequence: None,
        correlationid: Some(id.into()),
        causationid: None,
        traceparent: None,
        recordedtime: None,
        expirytime: None,
        dataref: None,
        extensions: BTreeMap::new(),
    }
}

/// Events, and the arguments that emit them. The first part of the arguments is the same for all.
fn twins() -> Vec<(Envelope, &'static str)> {
    let moment = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
    let full = Envelope {
        ty: EventType::new("user.followed", 65_535),
        subject: Some("ü \"quoted\" \\ €".into()),
        datacontenttype: Some("application/vnd.x+json; charset=utf-8".into()),
        dataschema: Some("https://example.com/schema".into()),
        correlationid: Some("a flow".into()),
        causationid: Some("a cause".into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        expirytime: Some(moment("9999-12-31T23:59:59.999999Z")),
        dataref: Some("s3://bucket/object".into()),
        extensions: BTreeMap::from([
            ("text".into(), Attribute::from("ü")),
            ("empty".into(), Attribute::from("")),
            ("n".into(), Attribute::Integer(i32::MIN)),
            ("b".into(), Attribute::Boolean(false)),
        ]),
        time: moment("0001-01-01T00:00:00Z"),
        ..event("", "k", Some(r#"{"a": [1.10, null]}"#))
    };
    let opaque = Envelope {
        datacontenttype: Some("application/octet-stream".into()),
        data: Some(Bytes::from_static(&[0, 159, 146, 150])),
        ..event("", "k", None)
    };
    vec![
        (event("", "k", Some("{}")), "data => '{}'"),
        (event("", "k", None), ""),
        (event("", "k", Some("null")), "data => 'null'"),
        (event("", "k", Some(" {\"b\":1,  \"a\":1e2,\"a\":2}")), "data_bytes => ' {\"b\":1,  \"a\":1e2,\"a\":2}'"),
        (Envelope { ty: EventType::new("user.followed", 2), ..event("", "k", None) }, "version => 2"),
        (Envelope { extensions: BTreeMap::new(), ..event("", "k", None) }, "extensions => '{}'"),
        (opaque, "datacontenttype => 'application/octet-stream', data_bytes => '\\x009f9296'"),
        (
            Envelope { datacontenttype: Some("text/plain".into()), data: Some(Bytes::new()), ..event("", "k", None) },
            "datacontenttype => 'text/plain', data_bytes => ''",
        ),
        (
            full,
            "version => 65535, subject => 'ü \"quoted\" \\ €', dataschema => 'https://example.com/schema', \
             datacontenttype => 'application/vnd.x+json; charset=utf-8', correlationid => 'a flow', \
             causationid => 'a cause', traceparent => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', \
             expirytime => '9999-12-31 23:59:59.999999Z', dataref => 's3://bucket/object', \
             extensions => '{\"text\":\"ü\",\"empty\":\"\",\"n\":-2147483648,\"b\":false}', \
             \"time\" => '0001-01-01 00:00:00Z', data => '{\"a\":[1.10,null]}'",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn makes_the_same_rows_as_a_commit() {
    let Some(rig) = rig().await else { return };
    let mut connection = rig.pool.acquire().await.unwrap();
    let mut expected = Vec::new();
    for (n, (twin, arguments)) in twins().into_iter().enumerate() {
        let (sql, rust) = (format!("sql {n}"), format!("rust {n}"));
        let named = |id: &str| {
            let correlationid = twin.correlationid.clone().filter(|flow| !flow.is_empty()).or(Some(id.to_owned()));
            Envelope { id: id.to_owned(), key: Key::new(id).unwrap(), correlationid, ..twin.clone() }
        };
        let time = if arguments.contains("\"time\"") { "" } else { ", \"time\" => '2026-09-21 14:13:20.123456Z'" };
        let separator = if arguments.is_empty() { "" } else { ", " };
        let text = format!(
            "type => 'user.followed', key => '{sql}', id => '{sql}', source => '/sql'{separator}{arguments}{time}"
        );
        assert_eq!(emit(&mut connection, &text).await.unwrap(), (sql.clone(), 1), "{text}");
        let twin = named(&rust);
        assert_eq!(twin.check(), Ok(()));
        let append = vec![Append { key: twin.key.clone(), expect: Expect::Any, events: vec![twin] }];
        rig.store.commit(Commit { append, ..Commit::default() }).await.unwrap();
        expected.extend([named(&sql), named(&rust)]);
    }
    for recorded in rig.log(expected.len()).await {
        let expected = expected.iter().find(|envelope| envelope.id == recorded.envelope.id).unwrap().clone();
        let recordedtime = recorded.envelope.recordedtime;
        assert!(recordedtime.is_some());
        assert_eq!(recorded.envelope, Envelope { sequence: Some(1), recordedtime, ..expected });
        assert_eq!(recorded.envelope.check(), Ok(()));
    }
    // And the rows themselves, but for what must differ.
    let rows = query(
        "select to_jsonb(e) - '{batch,recorded,id,key,bucket,correlation}'::text[], to_jsonb(b) - '{id,first_position}'::text[] \
         from tidewire.event e join tidewire.batch b on b.id = e.batch \
         order by split_part(e.id, ' ', 2)::integer, e.id",
    );
    let rows = rows.fetch_all(&mut *connection).await.unwrap();
    let rows: Vec<(serde_json::Value, serde_json::Value)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(rows.chunks(2).all(|pair| pair[0] == pair[1]), "{rows:#?}");
    let wrong = "select count(*) from tidewire.event e join tidewire.stream s on s.key = e.key \
                 where e.bucket <> tidewire.bucket(e.key) or s.version <> e.version";
    assert_eq!(query(wrong).fetch_one(&mut *connection).await.unwrap().get::<i64, _>(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fills_in_what_is_left_out() {
    let Some(rig) = rig().await else { return };
    let mut connection = rig.pool.acquire().await.unwrap();
    let before = SystemClock.now();
    let (first, _) = emit(&mut connection, "'user.followed.v2', 'user/42'").await.unwrap();
    raw_sql("set tidewire.source = '/social'").execute(&mut *connection).await.unwrap();
    let (second, _) = emit(&mut connection, "'user.followed', 'user/42', source => null, id => null").await.unwrap();
    let found = rig.log(2).await;
    let (a, b) = (&found[0].envelope, &found[1].envelope);
    assert_eq!((a.id.as_str(), b.id.as_str()), (first.as_str(), second.as_str()));
    assert_eq!((a.ty.to_string(), b.ty.to_string()), ("user.followed.v2".into(), "user.followed.v1".into()));
    assert_eq!((a.source.as_str(), b.source.as_str()), ("/postgres", "/social"));
    for envelope in [a, b] {
        let id = uuid::Uuid::parse_str(&envelope.id).unwrap();
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        let (seconds, _) = id.get_timestamp().unwrap().to_unix();
        assert!(seconds.abs_diff(before.timestamp().unsigned_abs()) < 600);
        assert_eq!(envelope.correlationid.as_ref(), Some(&envelope.id));
        assert_eq!(Some(envelope.time), envelope.recordedtime);
    }
    assert!(a.id < b.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_exists_if_and_only_if_its_transaction_commits() {
    let Some(rig) = rig().await else { return };
    raw_sql("create table follow (n integer)").execute(&rig.pool).await.unwrap();
    for (n, commits) in [(1, false), (2, true), (3, false), (4, true)] {
        let mut transaction = rig.pool.begin().await.unwrap();
        query("insert into follow values ($1)").bind(n).execute(&mut *transaction).await.unwrap();
        emit(&mut transaction, &format!("'user.followed', 'user/{}', data => '{n}'", n % 2)).await.unwrap();
        match commits {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
    }
    let found: Vec<Bytes> = rig.log(2).await.into_iter().filter_map(|recorded| recorded.envelope.data).collect();
    assert_eq!(found, ["2", "4"]);
    let rows = query("select n from follow order by n").fetch_all(&rig.pool).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<i32, _>(0)).collect::<Vec<_>>(), [2, 4]);
    assert!(rig.store.stream(&Key::new("user/1").unwrap(), 0, 1).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moved_on_is_a_conflict() {
    let Some(rig) = rig().await else { return };
    let mut connection = rig.pool.acquire().await.unwrap();
    let expecting = |version: i64| format!("'user.followed', 'user/42', expected_version => {version}");
    emit(&mut connection, &expecting(0)).await.unwrap();
    let refused = emit(&mut connection, &expecting(0)).await.unwrap_err().into_database_error().unwrap();
    let refused = refused.downcast_ref::<sqlx::postgres::PgDatabaseError>();
    assert_eq!((refused.code(), refused.message()), ("TW001", "`user/42` is at version 1, expected 0"));
    assert!(refused.hint().is_some() && refused.detail().is_some());
    assert_eq!(emit(&mut connection, &expecting(1)).await.unwrap().1, 2);
    for version in [0, 1, 3, i64::MAX] {
        assert_eq!(rig.refusal(&expecting(version)).await.unwrap().0, "TW001");
    }
    let named = "'user.followed', 'user/7', id => 'mine', source => '/s'";
    emit(&mut connection, named).await.unwrap();
    assert_eq!(rig.refusal(named).await.unwrap().0, "TW002");
    assert_eq!(rig.refusal("'user.followed', 'user/8', id => 'mine', source => '/s'").await.unwrap().0, "TW002");
    assert_eq!(rig.refusal("'user.followed', 'user/7', id => 'mine', source => '/t'").await, None);
    rig.log(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_values_are_refused_by_name() {
    let Some(rig) = rig().await else { return };
    let named = |rest: &str| format!("type => 'user.followed', key => 'user/42', {rest}");
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let many = |n: usize| (0..n).map(|n| format!("\"e{n}\":1")).collect::<Vec<_>>().join(",");
    let attribute = |name: &str, arguments: String| (arguments, "TW101", name.to_owned());
    let mut cases = vec![
        attribute("type", "type => null, key => 'k'".into()),
        attribute("key", "type => 'a.b', key => null".into()),
        attribute("key", "type => 'a.b', key => ''".into()),
        attribute("key", format!("type => 'a.b', key => '{}'", "k".repeat(257))),
        attribute("key", "type => 'a.b', key => E'a\\r\\nNats-Rollup: all'".into()),
        attribute("key", "type => 'a.b', key => E'a\\u0085'".into()),
        attribute("version", named("version => 0")),
        attribute("version", named("version => 65536")),
        attribute("version", named("version => -1")),
        attribute("version", "type => 'user.followed.v2', key => 'k', version => 3".into()),
        attribute("id", named("id => ''")),
        attribute("id", named(&format!("id => '{}'", "x".repeat(257)))),
        attribute("id", named("id => E'a\\nb'")),
        attribute("source", named("source => ''")),
        attribute("source", named("source => 'a b'")),
        attribute("source", named("source => E'a\\u2003b'")),
        attribute("source", named(&format!("source => '{}'", "x".repeat(2_049)))),
        attribute("subject", named("subject => E'a\\r\\nNats-Rollup: all'")),
        attribute("subject", named("subject => ''")),
        attribute("subject", named("subject => E'\\uFDD0'")),
        attribute("dataref", named(&format!("dataref => '{}'", "ü".repeat(1_025)))),
        attribute("correlationid", named("correlationid => ''")),
        attribute("causationid", named("causationid => E'\\u0001'")),
        attribute("traceparent", named("traceparent => E'\\t'")),
        attribute("datacontenttype", named("datacontenttype => ''")),
        attribute("dataschema", named("dataschema => E'\\x7f'")),
        attribute("time", named("\"time\" => 'infinity'")),
        attribute("time", named("\"time\" => '-infinity'")),
        attribute("time", named("\"time\" => '10000-01-01Z'")),
        attribute("expirytime", named("expirytime => '0001-12-31Z BC'")),
        attribute("expected_version", named("expected_version => -1")),
        attribute("extensions", named("extensions => '[]'")),
        attribute("extensions", named("extensions => 'null'")),
        attribute("extensions", named(&format!("extensions => '{{{}}}'", many(33)))),
        attribute("n", named("extensions => '{\"n\":2147483648}'")),
        attribute("n", named("extensions => '{\"n\":1.5}'")),
        attribute("n", named("extensions => '{\"n\":1.0}'")),
        attribute("n", named("extensions => '{\"n\":1e400}'")),
        attribute("n", named("extensions => '{\"n\":null}'")),
        attribute("n", named("extensions => '{\"n\":{}}'")),
        attribute("n", named("extensions => '{\"n\":\"\\n\"}'")),
        attribute("n", named(&format!("extensions => '{{\"n\":\"{}\"}}'", "x".repeat(2_049)))),
    ];
    for name in ["data", "Data", "foo-bar", "", "ångström", "aaaaaaaaaaaaaaaaaaaaa", "time", "specversion", "a\\nb"] {
        cases.push(attribute("extensions", named(&format!("extensions => '{{\"{name}\":1}}'"))));
    }
    let long = format!("{}.v1", "a".repeat(126));
    for ty in [
        "",
        "User.followed",
        "user..followed",
        ".user",
        "user.>",
        "user.*",
        "user followed",
        "$JS.API",
        "1user",
        "user.followed ",
        "user.followed.v0",
        "user.followed.v01",
        "user.followed.v70000",
        "user.followed.v999999999999",
        "user.followed.v",
        ".v1",
        "é.b",
        "user.followed'\n",
        &long,
        &"a".repeat(129),
    ] {
        // `user.followed.v` is a name that ends in a letter: acceptable to Rust too, as `user.followed.v.v1`.
        if ty != "user.followed.v" {
            cases.push(attribute("type", format!("type => '{}', key => 'k'", ty.replace('\'', "''"))));
        }
    }
    let data = |column: &str, arguments: String| (arguments, "TW102", column.to_owned());
    cases.extend([
        data("data", named("data => '1', data_bytes => '1'")),
        data("data", named("data => '1', datacontenttype => 'text/plain'")),
        data("data", named(&format!("data => '{}'", deep(65)))),
        data("data", named(&format!("data_bytes => '{}'", deep(65)))),
        data("data_bytes", named(&format!("data_bytes => '{}'", deep(100_000)))),
        data("data_bytes", named("data_bytes => '{\"a\":'")),
        data("data_bytes", named("data_bytes => ''")),
        data("data_bytes", named("data_bytes => '\\x22ff22'")),
        data("data_bytes", named("data_bytes => '\\x220022'")),
        data("data_bytes", named("data_bytes => '{} {}'")),
        data("data_bytes", named("data_bytes => '01'")),
        data("data_bytes", named("data_bytes => 'NaN'")),
        (named("data => to_jsonb(repeat('x', 262144))"), "TW103", "data".into()),
        (named("data => to_jsonb(repeat('x', 262100))"), "TW103", "data".into()),
        (named("data_bytes => decode(repeat('00', 200000), 'hex'), datacontenttype => 'a/b'"), "TW103", "data".into()),
    ]);
    for (arguments, code, column) in &cases {
        let shown: String = arguments.chars().take(120).collect();
        assert_eq!(rig.refusal(arguments).await, Some(((*code).to_owned(), Some(column.clone()))), "{shown}");
    }
    // As close to the limits as one can get.
    for good in [
        named(&format!("data => '{}'", deep(64))),
        named(&format!("data_bytes => '{}'", deep(64))),
        named(&format!("data => '\"{}\"'", "[".repeat(5_000))),
        named("data => to_jsonb(repeat('x', 261000))"),
        named(&format!("extensions => '{{{}}}'", many(32))),
        named(&format!("id => '{}'", "ü".repeat(128))),
        named(&format!("dataref => '{}'", "x".repeat(2_048))),
        format!("type => '{}', key => '{}'", "a".repeat(125), "k".repeat(256)),
        "type => 'a1.b_c-d.v65535', key => E'ü \\uFFFE'".into(),
    ] {
        let shown: String = good.chars().take(120).collect();
        assert_eq!(rig.refusal(&good).await, None, "{shown}");
    }
    assert_eq!(rig.store.head().await.unwrap(), Position(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_the_same_characters_as_everybody_else() {
    let Some(rig) = rig().await else { return };
    let mut connection = rig.pool.acquire().await.unwrap();
    let refuses = "create function pg_temp.refuses(p_what text, p_text text) returns boolean language plpgsql as $$ \
                   begin \
                     if p_what = 'key' then perform tidewire.check_key(p_text); \
                     else perform tidewire.check_attribute('id', p_text); end if; \
                     return false; \
                   exception when sqlstate 'TW101' then return true; end $$";
    raw_sql(refuses).execute(&mut *connection).await.unwrap();
    let planes = (1..=16).flat_map(|plane| plane * 0x10000 - 2..plane * 0x10000 + 2).chain(0x10_FFF0..=0x10_FFFF);
    let points: Vec<u32> = (1..0x3100).chain(0xFDC0..0xFE10).chain(0xFFF0..0xFFFE).chain(planes).collect();
    let texts: Vec<String> = points.into_iter().filter_map(char::from_u32).map(|c| format!("a{c}")).collect();
    let text = "select t, pg_temp.refuses('key', t), pg_temp.refuses('id', t) from unnest($1::text[]) t";
    let rows = query(text).bind(&texts).fetch_all(&mut *connection).await.unwrap();
    assert_eq!(rows.len(), texts.len());
    for row in rows {
        let (text, key, id): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
        let found = (Key::new(text.as_str()).is_err(), event(&text, "k", None).check().is_err());
        assert_eq!((key, id), found, "{}", text.escape_unicode());
    }
}

/// `emit` takes what is usual without asking the functions that check it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_at_a_glance_is_what_everybody_takes() {
    let Some(rig) = rig().await else { return };
    let mut connection = rig.pool.acquire().await.unwrap();
    // What is acceptable comes as far as the version of its stream, which is another.
    let refuses = "create function pg_temp.refuses(p_key text, p_id text, p_source text) returns boolean \
                   language plpgsql as $$ \
                   begin \
                     perform tidewire.emit('a.b', p_key, id => p_id, source => p_source, expected_version => 7); \
                   exception when sqlstate 'TW101' then return true; when sqlstate 'TW001' then return false; end $$";
    raw_sql(refuses).execute(&mut *connection).await.unwrap();
    let planes = (1..=16).flat_map(|plane| plane * 0x10000 - 2..plane * 0x10000 + 2);
    let points = (1..0x180).chain(0x1678..0x1688).chain(0x1FF8..0x2068).chain([0x3000, 0xD7FF, 0xE000]);
    let points: Vec<u32> = points.chain(0xFDC0..0xFE00).chain(0xFFF0..0xFFFE).chain(planes).collect();
    let texts: Vec<String> = points.into_iter().filter_map(char::from_u32).map(|c| format!("a{c}")).collect();
    let text = "select t, pg_temp.refuses(t, 'i', '/s'), pg_temp.refuses('k', t, '/s'), pg_temp.refuses('k', 'i', t) \
                from unnest($1::text[]) t";
    let rows = query(text).bind(&texts).fetch_all(&mut *connection).await.unwrap();
    assert_eq!(rows.len(), texts.len());
    for row in rows {
        let text: String = row.get(0);
        let sourced = Envelope { source: text.clone(), ..event("i", "k", None) };
        let expected =
            [Key::new(text.as_str()).is_err(), event(&text, "k", None).check().is_err(), sourced.check().is_err()];
        let found: [bool; 3] = [row.get(1), row.get(2), row.get(3)];
        assert_eq!(found, expected, "{}", text.escape_unicode());
    }
}

/// Waits until `count` sessions of this database wait for a lock.
pub(in crate::postgres) async fn blocked(rig: &Rig, count: i64) {
    let deadline = Instant::now() + DEADLINE;
    let text = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while query(text).fetch_one(&rig.pool).await.unwrap().get::<i64, _>(0) < count {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waited_for_a_stream_comes_after_all_of_the_other() {
    let Some(rig) = rig().await else { return };
    for round in 0..3 {
        // The first round on a stream that nobody wrote before.
        let mut first = rig.pool.begin().await.unwrap();
        emit(&mut first, "'a.b', 'k'").await.unwrap();
        let second = {
            let pool = rig.pool.clone();
            tokio::spawn(async move {
                let mut second = pool.begin().await.unwrap();
                emit(&mut second, "'a.b', 'k'").await.unwrap();
                second.commit().await.unwrap();
            })
        };
        blocked(&rig, 1).await;
        // Had the second drawn its number before it got the stream, it would now come between these two.
        emit(&mut first, "'a.b', 'k'").await.unwrap();
        first.commit().await.unwrap();
        second.await.unwrap();
        let found = rig.log(3 * (round + 1)).await;
        assert!(found.is_sorted_by_key(|recorded| recorded.envelope.sequence), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_transactions_keep_the_order_of_every_stream() {
    const WRITERS: usize = 12;
    const EACH: usize = 12;
    let Some(rig) = rig().await else { return };
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (pool, store) = (rig.pool.clone(), rig.store.clone());
            tokio::spawn(async move {
                let mut written = 0;
                for n in 0..EACH {
                    let mut transaction = pool.begin().await.unwrap();
                    // In the order of the keys, or they would deadlock.
                    for key in [format!("own/{writer}"), format!("shared/{}", n % 2)] {
                        for _ in 0..2 {
                            emit(&mut transaction, &format!("'a.b', '{key}'")).await.unwrap();
                        }
                    }
                    // Something else, and every now and then a change of mind.
                    query("select count(*) from pg_class").execute(&mut *transaction).await.unwrap();
                    match (writer + n) % 5 {
                        0 => transaction.rollback().await.unwrap(),
                        _ => {
                            transaction.commit().await.unwrap();
                            written += 4;
                        }
                    }
                    let mut own = event(&format!("{writer}/{n}"), "shared/0", None);
                    own.source = "/rust".into();
                    let append = vec![Append { key: own.key.clone(), expect: Expect::Any, events: vec![own] }];
                    store.commit(Commit { append, ..Commit::default() }).await.unwrap();
                    written += 1;
                }
                written
            })
        })
        .collect();
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let mut versions: BTreeMap<Key, u64> = BTreeMap::new();
    for recorded in rig.log(written).await {
        let version = versions.entry(recorded.envelope.key.clone()).or_default();
        *version += 1;
        assert_eq!(recorded.envelope.sequence, Some(*version), "{} at {}", recorded.envelope.key, recorded.position);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_commits_get_late_positions_and_rolled_back_ones_none() {
    let Some(rig) = rig().await else { return };
    let mut open = Vec::new();
    for writer in 0..8 {
        let mut transaction = rig.pool.begin().await.unwrap();
        emit(&mut transaction, &format!("'a.b', 'k/{writer}'")).await.unwrap();
        open.push((writer, transaction));
    }
    let mut read = Vec::new();
    let mut expected = Vec::new();
    // The last to begin commits first; a reader goes forward all the while.
    while let Some((writer, transaction)) = open.pop() {
        if writer == 4 {
            transaction.rollback().await.unwrap();
            continue;
        }
        transaction.commit().await.unwrap();
        expected.push(format!("k/{writer}"));
        let found = rig.log(expected.len()).await;
        let after = Position(read.len() as u64);
        read.extend(found.into_iter().filter(|recorded| recorded.position > after));
    }
    let keys: Vec<&str> = read.iter().map(|recorded| recorded.envelope.key.as_str()).collect();
    assert_eq!(keys, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_left_open_keeps_only_its_own_key_waiting() {
    let Some(rig) = rig().await else { return };
    emit(&mut rig.pool.acquire().await.unwrap(), "'a.b', 'old'").await.unwrap();
    let mut open = rig.pool.begin().await.unwrap();
    // One that nobody wrote before, and one that is there.
    emit(&mut open, "'a.b', 'new'").await.unwrap();
    emit(&mut open, "'a.b', 'old'").await.unwrap();
    let mut session = rig.pool.acquire().await.unwrap();
    raw_sql("set lock_timeout = 1").execute(&mut *session).await.unwrap();
    let text = "select array_agg(locked_key order by locked_key) \
                from tidewire.lock_streams(array['new', 'old', 'other'], false)";
    let locked: Vec<String> = query(text).fetch_one(&mut *session).await.unwrap().get(0);
    assert_eq!(locked, ["other"]);
    // Through the store, in one group with those that have to wait.
    let commit = |key: &str, n: usize| {
        let event = event(&format!("{key} {n}"), key, None);
        let append = vec![Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] }];
        let store = rig.store.clone();
        tokio::spawn(async move { store.commit(Commit { append, ..Commit::default() }).await })
    };
    let waiting = [commit("new", 0), commit("old", 0)];
    for n in 0..20 {
        let done = tokio::time::timeout(Duration::from_secs(5), commit(&format!("other/{n}"), n)).await;
        assert!(matches!(done, Ok(Ok(Ok(Committed::Applied { .. })))), "{done:?}");
    }
    assert!(waiting.iter().all(|task| !task.is_finished()));
    open.commit().await.unwrap();
    for task in waiting {
        assert!(matches!(task.await.unwrap(), Ok(Committed::Applied { .. })));
    }
    rig.log(25).await;
}

/// `url` as somebody else.
fn url_as(url: &str, role: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let address = rest.rsplit_once('@').unwrap().1;
    format!("{scheme}://{role}:{password}@{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_emit_may_nothing_else() {
    let Some(rig) = rig().await else { return };
    let role = format!("service_{}", SystemClock.id().simple());
    let create =
        format!("create role {role} login password 'secret'; create table own (n integer); grant all on own to {role}");
    raw_sql(AssertSqlSafe(create)).execute(&rig.pool).await.unwrap();
    let mut service = PgConnection::connect(&url_as(&rig.url, &role, "secret")).await.unwrap();
    let code = |result: Result<(String, i64), sqlx::Error>| {
        result.err().and_then(|error| error.into_database_error()?.code().map(|code| code.into_owned()))
    };
    assert_eq!(code(emit(&mut service, "'a.b', 'k'").await).as_deref(), Some("42501"));
    query("select tidewire.allow_emit($1)").bind(&role).execute(&rig.pool).await.unwrap();
    raw_sql("begin; insert into own values (1)").execute(&mut service).await.unwrap();
    emit(&mut service, "'a.b', 'k'").await.unwrap();
    raw_sql("commit").execute(&mut service).await.unwrap();
    assert_eq!(rig.log(1).await[0].envelope.source, format!("/{role}"));
    for text in [
        "select * from tidewire.event",
        "select * from tidewire.stream",
        "insert into tidewire.batch (id, count) values (1, 1)",
        "update tidewire.head set last_position = 0",
        "select nextval('tidewire.batch_id')",
        "select * from tidewire.sequence(1)",
        "select * from tidewire.retire(1000, 1000)",
        "select tidewire.seal(1, 1)",
        "select tidewire.lock_stream('k')",
        "select tidewire.allow_emit(current_user)",
        "create table tidewire.mine (n integer)",
        "truncate tidewire.event",
    ] {
        let refused = raw_sql(text).execute(&mut service).await.unwrap_err().into_database_error().unwrap();
        assert_eq!(refused.code().as_deref(), Some("42501"), "{text}");
    }
    // Nor by putting something of its own in the way of what `emit` calls.
    raw_sql(
        "set search_path = pg_temp, public; \
         create function pg_temp.sha256(bytea) returns bytea language sql return '\\x00'::bytea; \
         create function pg_temp.session_user() returns text language sql return 'root'",
    )
    .execute(&mut service)
    .await
    .unwrap();
    emit(&mut service, "'a.b', 'k'").await.unwrap();
    assert_eq!(rig.log(2).await[1].envelope.source, format!("/{role}"));
    query("select tidewire.forbid_emit($1)").bind(&role).execute(&rig.pool).await.unwrap();
    assert_eq!(code(emit(&mut service, "'a.b', 'k'").await).as_deref(), Some("42501"));
    let open = "select string_agg(proname, ', ') from pg_proc where pronamespace = 'tidewire'::regnamespace \
                and has_function_privilege('public', oid, 'execute')";
    assert_eq!(query(open).fetch_one(&rig.pool).await.unwrap().get::<Option<String>, _>(0), None);
    service.close().await.unwrap();
    raw_sql(AssertSqlSafe(format!("drop owned by {role}; drop role {role}"))).execute(&rig.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_emits_the_types_it_may_as_the_source_it_is() {
    let Some(rig) = rig().await else { return };
    let (role, group) = (format!("s_{}", SystemClock.id().simple()), format!("g_{}", SystemClock.id().simple()));
    let text = format!("create role {group}; create role {role} login password 'secret' in role {group}");
    raw_sql(AssertSqlSafe(text)).execute(&rig.pool).await.unwrap();
    let mut service = PgConnection::connect(&url_as(&rig.url, &role, "secret")).await.unwrap();
    let allow = async |role: &str, arguments: &str| {
        let text = format!("select tidewire.allow_emit('{role}'{arguments})");
        raw_sql(AssertSqlSafe(text)).execute(&rig.pool).await.map(drop)
    };
    let mut said = async |arguments: &str| match emit(&mut service, arguments).await {
        Ok(_) => String::new(),
        Err(error) => {
            let error = error.into_database_error().unwrap().downcast::<sqlx::postgres::PgDatabaseError>();
            format!("{} {}", error.code(), error.column().unwrap_or_default())
        }
    };
    allow(&role, ", types => '{order.*, user.followed}', source => '/orders'").await.unwrap();
    for (arguments, expected) in [
        ("'order.placed', 'k', source => '/orders'", ""),
        ("'order.placed.v2', 'k', source => '/orders', check_schema => false", ""),
        ("'user.followed', 'k', source => '/orders', check_schema => false", ""),
        ("'order.placed', 'k'", "TW105 source"),
        ("'order.placed', 'k', source => '/shipping'", "TW105 source"),
        ("'ordering.begun', 'k', source => '/orders'", "TW105 type"),
        ("'order', 'k', source => '/orders'", "TW105 type"),
        ("'user.followed.up', 'k', source => '/orders'", "TW105 type"),
    ] {
        assert_eq!(said(arguments).await, expected, "{arguments}");
    }
    assert_eq!(rig.log(3).await.len(), 3, "what was refused is not there");
    // What is said anew replaces what was said; rights of a group are its members'.
    allow(&role, ", types => '{order.paid}'").await.unwrap();
    assert_eq!(said("'order.placed', 'k'").await, "TW105 type");
    assert_eq!(said("'order.paid', 'k', source => '/anybody'").await, "");
    allow(&group, "").await.unwrap();
    assert_eq!(said("'order.placed', 'k'").await, "");
    assert_eq!(said("'operator.acted', 'k', check_schema => false").await, "TW105 type", "only the house says that");
    for bad in ["{Order.*}", "{order*}", "{*.placed}", "{\"\"}"] {
        assert!(allow(&role, &format!(", types => '{bad}'")).await.is_err(), "{bad}");
    }
    query("select tidewire.forbid_emit($1)").bind(&group).execute(&rig.pool).await.unwrap();
    assert_eq!(said("'order.placed', 'k'").await, "TW105 type");
    service.close().await.unwrap();
    let other = format!("o_{}", SystemClock.id().simple());
    let text = format!(
        "drop owned by {role}, {group}; drop role {role}, {group}; create role {other} login password 'secret'"
    );
    raw_sql(AssertSqlSafe(text)).execute(&rig.pool).await.unwrap();
    // The rights of a role that is gone are nobody's, and in nobody's way.
    allow(&other, ", types => '{order.paid}'").await.unwrap();
    let mut service = PgConnection::connect(&url_as(&rig.url, &other, "secret")).await.unwrap();
    emit(&mut service, "'order.paid', 'k'").await.unwrap();
    service.close().await.unwrap();
    raw_sql(AssertSqlSafe(format!("drop owned by {other}; drop role {other}"))).execute(&rig.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_without_privileges_can_run_all_of_it() {
    let Some(rig) = rig().await else { return };
    let (owner, service) = (format!("owner_{}", SystemClock.id().simple()), format!("s_{}", SystemClock.id().simple()));
    let database = format!("db_{}", SystemClock.id().simple());
    for text in [
        format!("create role {owner} login password 'secret'"),
        format!("create role {service} login password 'secret'"),
        format!("create database {database} owner {owner}"),
    ] {
        raw_sql(AssertSqlSafe(text)).execute(&rig.pool).await.unwrap();
    }
    let at = |role: &str| format!("{}/{database}", url_as(&rig.url, role, "secret").rsplit_once('/').unwrap().0);
    let store = PostgresStore::open(PostgresOptions::new(at(&owner)), Arc::new(SystemClock)).await.unwrap();
    let mut connection = PgConnection::connect(&at(&owner)).await.unwrap();
    query("select tidewire.allow_emit($1)").bind(&service).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut connection = PgConnection::connect(&at(&service)).await.unwrap();
    emit(&mut connection, "'a.b', 'k'").await.unwrap();
    connection.close().await.unwrap();
    tokio::time::timeout(DEADLINE, store.wait(Position(0), DEADLINE)).await.unwrap();
    assert_eq!(store.read(&Selection { limit: 10, ..Selection::default() }).await.unwrap().len(), 1);
    store.close().await;
    for text in
        [format!("drop database {database} with (force)"), format!("drop role {owner}"), format!("drop role {service}")]
    {
        raw_sql(AssertSqlSafe(text)).execute(&rig.pool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_works_in_psql() {
    let Some(rig) = rig().await else { return };
    let server = servers::postgres().await.unwrap();
    let text = "select tidewire.emit(type => 'user.followed', key => 'user/42', \
                data => '{\"follower_id\":\"7\",\"followed_id\":\"42\"}'::jsonb);";
    let url = rig.url.clone();
    let psql = server.programs().join("psql");
    let run = move || {
        let mut command = std::process::Command::new(psql);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", text]).output()
    };
    let ran = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let printed = String::from_utf8(ran.stdout).unwrap();
    let found = rig.log(1).await.remove(0).envelope;
    assert_eq!(printed.trim(), format!("({},1)", found.id));
    assert_eq!(found.key.as_str(), "user/42");
    let data: serde_json::Value = serde_json::from_slice(&found.data.unwrap()).unwrap();
    assert_eq!(data, serde_json::json!({"follower_id": "7", "followed_id": "42"}));
}
