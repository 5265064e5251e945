//! What others have written down, run against this house.

mod cesql;
mod cloudevents;
