//! Shell wildcards.

/// Shell wildcards within one name; a leading dot is matched only by a dot.
pub(crate) fn glob(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(after) = one(&pattern, p, name[n]) {
            (p, n) = (after, n + 1);
        } else if let Some((at, taken)) = star {
            // Let the last star swallow one character more.
            star = Some((at, taken + 1));
            (p, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether `pattern[p]` (a character, `?` or a set) takes `c`, and where the pattern goes on.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => {
            let close = p + 2 + pattern.get(p + 2..)?.iter().position(|c| *c == ']')?;
            let (set, negated) = match pattern[p + 1] {
                '!' | '^' => (&pattern[p + 2..close], true),
                _ => (&pattern[p + 1..close], false),
            };
            let ranged = set.windows(3).any(|w| w[1] == '-' && (w[0]..=w[2]).contains(&c));
            ((set.contains(&c) || ranged) != negated).then_some(close + 1)
        }
        literal => (literal == c).then_some(p + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_a_shell_matches_them() {
        assert!(glob("*.conf", "a.conf"));
        assert!(!glob("*.conf", ".a.conf"));
        assert!(glob("a?[0-9].c*", "ab7.conf"));
        assert!(!glob("[!a]*", "abc"));
        assert!(!glob("[", "["));
    }
}
