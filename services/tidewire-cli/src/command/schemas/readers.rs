//! Who reads what, and whom a break hits.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidewire::config::Config;
use tidewire::contract::Finding;
use tidewire::{EventType, SystemClock};

use crate::client::{Client, path};
use crate::failure::Failure;
use crate::services::Services;
use crate::session::Session;
use crate::wire;

/// A consumer, as it declares what it reads.
#[derive(Clone, Debug, Deserialize)]
pub struct Reader {
    name: String,
    /// With the newest version it knows; without one it takes any.
    types: Vec<String>,
    /// Where it looks, by the name of a type; everywhere in those that are not here.
    #[serde(default)]
    places: BTreeMap<String, Vec<String>>,
}

impl Reader {
    /// One that reads these types.
    #[cfg(test)]
    pub fn new(name: &str, types: &[&str]) -> Self {
        let types = types.iter().map(|ty| (*ty).to_owned()).collect();
        Self { name: name.into(), types, places: BTreeMap::new() }
    }

    /// Whether a break concerns it. It reads events up to the version it knows, older ones through upcasts; newer ones
    /// are parked, and concern the build that will know them.
    fn is_hit_by(&self, finding: &Finding) -> bool {
        let Some(known) = self.known(&finding.name) else { return false };
        let is_read = match finding.rule {
            "backward" => known >= finding.to.unwrap_or(finding.from),
            "forward" => (finding.from..finding.to.unwrap_or(u16::MAX)).contains(&known) || known == u16::MAX,
            _ => known >= finding.from,
        };
        is_read && (finding.to.is_none() || self.looks_at(&finding.name, &finding.broken.path))
    }

    /// The newest version of a name that it reads, the greatest there is where it takes any.
    fn known(&self, name: &str) -> Option<u16> {
        let known = |ty: &String| match ty.parse::<EventType>() {
            Ok(ty) => (ty.name() == name).then(|| ty.version()),
            Err(_) => (ty == name).then_some(u16::MAX),
        };
        self.types.iter().filter_map(known).max()
    }

    /// Whether it looks at a place, at what holds it, or at something inside.
    fn looks_at(&self, name: &str, path: &str) -> bool {
        let holds = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let Some(places) = self.places.get(name) else { return true };
        places.iter().any(|place| holds(place, path) || holds(path, place))
    }
}

/// The names of those that a break concerns.
pub fn hit(readers: &[Reader], finding: &Finding) -> Vec<String> {
    readers.iter().filter(|reader| reader.is_hit_by(finding)).map(|reader| reader.name.clone()).collect()
}

/// Every consumer of the instance or the data directory, push subscriptions among them; where there is neither, those of
/// this build.
pub async fn find(session: &Session) -> Result<Vec<Reader>, Failure> {
    if let Ok(client) = Client::connect(session).await {
        let found = client.get(&path(&["v1", "consumers"])).await;
        client.close().await;
        let mut found = found?;
        let items = found.get_mut("items").map(serde_json::Value::take).unwrap_or_default();
        return serde_json::from_value(items).map_err(|error| unreadable(&error));
    }
    compiled().await
}

/// The consumers of this build, as they would be on an empty log.
pub async fn compiled() -> Result<Vec<Reader>, Failure> {
    let folder = tempfile::tempdir().map_err(|error| unreadable(&error))?;
    let dir = folder.path().to_string_lossy();
    let config = Config::with([("data_dir", dir.as_ref()), ("schemas.dir", "")])?;
    let ports = wire::open(&config, std::sync::Arc::new(SystemClock)).await?;
    let rows = match Services::build(&ports, &config, &[]).await {
        Ok(services) => services.operator.consumers().await.map_err(|error| unreadable(&error)),
        Err(failure) => Err(failure),
    };
    ports.broker.close().await;
    ports.store.close().await;
    let reader = |row: tidewire::operate::ConsumerRow| Reader { name: row.name, types: row.types, places: row.places };
    Ok(rows?.into_iter().map(reader).collect())
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(crate::exit::Exit::Error, "command.failed", format!("who reads what cannot be found out: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidewire::contract::{Break, Catalogue, Mode, compare};

    fn finding(rule: &'static str, from: u16, to: Option<u16>, path: &str) -> Finding {
        let broken = Break { path: path.into(), rule: "type", what: String::new() };
        Finding { name: "order.placed".into(), from, to, rule, broken }
    }

    #[test]
    fn a_break_hits_those_who_read_that_version_and_that_place() {
        let mut readers = ["v1", "v2", "v3"].map(|v| Reader::new(v, &[&format!("order.placed.{v}")])).to_vec();
        readers.push(Reader::new("any", &["order.placed"]));
        readers.push(Reader::new("other", &["order.paid.v3"]));
        let mut picky = Reader::new("picky", &["order.placed.v3"]);
        picky.places.insert("order.placed".into(), vec!["/lines".into()]);
        readers.push(picky);
        let mut counting = Reader::new("counting", &["order.placed.v3"]);
        counting.places.insert("order.placed".into(), Vec::new());
        readers.push(counting);
        for (finding, expected) in [
            (finding("changed", 1, Some(1), "/total"), vec!["v1", "v2", "v3", "any"]),
            (finding("changed", 2, Some(2), "/total"), vec!["v2", "v3", "any"]),
            (finding("changed", 3, Some(3), "/lines/*/price"), vec!["v3", "any", "picky"]),
            (finding("changed", 3, Some(3), ""), vec!["v3", "any", "picky"]),
            (finding("backward", 1, Some(2), "/lines2"), vec!["v2", "v3", "any"]),
            (finding("forward", 1, Some(2), "/total"), vec!["v1", "any"]),
            (finding("removed", 3, None, ""), vec!["v3", "any", "picky", "counting"]),
        ] {
            assert_eq!(hit(&readers, &finding), expected, "{finding:?}");
        }
    }

    #[tokio::test]
    async fn without_an_instance_the_consumers_of_this_build_are_known() {
        let readers = compiled().await.unwrap();
        let mut published = Catalogue::default();
        let schema = ::events::schema(&"user.followed.v1".parse().unwrap()).unwrap();
        let mut stricter = schema.clone();
        stricter["required"] = json!(["follower_id"]);
        published.insert("user.followed", 1, stricter);
        let mut new = Catalogue::default();
        new.insert("user.followed", 1, schema);
        let findings = compare(&published, &new, Mode::Backward, |_, _| false);
        let names = hit(&readers, &findings[0]);
        assert!(names.iter().any(|name| name.starts_with("social.")), "{names:?}");
        assert!(!names.iter().any(|name| name == "analytics.hourly"), "it counts, whatever the data says: {names:?}");
    }
}
