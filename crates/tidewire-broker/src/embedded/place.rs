//! A group's durable place in the log, and the few bytes it takes.

/// Where a group stands: everything up to `cursor` was looked at, and of that all but `open` is acknowledged
/// (or was not asked for).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub cursor: u64,
    pub open: Vec<(u64, Saved)>,
}

/// One entry that was looked at and is not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    /// How often it was handed out and came back.
    pub attempts: u32,
    /// It stands in its key's queue and is in nobody's hands: it cannot be what was running at a crash.
    pub waiting: bool,
    /// Not before this time, in milliseconds since the epoch.
    pub due: Option<i64>,
}

const FORMAT: u8 = 1;

impl Place {
    /// Encodes the open entries: ascending distances, attempts, flags and times, as variable-length numbers.
    pub(super) fn encode(open: impl IntoIterator<Item = (u64, Saved)>) -> Vec<u8> {
        let mut out = vec![FORMAT];
        let mut last = 0;
        for (seq, saved) in open {
            put(&mut out, seq - last);
            last = seq;
            put(
                &mut out,
                u64::from(saved.attempts) << 2 | u64::from(saved.waiting) << 1 | u64::from(saved.due.is_some()),
            );
            if let Some(due) = saved.due {
                put(&mut out, due.max(0) as u64);
            }
        }
        out
    }

    /// Reads what [`Place::encode`] wrote; `None` when it was something else.
    pub(super) fn decode(cursor: u64, bytes: &[u8]) -> Option<Self> {
        let (&FORMAT, mut rest) = bytes.split_first()? else { return None };
        let mut open: Vec<(u64, Saved)> = Vec::new();
        while !rest.is_empty() {
            let last = open.last().map_or(0, |(seq, _)| *seq);
            let seq = last.checked_add(get(&mut rest)?).filter(|&seq| seq > last && seq <= cursor)?;
            let packed = get(&mut rest)?;
            let due = if packed & 1 == 1 { Some(i64::try_from(get(&mut rest)?).ok()?) } else { None };
            open.push((seq, Saved { attempts: u32::try_from(packed >> 2).ok()?, waiting: packed & 2 == 2, due }));
        }
        Some(Self { cursor, open })
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn get(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let open = vec![
            (1, Saved::default()),
            (130, Saved { attempts: 7, waiting: true, due: Some(1_700_000_000_000) }),
            (1 << 40, Saved { attempts: u32::MAX, waiting: true, due: None }),
        ];
        let bytes = Place::encode(open.clone());
        assert_eq!(Place::decode(1 << 41, &bytes), Some(Place { cursor: 1 << 41, open }));
        assert_eq!(Place::decode(5, &Place::encode([])), Some(Place { cursor: 5, open: vec![] }));
        assert_eq!(Place::decode(1, &bytes), None, "beyond the cursor");
        for cut in 1..bytes.len() {
            let _ = Place::decode(1 << 41, &bytes[..cut]);
        }
        for bad in [&[][..], &[2], &[1, 0], &[1, 0x80], &[1, 1, 1], &[1; 40], &[0xff; 40]] {
            assert!(Place::decode(3, bad).is_none(), "{bad:?}");
        }
    }
}
