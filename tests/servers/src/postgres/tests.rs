use super::*;

#[tokio::test]
async fn a_cluster_recovers_from_every_end() {
    let server = Postgres::start(PostgresOptions::default()).await.unwrap_or_else(|missing| panic!("{missing}"));
    assert_eq!(server.execute("show fsync").await.trim(), "on");
    assert_eq!(server.execute("show max_connections").await.trim(), "200");
    server.execute("create table kept (n int); insert into kept values (1)").await;
    server.stop_immediate().await;
    assert!(server.own().daemon.has_ended());
    server.start_again().await;
    server.execute("insert into kept values (2)").await;
    server.kill().await;
    server.start_again().await;
    server.restart().await;
    assert_eq!(server.execute("select count(*) from kept").await.trim(), "2");
    assert!(server.log().contains("redo"), "it recovered: {}", server.log());
}

#[tokio::test]
async fn a_paused_cluster_answers_nothing_until_it_is_resumed() {
    let server = Postgres::start(PostgresOptions { durable: false, ..PostgresOptions::default() }).await;
    let server = server.unwrap_or_else(|missing| panic!("{missing}"));
    server.pause();
    let asked = tokio::time::timeout(Duration::from_millis(300), server.try_execute("select 1")).await;
    assert!(asked.is_err(), "{asked:?}");
    server.resume();
    server.execute("select 1").await;
    server.pause();
    let paused = children(server.own().daemon.pid().expect("it runs"));
    drop(server);
    let deadline = Instant::now() + END;
    while paused.iter().any(|pid| is_left(*pid)) {
        assert!(Instant::now() < deadline, "a paused one ends as well");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_shared_one_gives_fresh_databases() {
    let server = postgres().await.unwrap_or_else(|missing| panic!("{missing}"));
    let (a, b) = tokio::join!(server.database(), server.database());
    assert_ne!(a, b);
    let names = server.execute("select datname from pg_database").await;
    for url in [a, b] {
        let name = url.rsplit_once('/').expect("a name").1;
        assert!(names.lines().any(|line| line == name), "{name} is not in {names}");
        let answer = server.script(&url, "select current_database();\nselect 1").await.expect("rows");
        assert_eq!(answer.lines().collect::<Vec<_>>(), [name, "1"]);
        assert!(server.script(&url, "select 1; select nothing;").await.expect_err("an error").contains("nothing"));
    }
}

#[tokio::test]
async fn one_that_cannot_be_had_is_one_line() {
    let kept = tempfile::tempdir().expect("a folder");
    let toolbox = Toolbox { path: "/nowhere".into(), kept: kept.path().to_owned(), may_install: false };
    let why = Postgres::start_with(toolbox, PostgresOptions::default()).await.err().expect("nothing to start");
    let line = missing(why).to_string();
    assert_eq!(line.lines().count(), 1);
    assert!(line.contains("apt-get install postgresql"), "{line}");
}
