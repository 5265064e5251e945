//! How far behind every group is.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::topic_partition_list::Offset;
use tidewire_core::BrokerError;
use tidewire_core::broker::Lag;

use super::desk::Desk;
use super::group::Group;

/// What a group in this process knows better than the cluster.
struct Here {
    seats: u32,
    in_flight: u64,
    retrying: u64,
    /// Events that were read and are not finished, in all of its partitions.
    held: u64,
    /// How far each of its partitions was read.
    positions: HashMap<i32, i64>,
}

impl Here {
    fn of(group: &Group) -> Self {
        let state = group.state();
        let counts = state.hand.counts();
        Self {
            seats: state.seats(),
            in_flight: counts.in_hand as u64,
            retrying: counts.retrying as u64,
            held: (counts.entries + state.staged()) as u64,
            positions: state.tracks.iter().map(|(partition, track)| (*partition, track.position())).collect(),
        }
    }
}

/// Every group of the installation, and those that have seats here.
pub(super) fn lag(desk: &Desk, groups: &[Arc<Group>]) -> Result<Vec<Lag>, BrokerError> {
    let mut known: HashMap<String, u32> =
        desk.standings()?.into_iter().map(|standing| (standing.group, standing.members)).collect();
    for group in groups {
        known.entry(group.name.clone()).or_default();
    }
    let mut names: Vec<_> = known.into_iter().collect();
    names.sort();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let lows = desk.watermarks(Offset::Beginning)?;
    let mut all = Vec::with_capacity(names.len());
    for (name, members) in names {
        let finished = desk.finished(&name)?;
        let here = groups.iter().find(|group| group.name == name).map(|group| Here::of(group));
        // After the positions, which never go beyond it.
        let highs = desk.watermarks(Offset::End)?;
        all.push(of_group(name, members, here, &finished, &lows, &highs));
    }
    Ok(all)
}

fn of_group(
    group: String,
    members: u32,
    here: Option<Here>,
    finished: &HashMap<i32, (i64, i64)>,
    lows: &HashMap<i32, i64>,
    highs: &HashMap<i32, i64>,
) -> Lag {
    let positions = here.as_ref().map(|here| &here.positions);
    let unread = |(partition, high): (&i32, &i64)| {
        let low = lows.get(partition).copied().unwrap_or(0);
        let behind = match positions.and_then(|positions| positions.get(partition)) {
            Some(position) => high - position,
            None => {
                let (next, beyond) = finished.get(partition).copied().unwrap_or((low, 0));
                high - next.max(low) - beyond
            }
        };
        u64::try_from(behind).unwrap_or(0)
    };
    let pending: u64 = highs.iter().map(unread).sum();
    match here {
        // Of the processes that share the group this one is counted by its seats.
        Some(here) => Lag {
            group,
            pending: pending + here.held,
            in_flight: here.in_flight,
            retrying: here.retrying,
            members: members.saturating_sub(1) + here.seats,
        },
        None => Lag { group, pending, in_flight: 0, retrying: 0, members },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_is_counted_exactly_and_the_rest_by_what_was_committed() {
        let (lows, highs) = (HashMap::from([(0, 0), (1, 10), (2, 5)]), HashMap::from([(0, 100), (1, 20), (2, 8)]));
        let finished = HashMap::from([(0, (90, 2)), (1, (3, 0))]);
        let lag = |here| of_group("g".into(), 3, here, &finished, &lows, &highs);
        let away = lag(None);
        // 8 of the first, all that is left of the second, the third from its beginning.
        assert_eq!((away.pending, away.members), (8 + 10 + 3, 3));
        let here = Here { seats: 2, in_flight: 4, retrying: 1, held: 7, positions: HashMap::from([(0, 99)]) };
        let here = lag(Some(here));
        assert_eq!((here.pending, here.in_flight, here.retrying, here.members), (1 + 10 + 3 + 7, 4, 1, 4));
    }
}
