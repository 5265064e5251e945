//! Users, follows and tracked activity, through the HTTP surface.

use std::sync::Arc;

use axum::http::Method;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::progress::Progress;
use super::request::Requests;
use crate::client::{path, with_query};
use crate::failure::Failure;

/// Requests in flight: enough to let commits share disk flushes.
const IN_FLIGHT: usize = 32;
/// Each user follows so many others.
const FOLLOWS_EACH: usize = 4;
/// Activities per request, and requests.
const TRACKED_AT_ONCE: usize = 20;
const TRACK_REQUESTS: usize = 50;
/// The largest page the API gives.
const PAGE: &str = "500";

const NAMES: [&str; 50] = [
    "ada", "alan", "ana", "barbara", "ben", "chandra", "chidi", "clara", "dana", "diego", "edsger", "elena", "emil",
    "fatima", "farid", "grace", "hana", "hugo", "ines", "ivan", "jana", "joao", "kai", "kenji", "lea", "leslie",
    "lina", "margaret", "mei", "milan", "nadia", "niklaus", "noor", "olga", "omar", "paulo", "petra", "quinn", "radia",
    "ravi", "rosa", "sami", "sofia", "tamar", "tony", "uma", "vera", "wei", "yara", "zoe",
];
const ACTIONS: [&str; 5] = ["viewed", "searched", "shared", "downloaded", "commented"];

/// How many follows and activities there will be.
pub const THINGS_TO_DO: u64 = (NAMES.len() * FOLLOWS_EACH + TRACKED_AT_ONCE * TRACK_REQUESTS) as u64;

/// What was done, counted where it can be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Follows the surface confirmed.
    pub follows: u64,
    /// Notifications that those who are followed can read.
    pub notifications: u64,
    /// Activities that can be read back.
    pub activities: u64,
}

/// The people of one demo.
pub struct People {
    ids: Vec<String>,
    requests: Arc<Requests>,
    progress: Arc<Progress>,
}

impl People {
    /// Their ids end with `tag`, so that a second demo on the same data meets nobody.
    pub fn new(tag: Option<&str>, requests: Arc<Requests>, progress: Arc<Progress>) -> Self {
        let id = |name: &&str| tag.map_or_else(|| (*name).to_owned(), |tag| format!("{name}-{tag}"));
        Self { ids: NAMES.iter().map(id).collect(), requests, progress }
    }

    /// One of them, for examples.
    pub fn example(&self) -> &str {
        &self.ids[0]
    }

    /// Registers them, and lets them follow each other and do things. Answers how many follows were confirmed.
    pub async fn act(&self) -> Result<u64, Failure> {
        self.each(self.ids.iter().cloned().enumerate(), |(index, id)| async move {
            let name = NAMES[index];
            let body = json!({"id": id, "name": format!("{}{}", name[..1].to_uppercase(), &name[1..])});
            self.requests.send(Method::POST, &path(&["v1", "users"]), Some(&body)).await.map(drop)
        })
        .await?;
        tokio::try_join!(self.follow(), self.track()).map(|(follows, ())| follows)
    }

    async fn follow(&self) -> Result<u64, Failure> {
        let count = self.ids.len();
        let pairs =
            (0..count).flat_map(move |from| (1..=FOLLOWS_EACH).map(move |step| (from, (from + step * step) % count)));
        let total = count * FOLLOWS_EACH;
        self.each(pairs, |(from, to)| async move {
            let target = path(&["v1", "users", &self.ids[from], "following", &self.ids[to]]);
            self.requests.send(Method::PUT, &target, None).await?;
            self.progress.followed(1);
            Ok(())
        })
        .await?;
        Ok(total as u64)
    }

    async fn track(&self) -> Result<(), Failure> {
        self.each(0..TRACK_REQUESTS, |request| async move {
            let activity = |n: usize| {
                let number = request * TRACKED_AT_ONCE + n;
                json!({
                    "user": self.ids[number % self.ids.len()],
                    "action": ACTIONS[number % ACTIONS.len()],
                    "object": format!("page/{}", number % 40),
                })
            };
            let batch: Vec<Value> = (0..TRACKED_AT_ONCE).map(activity).collect();
            self.requests.send(Method::POST, &path(&["v1", "track"]), Some(&Value::from(batch))).await?;
            self.progress.tracked(TRACKED_AT_ONCE as u64);
            Ok(())
        })
        .await
    }

    /// What the read side has of it, once everything has settled.
    pub async fn count(&self, follows: u64) -> Result<Counted, Failure> {
        let notified = |item: &Value| item.get("kind").and_then(Value::as_str) == Some("user.followed");
        let notifications = self.readable("notifications", notified).await?;
        let activities = self.readable("activity", |_| true).await?;
        Ok(Counted { follows, notifications, activities })
    }

    async fn readable(&self, what: &str, counts: impl Fn(&Value) -> bool) -> Result<u64, Failure> {
        let mut found = 0;
        for id in &self.ids {
            let mut cursor: Option<String> = None;
            loop {
                let target = path(&["v1", "users", id, what]);
                let target = with_query(&target, &[("limit", Some(PAGE)), ("cursor", cursor.as_deref())]);
                let page = self.requests.send(Method::GET, &target, None).await?;
                let items = page.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                found += items.iter().filter(|item| counts(item)).count() as u64;
                cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn each<T, R>(&self, items: impl IntoIterator<Item = T>, work: impl Fn(T) -> R) -> Result<(), Failure>
    where
        R: Future<Output = Result<(), Failure>>,
    {
        stream::iter(items).map(work).buffer_unordered(IN_FLIGHT).try_collect().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn two_hundred_different_follows_and_nobody_follows_himself() {
        let count = NAMES.len();
        assert_eq!(BTreeSet::from(NAMES).len(), count);
        let pairs: BTreeSet<(usize, usize)> = (0..count)
            .flat_map(|from| (1..=FOLLOWS_EACH).map(move |step| (from, (from + step * step) % count)))
            .collect();
        assert_eq!(pairs.len(), 200);
        assert!(pairs.iter().all(|(from, to)| from != to));
        assert_eq!(THINGS_TO_DO, 1_200);
    }
}
