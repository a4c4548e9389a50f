//! Names must have at least one character that can be seen.

/// Returns whether `text` has no visible character. Invisible are blanks of every kind, controls, and the characters
/// that Unicode lets a display ignore (Default_Ignorable_Code_Point of Unicode 16), Hangul fillers among them.
pub fn looks_empty(text: &str) -> bool {
    text.chars().all(is_invisible)
}

fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            // Blanks that Unicode does not call white space: the empty Braille pattern and the null note head.
            '\u{2800}' | '\u{1d159}'
            // Default_Ignorable_Code_Point.
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_a_visible_character() {
        for empty in [
            "",
            " \t\n\u{3000}\u{a0}",
            "\u{3164}",
            "\u{115f}\u{1160}",
            "\u{ffa0}",
            "\u{200b}\u{200d}\u{2060}\u{feff}",
            "\u{ad}",
            "\u{202e}\u{2066}",
            "\u{fe0f}",
            "\u{e0041}",
            "\u{2800}",
            "\u{7}\u{9f}",
        ] {
            assert!(looks_empty(empty), "{empty:?}");
        }
        for name in [
            "a",
            "가",
            "ㄱ",
            "\u{1100}\u{1161}",
            ".",
            "🎟\u{fe0f}",
            " \u{200b}0\u{200b} ",
            "\u{301}",
        ] {
            assert!(!looks_empty(name), "{name:?}");
        }
    }
}
