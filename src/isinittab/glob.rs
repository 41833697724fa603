//! glob(7) of one name: `*`, `?` and `[...]`. Hand-written because it is a screen long, and libc's allocates and
//! reads directories by itself.

/// Has this path component a metacharacter?
pub fn is_pattern(component: &[u8]) -> bool {
    component.iter().any(|byte| b"*?[".contains(byte))
}

/// Does the name match? As in a shell, a name that begins with a dot is matched by a dot alone.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    let (mut p, mut n) = (pattern, name);
    // Where to go on when what follows the last star does not fit. Going back to the last star alone is enough,
    // and keeps a pattern of many stars from taking exponential time.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = p {
            retry = Some((rest, n));
            p = rest;
            continue;
        }
        let matched = n.split_first().and_then(|(byte, n_rest)| Some((one(p, *byte)?, n_rest)));
        match (p, n, matched) {
            ([], [], _) => return true,
            (_, _, Some(rest)) => (p, n) = rest,
            (_, _, None) => match retry {
                Some((after, [_, rest @ ..])) => {
                    retry = Some((after, rest));
                    (p, n) = (after, rest);
                }
                Some((_, [])) | None => return false,
            },
        }
    }
}

/// What is left of the pattern behind its first piece, if that matches the byte.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', inner @ ..] => match bracket(inner) {
            Some((set, rest)) => is_in(set, byte).then_some(rest),
            // Not closed: an ordinary character, as in a shell.
            None => (byte == b'[').then_some(inner),
        },
        [first, rest @ ..] => (*first == byte).then_some(rest),
        [] => None,
    }
}

/// The inside of a bracket and what follows it. A `]` that stands first is one of the set.
fn bracket(inner: &[u8]) -> Option<(&[u8], &[u8])> {
    let skipped = match inner {
        [b'!' | b'^', b']', ..] => 2usize,
        [b'!' | b'^', ..] | [b']', ..] => 1,
        _ => 0,
    };
    let end = inner.get(skipped..)?.iter().position(|byte| *byte == b']')?.saturating_add(skipped);
    Some((inner.get(..end)?, inner.get(end.saturating_add(1)..)?))
}

fn is_in(set: &[u8], byte: u8) -> bool {
    let (negated, mut set) = match set {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    loop {
        match set {
            [low, b'-', high, rest @ ..] => (found, set) = (found || (*low..=*high).contains(&byte), rest),
            [first, rest @ ..] => (found, set) = (found || *first == byte, rest),
            [] => return found != negated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_glob_matches_whole_names() {
        for (pattern, name, fits) in [
            ("*.tab", "web.tab", true),
            ("*.tab", "web.tab~", false),
            ("*", ".hidden", false),
            ("[.]h*", ".hidden", false),
            (".h*", ".hidden", true),
            ("a?c*e", "abcdde", true),
            ("a?c", "ac", false),
            ("*a*b", "xaybzb", true),
            ("", "", true),
            ("*", "", true),
            ("[0-9][0-9]-*", "10-web", true),
            ("[0-9][0-9]-*", "1x-web", false),
            ("[!a-c]x", "dx", true),
            ("[^a-c]x", "bx", false),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[a-]", "-", true),
            ("*[ab]", "xxab", true),
            ("[ab", "[ab", true),
            ("[ab", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        assert!(!matches("*a".repeat(60).as_bytes(), "a".repeat(59).as_bytes()));
        assert!(!matches(format!("{}b", "*a".repeat(100)).as_bytes(), "a".repeat(250).as_bytes()));
    }
}
