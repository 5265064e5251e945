//! Creating, changing and removing groups.

use std::sync::Arc;

use sqlx::Row;
use tidewire_core::broker::Subscribe;
use tidewire_core::{BrokerError, EventType};
use tokio::time::Instant;

use super::error::from_sqlx;
use super::group::Group;
use super::open::filter;
use super::place::Place;
use super::reader;
use super::scheduler::{Filter, Scheduler};
use super::shared::unpoisoned;
use super::writer::Writer;

/// The longest name of a group, in bytes.
const MAX_GROUP_BYTES: usize = 256;
/// The most names a group may ask for.
const MAX_NAMES: usize = 1_024;
/// The most deliveries a group may have unacknowledged: all of them are in doubt after a crash, and in memory before.
const MAX_WINDOW: usize = 65_536;
/// The most groups.
const MAX_GROUPS: usize = 1_024;
/// How often a count is tried again because the group read on meanwhile.
const MAX_COUNTS: usize = 100;

/// Refuses what makes no sense, for every backend.
pub(crate) fn check(request: &Subscribe) -> Result<(), BrokerError> {
    let invalid = |reason: String| Err(BrokerError::Invalid(reason));
    let group = &request.group;
    if group.is_empty() || group.len() > MAX_GROUP_BYTES || group.contains(char::is_control) {
        return invalid(format!("a group's name has 1 to {MAX_GROUP_BYTES} bytes and no control characters"));
    }
    if request.names.len() > MAX_NAMES {
        return invalid(format!("a group asks for at most {MAX_NAMES} names"));
    }
    if let Some(name) = request.names.iter().find(|name| !EventType::is_name(name)) {
        return invalid(format!("`{}` is not the name of an event type", name.escape_default()));
    }
    if !(1..=MAX_WINDOW).contains(&request.max_in_flight) {
        return invalid(format!("max_in_flight is 1 to {MAX_WINDOW}"));
    }
    if request.ack_wait.is_zero() {
        return invalid("ack_wait is longer than nothing".into());
    }
    Ok(())
}

/// How many entries may be in doubt after a crash, from now on: fewer than before only if no more can be.
fn window_of(group: &Group, stored: usize, wanted: usize) -> usize {
    let scheduler = group.scheduler();
    let idle = scheduler.members() == 0 && scheduler.open() <= wanted;
    if idle { wanted } else { stored.max(wanted) }
}

