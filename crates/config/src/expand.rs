//! `${NAME}` in a text: replaced from the environment, `$${` stays a literal `${`.

/// Why a text could not be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unexpanded {
    pub(crate) message: String,
    pub(crate) help: String,
}

/// The text with every `${NAME}` replaced. What comes from the environment is not expanded again.
pub(crate) fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Unexpanded> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            let message = "`${` has no `}`".to_owned();
            return Err(Unexpanded { message, help: "write ${NAME}, or $${ for a literal ${".to_owned() });
        };
        let name = &inner[..end];
        if !is_name(name) {
            let message = format!("`${{{name}}}` does not name an environment variable");
            let help = "write ${NAME} with letters, digits and _, or $${ for a literal ${".to_owned();
            return Err(Unexpanded { message, help });
        }
        let Some(value) = env(name) else {
            let message = format!("the environment variable {name} is not set");
            let help = format!("set {name}, or write $${{{name}}} if the text is meant as it stands");
            return Err(Unexpanded { message, help });
        };
        out.push_str(&value);
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "HOST").then(|| "web-1".to_owned())
    }

    #[test]
    fn names_are_replaced_and_doubled_dollars_stay() {
        assert_eq!(expand("a ${HOST} b $${HOST} $5", &env), Ok("a web-1 b ${HOST} $5".to_owned()));
        assert_eq!(expand("${HOST}${HOST}", &env), Ok("web-1web-1".to_owned()));
    }

    #[test]
    fn a_missing_variable_and_a_missing_brace_are_refused_by_name() {
        let missing = expand("${NOPE}", &env).expect_err("it is not set");
        assert!(missing.message.contains("NOPE"), "{missing:?}");
        assert!(expand("${HOST", &env).is_err());
        assert!(expand("${HO ST}", &env).is_err());
        assert!(expand("${}", &env).is_err());
    }
}
