//! Out of a monolith: rows of an old system imported, compared, and imported again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Finished, Instance, command, run_in};

const USERS: usize = 1_200;
/// How long a projection may take to catch up.
const SETTLED: Duration = Duration::from_secs(60);

const MAPPING: &str = r#"
query = "select id, name, email, created_at from users"
order = "id"
source = "/legacy"

[[event]]
type = "user.registered.v1"
id = "users/{id}"
time = "{created_at}"
data = { user_id = "{id:text}", name = "{name}", email = "{email}" }

[verify]
collection = "user"
id = "{id:text}"
row = { name = "{name}" }
"#;

async fn ask(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Finished {
    let data = dir.join("data");
    let args = [args, &["--data-dir", data.to_str().expect("UTF-8"), "-o", "json"]].concat();
    run_in(dir, &args, env).await
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

/// Asks until both sides are equal; what is on its way differs.
async fn verified(dir: &Path, mapping: &str, env: &[(&str, &str)]) -> Value {
    let equal = async {
        loop {
            let finished = ask(dir, &["verify", mapping], env).await;
            if finished.code == Some(0) {
                return finished.json();
            }
            assert_eq!(finished.code, Some(6), "{}", finished.stderr);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SETTLED, equal).await.expect("the projection catches up")
}

/// Registered users in the log.
async fn registered(instance: &Instance) -> usize {
    let (mut found, mut cursor) = (0, String::new());
    loop {
        let page = instance.get(&format!("/v1/events?type=user.registered&limit=500{cursor}")).await;
        found += page["items"].as_array().expect("a list").len();
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_imported_once_however_often_it_is_cut_short() {
    if servers::left_out("postgres") {
        println!("left out: postgres");
        return;
    }
    let postgres = servers::postgres().await.unwrap_or_else(|missing| panic!("{missing}"));
    let url = postgres.database().await;
    let table = format!(
        "create table users (id bigint primary key, name text not null, email text, created_at timestamptz not null default now()); \
         insert into users select n, 'User ' || n, case when n % 3 = 0 then null else n || '@example.org' end from generate_series(1, {USERS}) n"
    );
    postgres.script(&url, &table).await.expect("a table");
    let dir = TempDir::new().expect("a folder");
    let dir = dir.path();
    write(dir, "users.toml", MAPPING);
    let env = [("TIDEWIRE_LEGACY_URL", url.as_str())];
    let instance = Instance::up(&dir.join("data"), &[]).await.expect("it starts");

    let dry = ask(dir, &["import", "users.toml", "--dry-run"], &env).await;
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert_eq!((&dry.json()["rows"], &dry.json()["types"]["user.registered.v1"]), (&USERS.into(), &USERS.into()));
    assert_eq!(registered(&instance).await, 0, "a dry run sends nothing");
    let unasked = ask(dir, &["import", "users.toml"], &env).await;
    assert_eq!(unasked.code, Some(2), "without a terminal and without --yes: {}", unasked.stderr);

    // Slow enough to be killed half-way.
    let data = dir.join("data");
    let args = ["import", "users.toml", "--yes", "--rate", "500", "--data-dir", data.to_str().expect("UTF-8")];
    let mut child = command(&args).current_dir(dir).envs(env).spawn().expect("it runs");
    let begun = async {
        while registered(&instance).await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SETTLED, begun).await.expect("the import begins");
    child.kill().await.expect("killed");
    let half = registered(&instance).await;
    assert!(half < USERS, "it was killed too late: {half}");

    let rest = ask(dir, &["import", "users.toml", "--yes"], &env).await;
    assert_eq!(rest.code, Some(0), "{}", rest.stderr);
    assert_eq!(registered(&instance).await, USERS);
    let report = verified(dir, "users.toml", &env).await;
    assert_eq!((&report["percent"], &report["equal"]), (&100.0.into(), &USERS.into()), "{report}");
    assert_eq!(report["legacy"]["hash"], report["projection"]["hash"]);

    let restarted = ask(dir, &["import", "users.toml", "--yes", "--restart"], &env).await.json();
    assert_eq!((&restarted["events"], &restarted["duplicates"]), (&0.into(), &USERS.into()), "every row is recognised");

    postgres
        .script(&url, "insert into users values (99991, 'Late', null); update users set name = 'Else' where id = 7")
        .await
        .expect("changed");
    let differs = ask(dir, &["verify", "users.toml"], &env).await;
    assert_eq!(differs.code, Some(6));
    let found = differs.json();
    assert_eq!((&found["different"][0]["id"], &found["only_legacy"][0]), (&"7".into(), &"99991".into()), "{found}");
    let late = ask(dir, &["import", "users.toml", "--yes"], &env).await.json();
    assert_eq!((&late["rows"], &late["events"]), (&1.into(), &1.into()), "only what is new: {late}");
    for text in [&differs.stdout, &differs.stderr, &rest.stdout, &rest.stderr] {
        assert!(!text.contains("password"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_are_named_and_the_others_go_on() {
    let dir = TempDir::new().expect("a folder");
    let dir = dir.path();
    let long = "x".repeat(5_000);
    write(
        dir,
        "users.csv",
        &format!(
            "id,name,email,created_at\n1,Ana,,2026-01-01\n2,{long},,2026-01-01\n,Nobody,,2026-01-01\n4,Bo,bo@example.org,2026-01-01\n"
        ),
    );
    let mapping = MAPPING.replace(
        "query = \"select id, name, email, created_at from users\"\norder = \"id\"",
        "from = \"csv:users.csv\"",
    );
    write(dir, "users.toml", &mapping);
    let instance = Instance::up(&dir.join("data"), &[]).await.expect("it starts");

    let stopped = ask(dir, &["import", "users.toml", "--yes"], &[]).await;
    assert_eq!(stopped.code, Some(5), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("import.refused") && stopped.stderr.contains("--refused"), "{}", stopped.stderr);

    let on = ask(dir, &["import", "users.toml", "--yes", "--refused", "refused.jsonl"], &[]).await;
    assert_eq!(on.code, Some(6), "{}", on.stderr);
    assert_eq!((&on.json()["events"], &on.json()["refused"]), (&2.into(), &2.into()), "{}", on.stdout);
    let refused = std::fs::read_to_string(dir.join("refused.jsonl")).expect("a file");
    let codes: Vec<String> =
        refused.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["code"].to_string()).collect();
    assert_eq!(codes.len(), 2, "{refused}");
    assert!(
        codes.iter().any(|code| code.contains("schema")) && codes.iter().any(|code| code.contains("import.mapping")),
        "{refused}"
    );
    assert_eq!(registered(&instance).await, 2);
    let differs = ask(dir, &["verify", "users.toml"], &[]).await;
    assert_eq!(differs.code, Some(6), "{}", differs.stderr);
    let found = differs.json();
    assert_eq!((&found["only_legacy"][0], &found["unmapped"][0]["row"]), (&"2".into(), &3.into()), "{found}");
}
