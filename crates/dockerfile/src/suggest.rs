//! What was probably meant by a word that nobody knows.

/// Words this many edits away or more are not what was meant.
const TOO_FAR: usize = 3;

/// Longest word compared: a long one is no slip of the finger, and comparing costs its square.
const LONGEST_COMPARED: usize = 64;

/// Finds the option nearest to `word`, if one is near enough to be a slip of the finger.
///
/// Case counts for half: an option that differs in case only is the nearest.
///
/// ```
/// assert_eq!(dockerfile::nearest("bulid", ["build", "test"]), Some("build"));
/// assert_eq!(dockerfile::nearest("frontend", ["build", "test"]), None);
/// ```
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_COMPARED {
        return None;
    }
    let lower = word.to_lowercase();
    options
        .into_iter()
        .filter(|option| *option != word)
        .map(|option| (strsim::levenshtein(&lower, &option.to_lowercase()), option))
        .filter(|(distance, option)| *distance < TOO_FAR && *distance < option.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, option)| option)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_word_of_one_letter_is_not_two_slips_from_everything() {
        assert_eq!(nearest("xy", ["a", "b"]), None);
    }

    #[test]
    fn case_alone_is_near() {
        assert_eq!(nearest("Build", ["bulk", "build"]), Some("build"));
    }
}
