//! Every statement goes by an index, whatever the planner knows of the tables.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_forward_walks_the_positions() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let store = open(&url).await;
    let mut connection = connect(&url).await;
    execute(
        &mut connection,
        "insert into tidewire.event (batch, index, recorded, key, version, bucket, id, source, name, type_version, time) \
         select n, i, now(), 'k/' || n, i + 1, 0, n || '-' || i, '/s', 'thing.happened', 1, now() \
         from generate_series(1, 5000) n, generate_series(0, 3) i; \
         insert into tidewire.batch (id, first_position, count) select n, (n - 1) * 4 + 1, 4 from generate_series(1, 5000) n; \
         update tidewire.head set last_position = 20000",
    )
    .await;
    for analysed in [false, true] {
        if analysed {
            execute(&mut connection, "analyze").await;
        }
        let begun = std::time::Instant::now();
        for after in [0, 1, 2, 3, 4, 5, 9_998, 19_990] {
            let selection = Selection { after: Position(after), limit: 10, ..Default::default() };
            let found = store.read(&selection).await.unwrap();
            assert_eq!(found.len() as u64, 10.min(20_000 - after));
            assert_eq!(found[0].position, Position(after + 1));
        }
        let mut reader = store.readers.acquire().await.unwrap();
        let text = "explain (analyze, buffers, format text) select b.first_position + e.index, e.data \
                    from tidewire.event e join tidewire.batch b on b.id = e.batch where b.first_position >= coalesce( \
                    (select f.first_position from tidewire.batch f where f.first_position <= 10000 \
                    order by f.first_position desc limit 1), 0) and b.first_position + e.index > 9999 \
                    order by b.first_position asc, e.index asc limit 100";
        let plan: Vec<String> =
            sqlx::query(text).fetch_all(&mut *reader).await.unwrap().iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(!plan.contains("Seq Scan"), "{plan}");
        assert!(plan.contains("batch_position") && plan.contains("event_pkey"), "{plan}");
        assert!(begun.elapsed() < Duration::from_secs(5));
        let read: usize = plan.matches("rows=20000").count() + plan.matches("rows=10000 ").count();
        assert_eq!(read, 0, "the whole log was read: {plan}");
    }
}
