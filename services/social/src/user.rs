//! The user: who somebody is, and who follows them.

use std::collections::BTreeSet;

use events::{UserFollowed, UserId, UserRegistered, UserUnfollowed};
use serde::{Deserialize, Serialize};
use tidewire::{Aggregate, event_set};

use crate::email::Email;

/// The most followers one user may have. All of them are the aggregate's state: at this size it takes a few
/// megabytes, beyond it loading would be felt.
pub const MAX_FOLLOWERS: usize = 100_000;

event_set! {
    /// What happens to a user.
    #[derive(Clone, Debug, PartialEq)]
    pub enum UserEvent { Registered(UserRegistered), Followed(UserFollowed), Unfollowed(UserUnfollowed) }
}

/// One user: registration, and the set of followers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct User {
    registered: Option<UserRegistered>,
    followers: BTreeSet<UserId>,
}

/// What can be asked of a user.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// Signs the user up. The same again changes nothing.
    Register {
        /// The user.
        user_id: UserId,
        /// The name to show; checked by the caller.
        name: String,
        /// Where to send e-mail.
        email: Option<Email>,
    },
    /// Lets somebody follow this user; the caller has made sure that `follower` exists.
    Follow {
        /// Who follows.
        follower: UserId,
        /// This user.
        followed: UserId,
    },
    /// Lets somebody stop following this user. Whoever does not follow has stopped already.
    Unfollow {
        /// Who followed.
        follower: UserId,
        /// This user.
        followed: UserId,
    },
}

/// Why a user refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The id is taken, with another name or address.
    #[error("the user `{0}` exists, with another name or e-mail address")]
    Exists(UserId),
    /// Nobody has this id.
    #[error("there is no user `{0}`")]
    Unknown(UserId),
    /// Nobody follows themselves.
    #[error("nobody can follow themselves")]
    Oneself,
    /// No room for another follower.
    #[error("`{0}` has {MAX_FOLLOWERS} followers, as many as anybody may have")]
    TooManyFollowers(UserId),
}

impl User {
    /// Whether the user signed up here.
    pub fn is_registered(&self) -> bool {
        self.registered.is_some()
    }
}

impl Aggregate for User {
    const NAME: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserError;

    fn decide(&self, command: &UserCommand) -> Result<Vec<UserEvent>, UserError> {
        match command {
            UserCommand::Register { user_id, name, email } => {
                let email = email.as_ref().map(Email::to_string);
                let wanted = UserRegistered { user_id: user_id.clone(), name: name.clone(), email };
                match &self.registered {
                    None => Ok(vec![wanted.into()]),
                    Some(found) if *found == wanted => Ok(Vec::new()),
                    Some(_) => Err(UserError::Exists(user_id.clone())),
                }
            }
            UserCommand::Follow { follower, followed } => {
                if follower == followed {
                    return Err(UserError::Oneself);
                }
                if !self.is_registered() {
                    return Err(UserError::Unknown(followed.clone()));
                }
                if self.followers.contains(follower) {
                    return Ok(Vec::new());
                }
                if self.followers.len() >= MAX_FOLLOWERS {
                    return Err(UserError::TooManyFollowers(followed.clone()));
                }
                Ok(vec![UserFollowed { follower_id: follower.clone(), followed_id: followed.clone() }.into()])
            }
            UserCommand::Unfollow { follower, followed } if self.followers.contains(follower) => {
                Ok(vec![UserUnfollowed { follower_id: follower.clone(), followed_id: followed.clone() }.into()])
            }
            UserCommand::Unfollow { .. } => Ok(Vec::new()),
        }
    }

    fn apply(&mut self, event: UserEvent) {
        match event {
            UserEvent::Registered(event) => self.registered = Some(event),
            UserEvent::Followed(event) => {
                self.followers.insert(event.follower_id);
            }
            UserEvent::Unfollowed(event) => {
                self.followers.remove(&event.follower_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> UserId {
        UserId::new(text).unwrap()
    }
    fn registered() -> UserEvent {
        UserRegistered { user_id: id("42"), name: "Ada".into(), email: Some("ada@example.org".into()) }.into()
    }
    fn followed(by: &str) -> UserEvent {
        UserFollowed { follower_id: id(by), followed_id: id("42") }.into()
    }
    fn unfollowed(by: &str) -> UserEvent {
        UserUnfollowed { follower_id: id(by), followed_id: id("42") }.into()
    }
    fn register(name: &str) -> UserCommand {
        UserCommand::Register {
            user_id: id("42"),
            name: name.into(),
            email: Some(Email::new("ada@example.org").unwrap()),
        }
    }
    fn follow(by: &str) -> UserCommand {
        UserCommand::Follow { follower: id(by), followed: id("42") }
    }
    fn unfollow(by: &str) -> UserCommand {
        UserCommand::Unfollow { follower: id(by), followed: id("42") }
    }

    fn given(events: Vec<UserEvent>) -> User {
        let mut user = User::default();
        events.into_iter().for_each(|event| user.apply(event));
        user
    }

    #[test]
    fn rules() {
        let unknown = Err(UserError::Unknown(id("42")));
        type Case = (&'static str, Vec<UserEvent>, UserCommand, Result<Vec<UserEvent>, UserError>);
        let table: Vec<Case> = vec![
            ("signs up", vec![], register("Ada"), Ok(vec![registered()])),
            ("signs up twice", vec![registered()], register("Ada"), Ok(vec![])),
            ("id is taken", vec![registered()], register("Eve"), Err(UserError::Exists(id("42")))),
            ("follow", vec![registered()], follow("7"), Ok(vec![followed("7")])),
            ("follow twice", vec![registered(), followed("7")], follow("7"), Ok(vec![])),
            ("another", vec![registered(), followed("7")], follow("8"), Ok(vec![followed("8")])),
            (
                "follow again after leaving",
                vec![registered(), followed("7"), unfollowed("7")],
                follow("7"),
                Ok(vec![followed("7")]),
            ),
            ("follow nobody", vec![], follow("7"), unknown.clone()),
            ("a follower from elsewhere makes no user", vec![followed("8")], follow("7"), unknown),
            ("follow oneself", vec![registered()], follow("42"), Err(UserError::Oneself)),
            ("leave", vec![registered(), followed("7")], unfollow("7"), Ok(vec![unfollowed("7")])),
            ("leave whom one does not follow", vec![registered()], unfollow("7"), Ok(vec![])),
            ("leave nobody", vec![], unfollow("7"), Ok(vec![])),
            (
                "sign up after being followed from elsewhere",
                vec![followed("7")],
                register("Ada"),
                Ok(vec![registered()]),
            ),
        ];
        for (what, before, command, then) in table {
            assert_eq!(given(before).decide(&command), then, "{what}");
        }
    }

    #[test]
    fn followers_are_bounded() {
        let mut user = given(vec![registered()]);
        user.followers = (0..MAX_FOLLOWERS).map(|n| id(&n.to_string())).collect();
        assert_eq!(user.decide(&follow("one-more")), Err(UserError::TooManyFollowers(id("42"))));
        assert_eq!(user.decide(&follow("7")), Ok(vec![]), "who follows already is no problem");
        assert_eq!(user.decide(&unfollow("7")), Ok(vec![unfollowed("7")]));
    }

    #[test]
    fn a_snapshot_holds_everything() {
        let user = given(vec![registered(), followed("7")]);
        let restored: User = serde_json::from_slice(&serde_json::to_vec(&user).unwrap()).unwrap();
        assert_eq!(restored.decide(&follow("7")), Ok(vec![]));
        assert_eq!(restored.decide(&register("Ada")), Ok(vec![]));
    }
}
