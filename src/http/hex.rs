//! Bytes in hexadecimal digits.

use std::fmt::Write;

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes that hexadecimal digits stand for; `None` for any other text.
pub fn read_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| match pair {
        [high, low] => u8::try_from(16 * digit(*high)? + digit(*low)?).ok(),
        _ => None,
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_back_and_any_text_is_read_or_refused(bytes: Vec<u8>, text: String) {
            prop_assert_eq!(read_hex(&hex(&bytes)), Some(bytes));
            let _ = read_hex(&text);
        }
    }

    #[test]
    fn half_a_byte_and_other_digits_are_refused() {
        for text in ["a", "abc", "0g", "+1", "\u{e4}"] {
            assert_eq!(read_hex(text), None, "{text}");
        }
        assert_eq!(read_hex("0Aff"), Some(vec![10, 255]));
    }
}