impl Writer {
    /// Creates the group, or changes it to what is asked for now.
    pub(super) async fn put_group(&mut self, mut request: Subscribe) -> Result<Arc<Group>, BrokerError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        request.names.sort_unstable();
        request.names.dedup();
        // Serialising a list of strings cannot fail; the error would be the caller's, who sent them.
        let names = serde_json::to_string(&request.names).map_err(|error| BrokerError::Invalid(error.to_string()))?;
        let known = unpoisoned(&self.shared.groups).get(&request.group).cloned();
        if let Some(group) = &known
            && let Some((stored, window)) = self.stored.get(&group.id)
            && *stored == names
            && *window == window_of(group, *window, request.max_in_flight)
        {
            return Ok(group.clone());
        }
        let mut new = Vec::new();
        for name in &request.names {
            self.name(name, &mut new);
        }
        let filter = filter(&request.names, &self.names).unwrap_or(Filter::All);
        let put = self.put_transaction(&request, &names, filter, known, &new).await;
        if put.is_err() {
            self.rollback().await;
            for (_, name) in new {
                self.names.remove(&name);
            }
        }
        put
    }

    async fn put_transaction(
        &mut self,
        request: &Subscribe,
        names: &str,
        filter: Filter,
        known: Option<Arc<Group>>,
        new: &[(i64, String)],
    ) -> Result<Arc<Group>, BrokerError> {
        self.execute("begin immediate").await?;
        for (id, text) in new {
            let query = sqlx::query("insert into name (id, text) values (?, ?)").bind(id).bind(text);
            query.execute(&mut self.connection).await.map_err(from_sqlx)?;
        }
        match known {
            Some(group) => self.change_group(request, names, filter, group).await,
            None => self.create_group(request, names, filter).await,
        }
    }

    async fn create_group(
        &mut self,
        request: &Subscribe,
        names: &str,
        filter: Filter,
    ) -> Result<Arc<Group>, BrokerError> {
        if unpoisoned(&self.shared.groups).len() >= MAX_GROUPS {
            return Err(BrokerError::Full(format!("there are {MAX_GROUPS} groups already")));
        }
        let beyond = reader::count(&mut self.connection, 0, &filter).await?;
        let row = sqlx::query(
            "insert into grp (name, names, window, cursor, beyond, counted, place) values (?, ?, ?, 0, ?, ?, ?)
             returning id",
        )
        .bind(&request.group)
        .bind(names)
        .bind(request.max_in_flight as i64)
        .bind(beyond as i64)
        .bind(self.head as i64)
        .bind(Place::encode([]))
        .fetch_one(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        let id: i64 = row.try_get(0).map_err(from_sqlx)?;
        self.execute("commit").await?;
        let now = (Instant::now(), self.shared.clock.now());
        let scheduler = Scheduler::new(request.max_in_flight, filter, Place::default(), beyond, now);
        let group = Arc::new(Group::new(id, request.group.clone(), scheduler));
        self.stored.insert(id, (names.to_owned(), request.max_in_flight));
        unpoisoned(&self.shared.groups).insert(request.group.clone(), group.clone());
        self.settled += 1;
        Ok(group)
    }

    async fn change_group(
        &mut self,
        request: &Subscribe,
        names: &str,
        filter: Filter,
        group: Arc<Group>,
    ) -> Result<Arc<Group>, BrokerError> {
        let stored = self.stored.get(&group.id).map_or(0, |(_, window)| *window);
        let window = window_of(&group, stored, request.max_in_flight);
        self.refilter(&group, filter).await?;
        let now = (Instant::now(), self.shared.clock.now());
        let place = group.scheduler().snapshot(false, now);
        let places = vec![(group.clone(), place)];
        let written = async {
            sqlx::query("update grp set names = ?, window = ? where id = ?")
                .bind(names)
                .bind(window as i64)
                .bind(group.id)
                .execute(&mut self.connection)
                .await
                .map_err(from_sqlx)?;
            self.write_places(&places).await?;
            self.execute("commit").await
        };
        let written = written.await;
        self.places_written(&places, written.is_ok());
        written?;
        self.stored.insert(group.id, (names.to_owned(), window));
        Ok(group)
    }

    /// Lets the group want other names from its place on. The group may read on while this counts what is to come;
    /// then it counts again.
    async fn refilter(&mut self, group: &Group, filter: Filter) -> Result<(), BrokerError> {
        for attempt in 1.. {
            let cursor = {
                let scheduler = group.scheduler();
                if *scheduler.filter() == filter {
                    return Ok(());
                }
                scheduler.cursor()
            };
            let beyond = reader::count(&mut self.connection, cursor, &filter).await?;
            let mut scheduler = group.scheduler();
            // A group that never holds still gets a count that is a little too high until the next start.
            if scheduler.cursor() == cursor || attempt == MAX_COUNTS {
                scheduler.refilter(filter, beyond);
                break;
            }
        }
        Ok(())
    }

    /// Removes a group that has no members. Whether there was one.
    pub(super) async fn remove_group(&mut self, name: &str) -> Result<bool, BrokerError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let Some(group) = unpoisoned(&self.shared.groups).get(name).cloned() else { return Ok(false) };
        if group.scheduler().members() > 0 {
            return Err(BrokerError::Invalid(format!("the group `{name}` has members")));
        }
        sqlx::query("delete from grp where id = ?")
            .bind(group.id)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        unpoisoned(&self.shared.groups).remove(name);
        self.stored.remove(&group.id);
        self.settled += 1;
        Ok(true)
    }
}
