//! "Did you mean": the nearest known word.

/// The candidate that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A sentence that proposes the nearest known word, or lists all of them.
pub(crate) fn advice<'a>(word: &str, what: &str, known: &[&'a str]) -> String {
    let nearest: Option<&'a str> = nearest(word, known.iter().copied());
    match nearest {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => format!("there is no {what} in this configuration"),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_finds_none() {
        assert_eq!(nearest("intreface", ["name", "interface"]), Some("interface"));
        assert_eq!(nearest("Priorty", ["priority"]), Some("priority"));
        assert_eq!(nearest("zzz", ["name", "interface"]), None);
    }
}
