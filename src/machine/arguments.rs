//! What the kernel's command line says to init (bootparam(7), kernel-parameters.txt).
//!
//! The kernel hands a word that it does not know itself to init as an argument, or as a variable where it has an `=`;
//! but one with a dot in front of the `=` it keeps, for it would be a module's parameter. After `--` all words are
//! init's. So levels are read from the arguments that we were given, and `isinit.table=` from /proc/cmdline.

/// What was asked for.
///
/// ```
/// use isinit::machine::arguments::Arguments;
/// let line = b"root=/dev/vda1 ro isinit.table=/etc/rescue 3\n";
/// let arguments = Arguments::read([&b"3"[..]], line);
/// assert_eq!((arguments.level, arguments.table), (Some(b'3'), Some(b"/etc/rescue".to_vec())));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `single`, `S`, `s`, `-s`: level S in place of each group's initdefault.
    pub single: bool,
    /// `emergency`, `-b`: a shell on the console before anything else.
    pub emergency: bool,
    /// A letter or digit of its own: this level in place of each group's initdefault. The last one counts, and
    /// takes `single` back, as in sysvinit.
    pub level: Option<u8>,
    /// `isinit.table=PATH`: the table in place of /etc/isinittab. The last one counts.
    pub table: Option<Vec<u8>>,
    /// `0` or `6`: a machine that goes down as soon as it is up is a mistake; it is not done, only said.
    pub refused: Option<u8>,
}

impl Arguments {
    /// Reads init's own arguments (argv without its first word), and the kernel's command line. When init was given
    /// no arguments at all, as by an initramfs that hands none on, the command line's words are taken for them.
    pub fn read<'a>(argv: impl IntoIterator<Item = &'a [u8]>, line: &[u8]) -> Arguments {
        let mut arguments = Arguments::default();
        let mut given = false;
        let mut tables: Option<Vec<u8>> = None;
        for word in argv {
            given = true;
            arguments.word(word);
            tables = table_of(word).or(tables);
        }
        for word in Words(line) {
            if !given {
                arguments.word(&word);
            }
            tables = table_of(&word).or(tables);
        }
        arguments.table = tables;
        arguments
    }

    fn word(&mut self, word: &[u8]) {
        match word {
            b"single" | b"S" | b"s" | b"-s" => (self.single, self.level) = (true, None),
            b"emergency" | b"-b" => self.emergency = true,
            [level @ (b'0' | b'6')] => self.refused = Some(*level),
            [level] if level.is_ascii_alphanumeric() => (self.single, self.level) = (false, Some(*level)),
            // `auto`, which boot loaders add, and all that is not for us.
            _ => {}
        }
    }
}

fn table_of(word: &[u8]) -> Option<Vec<u8>> {
    let path = word.strip_prefix(b"isinit.table=")?;
    (!path.is_empty()).then(|| path.to_vec())
}

/// The words of a command line, as the kernel sees them (lib/cmdline.c, next_arg): separated by blanks, but
/// not by those between double quotes, which are taken away.
struct Words<'l>(&'l [u8]);

impl Iterator for Words<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let line = self.0.trim_ascii_start();
        if line.is_empty() {
            return None;
        }
        let mut quoted = false;
        let end = line.iter().position(|&byte| {
            quoted ^= byte == b'"';
            !quoted && byte.is_ascii_whitespace()
        });
        let (word, rest) = line.split_at_checked(end.unwrap_or(line.len()))?;
        self.0 = rest;
        Some(word.iter().copied().filter(|&byte| byte != b'"').collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &str) -> Arguments {
        Arguments::read(words.split(' ').map(str::as_bytes), b"")
    }

    fn line(line: &str) -> Arguments {
        Arguments::read([], line.as_bytes())
    }

    fn table(text: &str) -> Option<String> {
        line(text).table.map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn single_has_four_spellings() {
        for word in ["single", "S", "s", "-s"] {
            assert!(argv(word).single, "{word}");
        }
        assert!(!argv("Single singles auto").single);
    }

    #[test]
    fn the_last_level_counts_as_in_sysvinit() {
        assert_eq!(argv("2 3").level, Some(b'3'));
        assert_eq!((argv("single 3").single, argv("single 3").level), (false, Some(b'3')));
        assert_eq!((argv("3 single").single, argv("3 single").level), (true, None));
        assert_eq!(argv("33 splash").level, None);
    }

    #[test]
    fn a_machine_does_not_boot_to_go_down() {
        assert_eq!((argv("0").level, argv("0").refused), (None, Some(b'0')));
        assert_eq!((argv("3 6").level, argv("3 6").refused), (Some(b'3'), Some(b'6')));
    }

    #[test]
    fn emergency_goes_with_a_level() {
        assert!(argv("emergency").emergency && argv("-b 2").emergency);
        assert_eq!(argv("-b 2").level, Some(b'2'));
    }

    #[test]
    fn the_command_line_counts_only_where_init_was_given_nothing() {
        assert!(line("root=/dev/vda1 ro quiet single\n").single);
        assert!(!Arguments::read([&b"auto"[..]], b"single").single);
        assert_eq!(line("ro -- 4\n").level, Some(b'4'));
    }

    #[test]
    fn the_table_is_found_between_quotes_and_the_last_one_counts() {
        assert_eq!(table("isinit.table=/a isinit.table=/b ro\n").unwrap(), "/b");
        assert_eq!(table("isinit.table=\"/a b\" 3\n").unwrap(), "/a b");
        assert_eq!(table("\"isinit.table=/a b\" 3").unwrap(), "/a b");
        assert_eq!(table("isinit.table=\"/never closed 3\n").unwrap(), "/never closed 3\n");
        assert_eq!(table("isinit.table= xisinit.table=/c isinit.tables=/d"), None);
        let given = Arguments::read([&b"isinit.table=/argv"[..]], b"ro");
        assert_eq!(given.table.unwrap(), b"/argv", "behind -- the kernel hands it on");
    }

    #[test]
    fn nothing_odd_is_an_error() {
        for odd in ["", "\n", "   ", "\"", "\"\"", "=", "-- -- --", "\0", "é", "a=\"b", "\t3\t"] {
            let _ = line(odd);
        }
        assert_eq!(line("\t3\t").level, Some(b'3'));
        assert_eq!(line("\"\" \"5\"").level, Some(b'5'));
        assert_eq!(argv(""), Arguments::default());
    }
}
