//! Requests: one line each.

/// What a client asks for. All names are as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `:ping`: who is there?
    Ping,
    /// `GROUP LEVEL`, or `:tell GROUP LEVEL [wait] [progress] [revert] [force]`.
    Tell {
        /// The group.
        group: &'a [u8],
        /// The level.
        level: &'a [u8],
        /// Answer when the switch has ended.
        wait: bool,
        /// Say meanwhile what is waited for.
        progress: bool,
        /// Go back if something fails on the way.
        revert: bool,
        /// Take a level that no entry has.
        force: bool,
    },
    /// `:status [GROUP]`
    Status {
        /// One group, or all.
        group: Option<&'a [u8]>,
    },
    /// `:timeline [GROUP]`
    Timeline {
        /// One group, or all.
        group: Option<&'a [u8]>,
    },
    /// `:plan GROUP LEVEL`
    Plan {
        /// The group.
        group: &'a [u8],
        /// The level.
        level: &'a [u8],
    },
    /// `:reread`, or IS::Init's `0 0`.
    Reread,
    /// `:watch`
    Watch,
    /// `:start TAG [wait]`
    Start {
        /// The entry.
        tag: &'a [u8],
        /// Answer when it is up.
        wait: bool,
    },
    /// `:stop TAG [wait]`
    Stop {
        /// The entry.
        tag: &'a [u8],
        /// Answer when it is gone.
        wait: bool,
    },
    /// `:restart TAG [wait]`
    Restart {
        /// The entry.
        tag: &'a [u8],
        /// Answer when it is up again.
        wait: bool,
    },
    /// `:signal SIGNAL TAG`
    Signal {
        /// The signal's name or number.
        signal: &'a [u8],
        /// The entry.
        tag: &'a [u8],
    },
    /// `stopall`, or `:stopall [wait]`
    StopAll {
        /// Answer when all is down.
        wait: bool,
    },
    /// `:poweroff`, `:reboot`, `:halt`, `:kexec`: the machine goes down.
    Power(Power),
    /// `:switch-root DIR [INIT]`: another root file system, and its init.
    SwitchRoot {
        /// Where it is mounted.
        root: &'a [u8],
        /// Its init, as a path in there; empty for /sbin/init.
        init: &'a [u8],
    },
    /// `:telinit LEVEL`, as telinit(8) has it.
    Telinit {
        /// One character.
        level: &'a [u8],
    },
    /// `:upgrade`: the program that is now where ours was takes our place, with every process.
    Upgrade,
    /// `:runlevel`: the level of the main group, and the one before.
    Runlevel,
}

/// How a machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Switched off.
    Poweroff,
    /// Started anew.
    Reboot,
    /// Stopped, with power on.
    Halt,
    /// Another kernel is started, without firmware.
    Kexec,
}

/// Why a line is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// There is nothing in it.
    Empty,
    /// No request has this name.
    Unknown,
    /// It has too few words, too many, or one that it does not know.
    Words,
}

impl Malformed {
    /// What to write instead.
    pub fn words(self) -> &'static str {
        match self {
            Malformed::Empty => "an empty request; write GROUP LEVEL, or :status",
            Malformed::Unknown => {
                "no such request; there are :ping :tell :status :timeline :plan :reread :watch :start :stop :restart :signal \
                 :stopall :poweroff :reboot :halt :kexec :switch-root :telinit :runlevel :upgrade"
            }
            Malformed::Words => "too few words, too many, or an unknown one; see isinit-protocol(7)",
        }
    }
}

