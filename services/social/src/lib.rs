//! Users and follows: the aggregate that emits user.followed.
