//! The HTTP routes of users and follows.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use events::{UserId, limits};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidewire::http::{Idempotency, Json, Page, PageQuery, Problem, position_header};
use tidewire::store::DocumentQuery;
use tidewire::{CommandError, Commands, Event, Executed, Ports, Projection, StoreError};

use crate::email::Email;
use crate::feed::{FEED_SOURCES, Feed, FeedEntry, merge};
use crate::follows::{Follow, Followers, Following};
use crate::profile::{Profile, Profiles};
use crate::user::{User, UserCommand, UserError, UserEvent};

/// How many of the people somebody follows are looked at to find those followed last.
const MAX_FOLLOWING_READ: usize = 2_000;

/// What the routes work on.
pub(crate) struct Social {
    pub ports: Ports,
    pub commands: Commands<User>,
}

pub(crate) fn router(social: Arc<Social>) -> Router {
    Router::new()
        .route("/v1/users", post(register))
        .route("/v1/users/{id}", get(profile))
        .route("/v1/users/{id}/following/{other}", put(follow).delete(unfollow))
        .route("/v1/users/{id}/followers", get(followers))
        .route("/v1/users/{id}/following", get(following))
        .route("/v1/users/{id}/feed", get(feed))
        .with_state(social)
}

/// The body of a registration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    /// Drawn when absent.
    id: Option<UserId>,
    name: String,
    email: Option<String>,
}

