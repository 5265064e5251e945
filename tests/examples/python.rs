//! `examples/python-django-style`.

use reqwest::Method;
use serde_json::{Value, json};
use servers::{Python, free_port};
use tempfile::TempDir;
use tokio::process::Command;

use super::service::{Service, ask, example, run, schemas};
use super::{beside, events};
use crate::support::eventually;
use crate::support::process::Instance;

/// The example's own role, which may do what its README gives it the right to.
const ROLE: &str = "
import psycopg, sys
with psycopg.connect(sys.argv[1]) as connection:
    connection.execute(\"create role shop login password 'shop'\")
    connection.execute('grant create on schema public to shop')
    connection.execute(\"select tidewire.allow_emit('shop', types => '{order.*}', source => '/shop')\")
";

/// The service's commands.
struct Shop {
    python: Python,
    env: Vec<(&'static str, String)>,
}

impl Shop {
    fn manage(&self, what: &str) -> Command {
        let mut command = Command::from(self.python.command());
        command.arg(example("python-django-style").join("manage.py")).arg(what);
        command.envs(self.env.iter().cloned()).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

fn left_out() -> bool {
    let found = ["python", "postgres"].into_iter().find(|name| servers::left_out(name));
    if let Some(name) = found {
        println!("left out: {name}");
    }
    found.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_service_emits_consumes_and_takes_a_step_of_a_saga() {
    if left_out() {
        return;
    }
    let requirements =
        std::fs::read_to_string(example("python-django-style").join("requirements.txt")).expect("a file");
    let made = tokio::task::spawn_blocking(move || Python::with("example-python", &requirements)).await;
    let python = made.expect("no panic").unwrap_or_else(|missing| panic!("{missing}"));
    // A server of its own: the role belongs to a whole server.
    let server = servers::Postgres::start(Default::default()).await.unwrap_or_else(|missing| panic!("{missing}"));
    let database = server.database().await;
    let dir = TempDir::new().expect("a folder");
    schemas(&dir.path().join("schemas"), &["python-django-style"]);
    let mut env = beside(&dir.path().join("schemas"));
    env.push(("TIDEWIRE_STORE_URL".into(), database.clone()));
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let started = Instance::up_with(&["--without", "enrichment"], &dir.path().join("data"), &env).await;
    let instance = started.unwrap_or_else(|log| panic!("it does not start: {log}"));

    let mut role = Command::from(python.command());
    role.args(["-c", ROLE, &database]);
    run(role).await;
    let shop = Shop {
        python,
        env: vec![
            ("DATABASE_URL", as_role(&database, "shop")),
            ("TIDEWIRE_URL", instance.url.clone()),
            ("PORT", free_port().to_string()),
            ("SECRET_FILE", dir.path().join("secret").display().to_string()),
        ],
    };
    run(shop.manage("migrate")).await;
    let service = Service::start(shop.manage("runserver")).await;
    run(shop.manage("subscribe")).await;

    it_emits_in_its_own_transaction(&service, &instance).await;
    it_consumes(&service, &instance).await;
    it_enriches_documents(&instance).await;
    assert_eq!(instance.get("/v1/parked").await["items"], json!([]));
    assert_eq!(service.ask(Method::POST, "/events", Some(&json!({}))).await.0, 401, "nobody else can call it");
}

async fn it_emits_in_its_own_transaction(service: &Service, instance: &Instance) {
    let order = |total: i64| json!({ "customer": "ada", "total_cents": total });
    let (status, said) = service.ask(Method::POST, "/orders", Some(&order(1250))).await;
    assert_eq!((status, said.as_str()), (201, r#"{"order": 1}"#));
    let (status, said) = service.ask(Method::POST, "/orders", Some(&order(-1))).await;
    assert!(status == 422 && said.contains("order.placed.v1"), "{status}: {said}");
    let (_, said) = service.ask(Method::POST, "/orders", Some(&order(10))).await;
    assert_eq!(said, r#"{"order": 3}"#, "the second one was never placed");
    let placed = eventually("both orders are in the log", || async {
        let found = events(instance, "order.placed").await;
        (found.len() == 2).then_some(found)
    })
    .await;
    assert_eq!(placed[0]["source"], "/shop");
    assert_eq!(placed[0]["data"], json!({ "order_id": 1, "customer": "ada", "total_cents": 1250 }));
    assert_eq!(placed[1]["partitionkey"], "order/3");
}

async fn it_consumes(service: &Service, instance: &Instance) {
    for name in ["ada", "alan"] {
        let (status, said) =
            ask(Method::POST, &format!("{}/v1/users", instance.url), Some(&json!({ "id": name, "name": name }))).await;
        assert_eq!(status, 201, "{said}");
    }
    let (status, _) = ask(Method::PUT, &format!("{}/v1/users/alan/following/ada", instance.url), None).await;
    assert_eq!(status, 201);
    eventually("the follower is counted", || async {
        let (_, count) = service.ask(Method::GET, "/followers/ada", None).await;
        (count == "1").then_some(())
    })
    .await;
}

async fn it_enriches_documents(instance: &Instance) {
    let url = format!("{}/v1/documents?workspace=harbour", instance.url);
    let text = "# Pilots\n\nPilots bring vessels through the narrows. Every vessel takes pilots aboard.\n";
    let sent = reqwest::Client::new().post(url).header("content-type", "text/markdown").body(text).send().await;
    let answer: Value = sent.expect("an answer").json().await.expect("JSON");
    let saga = answer["saga"].as_str().expect("a saga").to_owned();
    let saga = eventually("the saga has ended", || async {
        // It begins a moment after the document was taken; until then there is none.
        let (status, text) = ask(Method::GET, &format!("{}/v1/sagas/{saga}", instance.url), None).await;
        let saga: Value = (status == 200).then(|| serde_json::from_str(&text).expect("JSON"))?;
        (saga["status"] == "completed").then_some(saga)
    })
    .await;
    let enriched = events(instance, "document.enriched").await;
    assert_eq!(enriched.len(), 1);
    assert_eq!(enriched[0]["source"], "/shop", "by the Python service, and by nobody else");
    assert_eq!(enriched[0]["data"]["keywords"][0], "pilots");
    assert_eq!(saga["state"]["keywords"][0], "pilots", "the saga went on with its answer");
}

fn as_role(url: &str, role: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let place = rest.split_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{role}:{role}@{place}")
}