/// Reads one line, without its newline.
///
/// ```
/// use isinit::wire::{Request, parse};
/// assert!(matches!(parse(b"foo run"), Ok(Request::Tell { group: b"foo", level: b"run", wait: false, .. })));
/// assert_eq!(parse(b":stop nginx wait"), Ok(Request::Stop { tag: b"nginx", wait: true }));
/// assert_eq!(parse(b"0 0"), Ok(Request::Reread));
/// ```
///
/// # Errors
/// A line that is no request.
pub fn parse(line: &[u8]) -> Result<Request<'_>, Malformed> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let first = words.next().ok_or(Malformed::Empty)?;
    let mut rest = [&b""[..]; 6];
    let mut count = 0usize;
    for word in words {
        *rest.get_mut(count).ok_or(Malformed::Words)? = word;
        count = count.saturating_add(1);
    }
    let rest = rest.get(..count).unwrap_or(&[]);
    match (first, rest) {
        (b"stopall", []) => Ok(Request::StopAll { wait: false }),
        (b"0", [b"0"]) => Ok(Request::Reread),
        (b":ping", []) => Ok(Request::Ping),
        (b":tell", [group, level, options @ ..]) => tell(group, level, options),
        (b":status", []) => Ok(Request::Status { group: None }),
        (b":status", [group]) => Ok(Request::Status { group: Some(group) }),
        (b":timeline", []) => Ok(Request::Timeline { group: None }),
        (b":timeline", [group]) => Ok(Request::Timeline { group: Some(group) }),
        (b":plan", [group, level]) => Ok(Request::Plan { group, level }),
        (b":reread", []) => Ok(Request::Reread),
        (b":watch", []) => Ok(Request::Watch),
        (b":start", [tag, options @ ..]) => Ok(Request::Start { tag, wait: waits(options)? }),
        (b":stop", [tag, options @ ..]) => Ok(Request::Stop { tag, wait: waits(options)? }),
        (b":restart", [tag, options @ ..]) => Ok(Request::Restart { tag, wait: waits(options)? }),
        (b":signal", [signal, tag]) => Ok(Request::Signal { signal, tag }),
        (b":stopall", options) => Ok(Request::StopAll { wait: waits(options)? }),
        (b":poweroff", []) => Ok(Request::Power(Power::Poweroff)),
        (b":reboot", []) => Ok(Request::Power(Power::Reboot)),
        (b":halt", []) => Ok(Request::Power(Power::Halt)),
        (b":kexec", []) => Ok(Request::Power(Power::Kexec)),
        (b":switch-root", [root]) => Ok(Request::SwitchRoot { root, init: b"" }),
        (b":switch-root", [root, init]) => Ok(Request::SwitchRoot { root, init }),
        (b":telinit", [level]) => Ok(Request::Telinit { level }),
        (b":upgrade", []) => Ok(Request::Upgrade),
        (b":runlevel", []) => Ok(Request::Runlevel),
        (name, _) if KNOWN.contains(&name) => Err(Malformed::Words),
        ([b':', ..], _) => Err(Malformed::Unknown),
        // IS::Init takes the first two words of a line, and forgets the others.
        (group, [level, ..]) => tell(group, level, &[]),
        (_, []) => Err(Malformed::Words),
    }
}

const KNOWN: [&[u8]; 20] = [
    b":ping",
    b":tell",
    b":status",
    b":timeline",
    b":plan",
    b":reread",
    b":watch",
    b":start",
    b":stop",
    b":restart",
    b":signal",
    b":stopall",
    b":poweroff",
    b":reboot",
    b":halt",
    b":kexec",
    b":switch-root",
    b":telinit",
    b":runlevel",
    b":upgrade",
];

fn waits(options: &[&[u8]]) -> Result<bool, Malformed> {
    match options {
        [] => Ok(false),
        [b"wait"] => Ok(true),
        _ => Err(Malformed::Words),
    }
}

fn tell<'a>(group: &'a [u8], level: &'a [u8], options: &[&[u8]]) -> Result<Request<'a>, Malformed> {
    let (mut wait, mut progress, mut revert, mut force) = (false, false, false, false);
    for option in options {
        match *option {
            b"wait" => wait = true,
            b"progress" => progress = true,
            b"revert" => revert = true,
            b"force" => force = true,
            _ => return Err(Malformed::Words),
        }
    }
    Ok(Request::Tell { group, level, wait, progress, revert, force })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_lines_are_taken_as_is_init_takes_them() {
        let tell = |group, level| Request::Tell {
            group,
            level,
            wait: false,
            progress: false,
            revert: false,
            force: false,
        };
        assert_eq!(parse(b"foo run"), Ok(tell(b"foo", b"run")));
        assert_eq!(parse(b"  foo\trun more\r"), Ok(tell(b"foo", b"run")));
        assert_eq!(parse(b"stopall"), Ok(Request::StopAll { wait: false }));
        assert_eq!(parse(b"foo"), Err(Malformed::Words));
        assert_eq!(parse(b""), Err(Malformed::Empty));
    }

    #[test]
    fn extended_lines_are_checked() {
        assert_eq!(parse(b":nonsense"), Err(Malformed::Unknown));
        for line in [
            &b":tell a"[..],
            b":tell a b x",
            b":stop",
            b":stop a b",
            b":signal TERM",
            b":ping x",
            b":tell a b wait wait wait wait wait",
        ] {
            assert_eq!(parse(line), Err(Malformed::Words), "{}", String::from_utf8_lossy(line));
        }
        assert!(matches!(
            parse(b":tell a b wait revert"),
            Ok(Request::Tell { wait: true, revert: true, force: false, .. })
        ));
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut seed = 9_123_456_789u64;
        for _ in 0..100_000 {
            let line: Vec<u8> = (0..seed % 40)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    b": tellstopwa\0\xff\t"[(seed >> 33) as usize % 15]
                })
                .collect();
            let _ = parse(&line);
            seed = seed.wrapping_add(1);
        }
    }
}