/// 201 with the user, or 200 when the same user was registered before.
async fn register(
    State(social): State<Arc<Social>>,
    idempotency: Idempotency,
    Json(registration): Json<Registration>,
) -> Result<Response, Problem> {
    let name = registration.name.trim().to_owned();
    let length = name.chars().count();
    if !(1..=limits::NAME).contains(&length) || name.chars().any(char::is_control) {
        let detail = format!("`name` must have 1 to {} characters, none of them control characters", limits::NAME);
        return Err(Problem::invalid(detail));
    }
    let email = registration.email.as_deref().map(Email::new).transpose().map_err(Problem::invalid)?;
    let user_id = match registration.id {
        Some(id) => id,
        None => UserId::new(social.ports.clock.id().to_string()).map_err(Problem::internal)?,
    };
    let location = format!("/v1/users/{user_id}");
    let mut body = json!({ "id": user_id, "name": name });
    if let Some(email) = &email {
        body["email"] = json!(email.to_string());
    }
    let key = events::user::key(&user_id);
    let command = UserCommand::Register { user_id, name, email };
    let record = |events: &[UserEvent]| idempotency.record_at(status_of(events.is_empty()), &body, Some(&location));
    let executed = social.commands.execute(&key, &command, record).await.map_err(refuse)?;
    let mut response = accepted(&executed, body);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// 201 the first time, 200 again.
async fn follow(
    State(social): State<Arc<Social>>,
    Path(ids): Path<(String, String)>,
    idempotency: Idempotency,
) -> Result<Response, Problem> {
    let (follower, followed) = pair(ids)?;
    if !social.exists(&follower).await? {
        return Err(refuse_user(&UserError::Unknown(follower)));
    }
    let key = events::user::key(&followed);
    let body = json!({ "follower_id": follower, "followed_id": followed });
    let command = UserCommand::Follow { follower, followed };
    let record = |events: &[UserEvent]| idempotency.record(status_of(events.is_empty()), &body);
    let executed = social.commands.execute(&key, &command, record).await.map_err(refuse)?;
    Ok(accepted(&executed, body))
}

/// 204, also when there was nothing to undo.
async fn unfollow(State(social): State<Arc<Social>>, Path(ids): Path<(String, String)>) -> Result<Response, Problem> {
    let (follower, followed) = pair(ids)?;
    let key = events::user::key(&followed);
    let command = UserCommand::Unfollow { follower, followed };
    let executed = social.commands.execute(&key, &command, |_| Vec::new()).await.map_err(refuse)?;
    Ok((StatusCode::NO_CONTENT, [position_header(executed.position)]).into_response())
}

/// A user as others see them.
async fn profile(State(social): State<Arc<Social>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let user = parse(id)?;
    let found = social.rows::<Profiles>(&[user.to_string()]).await?.pop().flatten();
    let Some(Profile { name, registered }) = found else { return Err(refuse_user(&UserError::Unknown(user))) };
    let prefix = format!("{user}/");
    let followers = social.ports.store.count(Followers::COLLECTION, &prefix).await?;
    let following = social.ports.store.count(Following::COLLECTION, &prefix).await?;
    Ok(Json(json!({
        "id": user, "name": name, "registered": registered, "followers": followers, "following": following
    })))
}

/// Somebody in a list of followers or followed.
#[derive(Serialize)]
struct Person {
    id: String,
    /// Absent for users that another system owns.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    follow: Follow,
}

async fn followers(
    State(social): State<Arc<Social>>,
    Path(id): Path<String>,
    page: PageQuery,
) -> Result<Page<Person>, Problem> {
    social.people::<Followers>(id, page).await
}

async fn following(
    State(social): State<Arc<Social>>,
    Path(id): Path<String>,
    page: PageQuery,
) -> Result<Page<Person>, Problem> {
    social.people::<Following>(id, page).await
}

/// What the people `id` follows did lately, newest first.
async fn feed(
    State(social): State<Arc<Social>>,
    Path(id): Path<String>,
    page: PageQuery,
) -> Result<Page<FeedEntry>, Problem> {
    let user = parse(id)?;
    let mut sources = social.pairs::<Following>(&user, None, MAX_FOLLOWING_READ).await?;
    sources.sort_unstable_by_key(|(_, follow)| std::cmp::Reverse(follow.since));
    let sources: Vec<String> = sources.into_iter().take(FEED_SOURCES).map(|(id, _)| id).collect();
    let rows = social.rows::<Feed>(&sources).await?.into_iter().flatten().collect();
    let entries = merge(rows, page.cursor.as_deref(), page.limit + 1);
    Ok(Page::cut(entries, page.limit, FeedEntry::place))
}

impl Social {
    /// Whether a user signed up. Read from the stream, not from a projection: who signed up a moment ago may
    /// follow somebody at once, and since nobody is ever unregistered the answer cannot go stale.
    async fn exists(&self, user: &UserId) -> Result<bool, Problem> {
        let key = events::user::key(user);
        let first = match self.ports.store.stream(&key, 0, 1).await {
            // The snapshot tells.
            Err(StoreError::Retired(_)) => {
                return Ok(self.commands.load(&key).await.map_err(refuse)?.0.is_registered());
            }
            first => first?,
        };
        match first.first() {
            None => Ok(false),
            Some(first) if first.envelope.ty.name() == events::UserRegistered::TYPE.name() => Ok(true),
            // Another system's follow came first: the whole stream has to tell.
            Some(_) => Ok(self.commands.load(&key).await.map_err(refuse)?.0.is_registered()),
        }
    }

    /// Rows of projection `P`, in the order asked for.
    async fn rows<P: Projection>(&self, ids: &[String]) -> Result<Vec<Option<P::Row>>, Problem> {
        let found = self.ports.store.documents(P::COLLECTION, ids).await?;
        found.into_iter().map(|row| row.map(|row| decode(&row.value)).transpose()).collect()
    }

    /// The other ends of a user's pairs, in the order of their ids.
    async fn pairs<P: Projection<Row = Follow>>(
        &self,
        user: &UserId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Follow)>, Problem> {
        let prefix = format!("{user}/");
        let after = after.map(|other| format!("{prefix}{other}"));
        let query =
            DocumentQuery { collection: P::COLLECTION.into(), prefix: prefix.clone(), after, limit, backwards: false };
        let found = self.ports.store.list(&query).await?;
        found.into_iter().map(|row| Ok((row.id[prefix.len()..].to_owned(), decode(&row.value)?))).collect()
    }

    async fn people<P: Projection<Row = Follow>>(&self, id: String, page: PageQuery) -> Result<Page<Person>, Problem> {
        let user = parse(id)?;
        let pairs = self.pairs::<P>(&user, page.cursor.as_deref(), page.limit + 1).await?;
        let ids: Vec<String> = pairs.iter().map(|(id, _)| id.clone()).collect();
        let names = self.rows::<Profiles>(&ids).await?;
        let person = |((id, follow), profile): ((String, Follow), Option<Profile>)| Person {
            id,
            name: profile.map(|profile| profile.name),
            follow,
        };
        let people = pairs.into_iter().zip(names).map(person).collect();
        Ok(Page::cut(people, page.limit, |person: &Person| person.id.clone()))
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(Problem::internal)
}

fn parse(id: String) -> Result<UserId, Problem> {
    UserId::new(id).map_err(Problem::invalid)
}

fn pair((id, other): (String, String)) -> Result<(UserId, UserId), Problem> {
    Ok((parse(id)?, parse(other)?))
}

/// 201 when something happened, 200 when it was so already.
fn status_of(nothing_happened: bool) -> StatusCode {
    if nothing_happened { StatusCode::OK } else { StatusCode::CREATED }
}

fn accepted(executed: &Executed, body: Value) -> Response {
    let status = status_of(executed.events.is_empty());
    (status, [position_header(executed.position)], Json(body)).into_response()
}

fn refuse(error: CommandError<UserError>) -> Problem {
    match error {
        CommandError::Refused(error) => refuse_user(&error),
        // The stream holds what this build cannot read: not the caller's fault.
        CommandError::Schema(error) => StoreError::Corrupt(error.to_string()).into(),
        CommandError::Store(error) => error.into(),
    }
}

fn refuse_user(error: &UserError) -> Problem {
    let (status, code) = match error {
        UserError::Unknown(_) => (StatusCode::NOT_FOUND, "user.not_found"),
        UserError::Oneself => (StatusCode::BAD_REQUEST, "user.follows_itself"),
        UserError::Exists(_) => (StatusCode::CONFLICT, "user.already_exists"),
        UserError::TooManyFollowers(_) => (StatusCode::CONFLICT, "user.too_many_followers"),
    };
    Problem::new(status, code, error)
}
