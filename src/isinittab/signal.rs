//! Signals by name and number.

/// SIGRTMIN as the kernel counts: libc's moves with what it keeps for itself, a table's must not.
const RTMIN: u8 = 34;
/// SIGRTMAX.
const RTMAX: u8 = 64;

/// The real-time signals from [`RTMIN`] on.
const REAL_TIME: [&str; 31] = [
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+16",
    "SIGRTMIN+17",
    "SIGRTMIN+18",
    "SIGRTMIN+19",
    "SIGRTMIN+20",
    "SIGRTMIN+21",
    "SIGRTMIN+22",
    "SIGRTMIN+23",
    "SIGRTMIN+24",
    "SIGRTMIN+25",
    "SIGRTMIN+26",
    "SIGRTMIN+27",
    "SIGRTMIN+28",
    "SIGRTMIN+29",
    "SIGRTMIN+30",
];

/// A signal: 1 to 64 (signal(7)).
///
/// ```
/// use isinit::isinittab::Signal;
/// assert_eq!(Signal::from_name(b"TERM").map(Signal::number), Some(15));
/// assert_eq!(Signal::from_name(b"SIGRTMIN+3").map(Signal::number), Some(37));
/// assert_eq!(Signal::from_name(b"KILLER"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal(u8);

impl Signal {
    /// SIGTERM, what stops a process where nothing else is said.
    pub const TERM: Signal = Signal(15);

    /// The signal of this number.
    pub fn from_number(number: i32) -> Option<Signal> {
        u8::try_from(number).ok().filter(|number| (1..=RTMAX).contains(number)).map(Signal)
    }

    /// The signal of this name: `TERM`, `SIGTERM`, `15`, `RTMIN+3`, in any case.
    pub fn from_name(name: &[u8]) -> Option<Signal> {
        let upper = std::str::from_utf8(name).ok()?.to_ascii_uppercase();
        if upper.bytes().all(|byte| byte.is_ascii_digit()) {
            return Signal::from_number(upper.parse().ok()?);
        }
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(offset) = short.strip_prefix("RTMIN") {
            let offset: u8 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
            return Signal::from_number(i32::from(RTMIN.checked_add(offset)?));
        }
        if let Some(offset) = short.strip_prefix("RTMAX") {
            let offset: u8 = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse().ok()? };
            return RTMAX.checked_sub(offset).filter(|number| *number >= RTMIN).map(Signal);
        }
        (1..RTMIN).map(Signal).find(|signal| signal.name().get(3..) == Some(short))
    }

    /// Its number.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// Its name, with `SIG` in front; the real-time signals count from `SIGRTMIN`. The two below that have none: their
    /// number.
    pub fn name(self) -> &'static str {
        match signal_hook::low_level::signal_name(self.number()) {
            Some(name) => name,
            None if self.0 >= RTMIN => self.real_time(),
            None if self.0 == 16 => "SIGSTKFLT",
            None if self.0 == 30 => "SIGPWR",
            // The C library's own, which have no names.
            None if self.0 == 32 => "32",
            None => "33",
        }
    }

    fn real_time(self) -> &'static str {
        REAL_TIME.get(usize::from(self.0.saturating_sub(RTMIN))).copied().unwrap_or("SIGRTMAX")
    }
}
