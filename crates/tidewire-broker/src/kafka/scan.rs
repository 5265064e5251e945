//! Reading all that the topic holds, for comparing it with the log.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidewire_core::{BrokerError, Envelope};
use tokio::time::Instant;

use super::context::Quiet;
use super::desk::{self, Desk};
use super::options::KafkaOptions;
use super::{binding, error};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one look for records waits.
const POLL: Duration = Duration::from_millis(100);
/// The most one page holds.
const MAX_PAGE: usize = 1_000;

/// What is read next, of every partition. As text: `tw1:` and the offsets in the order of their partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor(Vec<i64>);

const VERSION: &str = "tw1:";

impl Cursor {
    fn text(&self) -> String {
        let offsets: Vec<String> = self.0.iter().map(i64::to_string).collect();
        format!("{VERSION}{}", offsets.join(","))
    }

    fn parse(text: &str, partitions: u32) -> Result<Self, BrokerError> {
        let invalid = || BrokerError::Invalid("the cursor is not one that a scan returned".into());
        let offsets = text.strip_prefix(VERSION).ok_or_else(invalid)?;
        let offset = |text: &str| text.parse().ok().filter(|offset: &i64| *offset >= 0).ok_or_else(invalid);
        let offsets = offsets.split(',').map(offset).collect::<Result<Vec<i64>, _>>()?;
        if offsets.len() != partitions as usize {
            return Err(invalid());
        }
        Ok(Self(offsets))
    }
}

/// A scan that may go on: a reader, and where it is.
pub(super) struct Scan {
    reader: BaseConsumer<Quiet>,
    at: Cursor,
}

/// The page after `cursor`. `kept` is the scan that returned it, if that is still there.
pub(super) fn page(
    options: &KafkaOptions,
    desk: &Desk,
    kept: &mut Option<Scan>,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
    let cursor = cursor.map(|text| Cursor::parse(&text, options.partitions)).transpose()?;
    let (lows, highs) = (desk.watermarks(Offset::Beginning)?, desk.watermarks(Offset::End)?);
    let ends: BTreeMap<i32, i64> = highs.into_iter().collect();
    let mut scan = match kept.take().filter(|scan| Some(&scan.at) == cursor.as_ref()) {
        Some(scan) => scan,
        None => {
            let low = |partition: &i32| lows.get(partition).copied().unwrap_or(0);
            // What was removed meanwhile is passed over; an offset beyond the end is one of a record that is no more.
            let start = |(partition, end): (&i32, &i64)| {
                let wanted =
                    cursor.as_ref().and_then(|cursor| cursor.0.get(usize::try_from(*partition).ok()?).copied());
                wanted.filter(|wanted| *wanted >= low(partition) && wanted <= end).unwrap_or_else(|| low(partition))
            };
            Scan::begin(options, Cursor(ends.iter().map(start).collect()))?
        }
    };
    let page = scan.read(&ends, limit.clamp(1, MAX_PAGE))?;
    let cursor = scan.at.text();
    if !page.is_empty() {
        *kept = Some(scan);
    }
    Ok((page, Some(cursor)))
}

impl Scan {
    fn begin(options: &KafkaOptions, at: Cursor) -> Result<Self, BrokerError> {
        let topic = options.topic();
        let reader = desk::client(options, &topic)?;
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0_i32..).zip(&at.0) {
            let added = list.add_partition_offset(&topic, partition, Offset::Offset(*offset));
            added.map_err(|failure| error::from_kafka("scanning", &failure))?;
        }
        reader.assign(&list).map_err(|failure| error::from_kafka("scanning", &failure))?;
        Ok(Self { reader, at })
    }

    /// Whether everything up to these ends was read.
    fn is_at(&self, ends: &BTreeMap<i32, i64>) -> bool {
        self.at.0.iter().zip(ends.values()).all(|(at, end)| at >= end)
    }

    fn read(&mut self, ends: &BTreeMap<i32, i64>, limit: usize) -> Result<Vec<Envelope>, BrokerError> {
        let (mut page, started) = (Vec::new(), Instant::now());
        while page.len() < limit && !self.is_at(ends) {
            if started.elapsed() > PATIENCE {
                return Err(BrokerError::Unavailable("the cluster does not give what it holds".into()));
            }
            let record = match self.reader.poll(POLL) {
                None => continue,
                Some(Ok(record)) => record,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    // What the end counts beyond the last event are markers of transactions.
                    if let (Some(at), Some(end)) = (self.at.0.get_mut(partition as usize), ends.get(&partition)) {
                        *at = (*at).max(*end);
                    }
                    continue;
                }
                Some(Err(failure)) => match error::from_kafka("scanning", &failure) {
                    BrokerError::Unavailable(_) => continue,
                    error => return Err(error),
                },
            };
            let (partition, offset) = (record.partition(), record.offset());
            if let Some(at) = usize::try_from(partition).ok().and_then(|partition| self.at.0.get_mut(partition)) {
                *at = offset + 1;
            }
            match binding::decode(&record) {
                Ok(envelope) => page.push(envelope),
                Err(reason) => tracing::error!(partition, offset, reason, "a record is no event and is left out"),
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_checked() {
        let cursor = Cursor(vec![0, 5, i64::MAX]);
        assert_eq!(Cursor::parse(&cursor.text(), 3), Ok(cursor.clone()));
        for bad in ["", "tw1:", "tw1:1,2", "tw1:1,2,3,4", "tw1:1,-2,3", "tw1:1,x,3", "1,2,3"] {
            assert!(matches!(Cursor::parse(bad, 3), Err(BrokerError::Invalid(_))), "{bad}");
        }
    }
}
