//! Stores that stand before another one hand on what is none of their business.

/// The ports that a store with `fn store(&self) -> &dyn Store` only hands on: all but the log, the documents and the
/// leases. A method that is added to one of these ports gets its line here.
macro_rules! hand_on {
    ($store:ty) => {
        #[async_trait::async_trait]
        impl tidewire_core::store::Inbox for $store {
            async fn seen(
                &self,
                consumer: &str,
                marks: &[tidewire_core::Mark],
            ) -> Result<Vec<bool>, tidewire_core::StoreError> {
                self.store().seen(consumer, marks).await
            }

            async fn start(
                &self,
                consumer: &str,
                marks: &[tidewire_core::Mark],
                error: Option<&str>,
            ) -> Result<Vec<u32>, tidewire_core::StoreError> {
                self.store().start(consumer, marks, error).await
            }

            async fn handled(&self, consumer: &str) -> Result<u64, tidewire_core::StoreError> {
                self.store().handled(consumer).await
            }

            async fn unhandled(
                &self,
                consumer: &str,
                names: &[String],
                until: tidewire_core::Position,
                limit: usize,
            ) -> Result<Vec<tidewire_core::Recorded>, tidewire_core::StoreError> {
                self.store().unhandled(consumer, names, until, limit).await
            }
        }

        #[async_trait::async_trait]
        impl tidewire_core::store::Parking for $store {
            async fn parked_keys(
                &self,
                consumer: &str,
                keys: &[tidewire_core::Key],
            ) -> Result<std::collections::BTreeSet<tidewire_core::Key>, tidewire_core::StoreError> {
                self.store().parked_keys(consumer, keys).await
            }

            async fn parked(
                &self,
                query: &tidewire_core::store::ParkedQuery,
            ) -> Result<Vec<tidewire_core::store::Parked>, tidewire_core::StoreError> {
                self.store().parked(query).await
            }

            async fn parked_counts(&self) -> Result<Vec<(String, u64)>, tidewire_core::StoreError> {
                self.store().parked_counts().await
            }
        }

        #[async_trait::async_trait]
        impl tidewire_core::store::Schedule for $store {
            async fn due_timers(
                &self,
                owners: &[String],
                now: chrono::DateTime<chrono::Utc>,
                limit: usize,
            ) -> Result<Vec<tidewire_core::Timer>, tidewire_core::StoreError> {
                self.store().due_timers(owners, now, limit).await
            }

            async fn due_effects(
                &self,
                now: chrono::DateTime<chrono::Utc>,
                limit: usize,
            ) -> Result<Vec<tidewire_core::effect::DueEffect>, tidewire_core::StoreError> {
                self.store().due_effects(now, limit).await
            }

            async fn effects(
                &self,
                query: &tidewire_core::effect::EffectQuery,
            ) -> Result<Vec<tidewire_core::effect::StoredEffect>, tidewire_core::StoreError> {
                self.store().effects(query).await
            }

            async fn next_due(
                &self,
                owners: &[String],
            ) -> Result<
                (Option<chrono::DateTime<chrono::Utc>>, Option<chrono::DateTime<chrono::Utc>>),
                tidewire_core::StoreError,
            > {
                self.store().next_due(owners).await
            }
        }

        #[async_trait::async_trait]
        impl tidewire_core::store::Snapshots for $store {
            async fn snapshot(
                &self,
                aggregate: &str,
                key: &tidewire_core::Key,
            ) -> Result<Option<(u64, bytes::Bytes)>, tidewire_core::StoreError> {
                self.store().snapshot(aggregate, key).await
            }

            async fn keep_snapshot(
                &self,
                aggregate: &str,
                key: &tidewire_core::Key,
                version: u64,
                state: bytes::Bytes,
            ) -> Result<(), tidewire_core::StoreError> {
                self.store().keep_snapshot(aggregate, key, version, state).await
            }
        }

        #[async_trait::async_trait]
        impl tidewire_core::store::Upkeep for $store {
            async fn info(&self) -> Result<tidewire_core::store::StoreInfo, tidewire_core::StoreError> {
                self.store().info().await
            }

            async fn health(&self) -> Result<tidewire_core::store::StoreHealth, tidewire_core::StoreError> {
                self.store().health().await
            }

            async fn types(&self) -> Result<Vec<(tidewire_core::EventType, u64)>, tidewire_core::StoreError> {
                self.store().types().await
            }

            async fn retire(
                &self,
                until: tidewire_core::Position,
                limit: usize,
            ) -> Result<tidewire_core::store::Retired, tidewire_core::StoreError> {
                self.store().retire(until, limit).await
            }

            async fn ping(&self) -> Result<(), tidewire_core::StoreError> {
                self.store().ping().await
            }

            async fn close(&self) {
                self.store().close().await;
            }
        }
    };
}
pub(super) use hand_on;
