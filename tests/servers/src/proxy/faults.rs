//! What is wrong with the network at the moment.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::{Close, Direction};

/// Faults that last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub delay: Duration,
    pub jitter: Duration,
    pub swallow: Option<Direction>,
    pub stall: Option<Direction>,
    pub refuse: bool,
}

/// What happens to one chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Forward,
    /// Only so many bytes of it, then the connection is reset.
    Cut(usize),
}

/// A count of bytes until something happens, which way.
type Fuse = Option<(u64, Direction)>;

/// What the proxy's connections share.
pub(super) struct State {
    pub faults: watch::Sender<Faults>,
    /// How often all connections were cut, and how the last time.
    pub cut: watch::Sender<(u64, Close)>,
    pub connections: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    fuse: Mutex<Fuse>,
    flip: Mutex<Fuse>,
    random: Mutex<u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            faults: watch::Sender::new(Faults::default()),
            cut: watch::Sender::new((0, Close::Reset)),
            connections: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            fuse: Mutex::new(None),
            flip: Mutex::new(None),
            // The same jitter in every run.
            random: Mutex::new(0x9e37_79b9_7f4a_7c15),
        }
    }
}

impl State {
    /// The count of bytes forwarded one way.
    pub fn forwarded(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Up => &self.up,
            Direction::Down | Direction::Both => &self.down,
        }
    }

    pub fn set_fuse(&self, fuse: Fuse) {
        *held(&self.fuse) = fuse;
    }

    pub fn set_flip(&self, flip: Fuse) {
        *held(&self.flip) = flip;
    }

    /// Does to a chunk what is due, and says what becomes of it.
    pub fn judge(&self, direction: Direction, chunk: &mut [u8]) -> Fate {
        if let Some(at) = burn(&mut held(&self.flip), direction, chunk.len())
            && let Some(byte) = chunk.get_mut(at)
        {
            *byte ^= 0b0001_0000;
        }
        match burn(&mut held(&self.fuse), direction, chunk.len()) {
            Some(at) => Fate::Cut(at),
            None => Fate::Forward,
        }
    }

    /// How long a chunk is held back.
    pub fn delay(&self) -> Duration {
        let faults = *self.faults.borrow();
        if faults.jitter.is_zero() {
            return faults.delay;
        }
        let mut random = held(&self.random);
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let span = u64::try_from(faults.jitter.as_micros()).unwrap_or(u64::MAX).saturating_mul(2).max(1);
        (faults.delay + Duration::from_micros(*random % span)).saturating_sub(faults.jitter)
    }
}

/// Counts a fuse down by a chunk: where in the chunk it ends, if it does. Then it is gone.
fn burn(fuse: &mut Fuse, direction: Direction, length: usize) -> Option<usize> {
    let (left, way) = fuse.as_mut()?;
    if !way.covers(direction) {
        return None;
    }
    let count = u64::try_from(length).unwrap_or(u64::MAX);
    if *left >= count {
        *left -= count;
        return None;
    }
    let at = usize::try_from(*left).ok()?;
    *fuse = None;
    Some(at)
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fuse_burns_across_chunks_once_and_one_way() {
        let state = State::default();
        state.set_fuse(Some((10, Direction::Up)));
        assert_eq!(state.judge(Direction::Up, &mut [0; 10]), Fate::Forward);
        assert_eq!(state.judge(Direction::Down, &mut [0; 10]), Fate::Forward);
        assert_eq!(state.judge(Direction::Up, &mut [0; 3]), Fate::Cut(0));
        assert_eq!(state.judge(Direction::Up, &mut [0; 3]), Fate::Forward);
        state.set_flip(Some((4, Direction::Both)));
        assert_eq!(state.judge(Direction::Down, &mut [0; 3]), Fate::Forward);
        let mut chunk = [0; 3];
        assert_eq!(state.judge(Direction::Up, &mut chunk), Fate::Forward);
        assert_eq!(chunk, [0, 16, 0]);
    }

    #[test]
    fn jitter_stays_around_the_delay() {
        let state = State::default();
        let (delay, jitter) = (Duration::from_millis(20), Duration::from_millis(5));
        state.faults.send_modify(|faults| (faults.delay, faults.jitter) = (delay, jitter));
        let delays: Vec<Duration> = (0..100).map(|_| state.delay()).collect();
        assert!(delays.iter().all(|one| (delay - jitter..=delay + jitter).contains(one)), "{delays:?}");
        assert!(delays.iter().any(|one| *one != delays[0]));
    }
}
