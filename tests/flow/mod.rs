//! Flows: the loops on real stores and brokers, in one process. Each on every ground it can stand on: what a handler
//! may rely on does not depend on two URLs.

mod commands;
mod consuming;
mod effects;
mod objects;
mod operating;
mod parking;
mod push;
mod reconciling;
mod relaying;
mod replaying;

/// Makes each of these, `async fn(World)`, a test per ground, in a module named after it.
macro_rules! on_every_ground {
    ($($test:ident),+ $(,)?) => {
        mod sqlite_embedded {
            use crate::support::world::World;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(World::embedded().await).await;
            })+
        }

        mod postgres_jetstream {
            use crate::support::world::World;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(world) = World::jetstream().await {
                    super::$test(world).await;
                }
            })+
        }

        #[cfg(feature = "kafka")]
        mod postgres_kafka {
            use crate::support::world::World;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(world) = World::kafka().await {
                    super::$test(world).await;
                }
            })+
        }
    };
}
use on_every_ground;
