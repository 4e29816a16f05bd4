//! What a text looks like to those who read it.

/// Whether nobody sees anything of a text: it is empty, or spaces and characters that have no shape.
/// An id or a name like that is a mistake of its sender, and in a chart an empty line.
pub fn looks_empty(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || has_no_shape(c))
}

/// What Unicode's `Default_Ignorable_Code_Point` lists (DerivedCoreProperties 16.0), and the pattern of
/// Braille without dots, which is drawn as nothing.
fn has_no_shape(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The longest name that people read, of a region or a board.
const MAX_NAME_BYTES: usize = 256;

/// Whether people can read a name, which is given as this field.
///
/// # Errors
/// What names are like, as a sentence.
pub fn check_name(field: &str, name: &str) -> Result<(), String> {
    let has_control = name.chars().any(char::is_control);
    match looks_empty(name) || name.len() > MAX_NAME_BYTES || has_control {
        true => Err(format!(
            "{field} has 1 to {MAX_NAME_BYTES} bytes, something to see, and no control characters"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_spaces_and_shapeless_characters_looks_empty_and_one_letter_is_enough() {
        for empty in [
            "",
            " ",
            "\u{a0}\u{3000}",
            "\u{200b}",
            "\u{feff}",
            "\u{2800}",
            "\u{3164}\u{ffa0}",
            "\u{fe0f}\u{200d}",
            "\u{2066} \u{2069}",
        ] {
            assert!(looks_empty(empty), "{empty:?}");
            assert!(!looks_empty(&format!("{empty}a{empty}")), "{empty:?}");
        }
        for seen in ["-", "0", "👩‍👩‍👧", "\u{301}", "日", "\u{fffd}"] {
            assert!(!looks_empty(seen), "{seen:?}");
        }
    }
}
