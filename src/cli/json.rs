//! Answers as JSON (RFC 8259), for programs.

/// A string of JSON. Names are bytes; what is not UTF-8 in them has become U+FFFD when the line was read.
pub fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{20}'.. => out.push(letter),
            _ => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
        }
    }
    out.push('"');
    out
}

/// `key=value` pairs as the members of an object: numbers as numbers, `-` as null.
pub fn members<'l>(pairs: impl Iterator<Item = &'l str>) -> Vec<String> {
    let member = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let numeric =
            key.ends_with("_ms") || ["pid", "restarts", "entries", "groups", "up", "table_ok"].contains(&key);
        let value = match value {
            "-" => "null".to_string(),
            number if numeric && is_number(number) => number.to_string(),
            flags if key == "flags" => {
                format!("[{}]", flags.split(',').map(string).collect::<Vec<_>>().join(","))
            }
            text => string(text),
        };
        Some(format!("{}:{value}", string(key)))
    };
    pairs.filter_map(member).collect()
}

/// As JSON has whole numbers: with a digit, and without zeros in front.
fn is_number(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_and_pairs_have_types() {
        assert_eq!(string("a\"b\\c\n\u{fffd}"), "\"a\\\"b\\\\c\\u000a\u{fffd}\"");
        let line = "state=up pid=7 level=7 prev=- flags=gone,main age_ms=12";
        assert_eq!(
            members(line.split(' ')).join(","),
            r#""state":"up","pid":7,"level":"7","prev":null,"flags":["gone","main"],"age_ms":12"#
        );
    }

    #[test]
    fn what_is_no_number_is_a_string() {
        for value in ["", "007", "1.5", "+1", "0x1"] {
            let member = format!("\"pid\":\"{value}\"");
            assert_eq!(members([format!("pid={value}").as_str()].into_iter()), [member]);
        }
        assert_eq!(members(["pid=0", "up=10"].into_iter()), ["\"pid\":0", "\"up\":10"]);
    }
}
