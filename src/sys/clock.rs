//! The two clocks: one for deadlines, one for people.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Milliseconds of CLOCK_MONOTONIC (clock_gettime(2)): since some point near boot, never set back, standing
/// still while the machine sleeps. All deadlines of isinit are in it.
///
/// ```
/// let before = isinit::sys::clock::now_ms();
/// assert!(isinit::sys::clock::now_ms() >= before);
/// ```
pub fn now_ms() -> u64 {
    milliseconds(clock_gettime(ClockId::Monotonic))
}

/// Milliseconds since 1970-01-01 UTC (CLOCK_REALTIME), for messages and `watch`. It jumps when the
/// administrator sets the clock: never compute with it.
///
/// ```
/// assert!(isinit::sys::clock::wall_ms() > 1_500_000_000_000);
/// ```
pub fn wall_ms() -> u64 {
    milliseconds(clock_gettime(ClockId::Realtime))
}

/// Rounds down. A wait until a deadline is then a little too long and never too short, so that no deadline
/// makes the loop wake up twice.
fn milliseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_down_to_the_millisecond() {
        assert_eq!(milliseconds(Timespec { tv_sec: 2, tv_nsec: 1_999_999 }), 2_001);
    }

    #[test]
    fn a_clock_before_its_epoch_is_zero() {
        assert_eq!(milliseconds(Timespec { tv_sec: -1, tv_nsec: 0 }), 0);
    }
}
